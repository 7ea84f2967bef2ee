#!/usr/bin/env bash
# Runs the Lifelong Tickets experiments of a method on a stream over seeds and prints them beside the published figures.
#   scripts/replicate_tickets.sh {cil|td|bu} {cifar10|cifar100|tiny_imagenet} [override ...]
# td and bu also train the tickets of each stage once more, from where the paper lets them start: td from the very first
# weights, bu from the dense network before the stage and from the very first weights.
# The same command goes on after a stop: finished runs are skipped, unfinished ones resumed. Overrides are those of
# python -m lifelong.run and hold for all; SEEDS (default 1,2,3), STAGES (default all but those of td's last), OUT
# (default outputs/tickets_<stream>) and PYTHON (default .venv/bin/python, else python) are read from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "scripts/$(basename "$0")" >&2
  exit 2
}

method=${1:-} stream=${2:-}
python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python
case "$method" in cil | td | bu) ;; *) usage ;; esac
[ -n "$stream" ] && [ -f "conf/experiment/tickets/${stream}_$method.yaml" ] || usage
shift 2
out=${OUT:-outputs/tickets_$stream}
seeds=${SEEDS:-1,2,3}
status=0
last=5
[ "$stream" = cifar10 ] || last=10
case "$method" in
  td) stages=${STAGES:-$(seq -s ' ' 1 $((last - 1)))} starts=first ;;
  bu) stages=${STAGES:-$(seq -s ' ' 1 "$last")} starts='before first' ;;
  *) stages='' starts='' ;;
esac

for seed in ${seeds//,/ }; do
  run=$out/${stream}_${method}_$seed
  "$python" -m lifelong.run "experiment=tickets/${stream}_$method" "seed=$seed" resume=auto "paths.output_dir=$run" "$@" || status=$?
  for stage in $stages; do
    for start in $starts; do
      "$python" -m lifelong.run strategy=retrain "data=cil_$stream" "seed=$seed" "strategy.run=$run" "strategy.stage=$stage" \
        "strategy.start=$start" "name=tickets_${method}_from_$start" resume=auto "paths.output_dir=${run}_${start}_stage_$stage" "$@" || status=$?
    done
  done
done
"$python" -m lifelong.compare "$out" --against paper
exit "$status"
