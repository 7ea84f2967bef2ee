#!/usr/bin/env bash
# Runs the Lifelong Tickets experiments of a method on a stream over seeds and prints them beside the published figures.
#   scripts/replicate_tickets.sh {cil|td|bu} {cifar10|cifar100|tiny_imagenet} [override ...]
# td and bu also train the tickets of each stage once more, from where the paper lets them start: td from the very first
# weights, bu from the dense network before the stage and from the very first weights.
# The same command goes on after a stop: finished runs are skipped, unfinished ones resumed. Overrides are those of
# python -m lifelong.run; those of strategy.* hold for the main run alone. SEEDS (default 1,2,3), STAGES (default all but those of td's last), OUT
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
case "$stream" in cifar10 | cifar100 | tiny_imagenet) ;; *) usage ;; esac
shift 2
out=${OUT:-outputs/tickets_$stream}
seeds=${SEEDS:-1,2,3}
status=0
last=5
[ "$stream" = cifar10 ] || last=10
shared=() # what also holds for the tickets trained once more
for option in "$@"; do
  case "$option" in
    tasks=*) last=${option#tasks=} ;;
    strategy.temperature=*) shared+=("$option") ;;
    strategy.*) ;;
    *) shared+=("$option") ;;
  esac
done
case "$method" in
  td) stages=${STAGES:-$(seq -s ' ' 1 $((last - 1)))} starts=first ;;
  bu) stages=${STAGES:-$(seq -s ' ' 1 "$last")} starts='before first' ;;
  *) stages='' starts='' ;;
esac

# published STAGE: the mean accuracy in the paper's figure, as an override; of td and of bu from the dense network before.
published() {
  local values=
  case "$stream:$method:$2" in
    cifar10:bu:before) values='97.0 88.9 81.3 74.6 73.2' ;;
    cifar10:td:first) values='98.2 87.9 79.3 72.3 72.3' ;;
    cifar100:bu:before) values='85.6 74.6 65.7 53.0 48.2 47.4 43.6 41.2 39.7 39.7' ;;
    cifar100:td:first) values='88.1 71.3 58.6 48.2 43.9 41.1 39.2 38.0 37.1 36.7' ;;
  esac
  [ -z "$values" ] || echo "published={final_accuracy:[$(echo "$values" | cut -d' ' -f"$1"),null]}"
}

for seed in ${seeds//,/ }; do
  run=$out/${stream}_${method}_$seed
  "$python" -m lifelong.run "experiment=tickets/${stream}_$method" "seed=$seed" resume=auto "paths.output_dir=$run" "$@" || status=$?
  for stage in $stages; do
    for start in $starts; do
      "$python" -m lifelong.run strategy=retrain "data=cil_$stream" "seed=$seed" "strategy.run=$run" "strategy.visit=$stage" \
        "strategy.start=$start" "name=tickets_${method}_from_$start" resume=auto \
        "paths.output_dir=${run}_${start}_stage_$stage" $(published "$stage" "$start") "${shared[@]}" || status=$?
    done
  done
done
"$python" -m lifelong.compare "$out" against=paper
exit "$status"
