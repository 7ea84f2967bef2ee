#!/usr/bin/env bash
# Runs a table of the LASEM paper (ICML 2021) over seeds and prints it beside the published figures.
#   scripts/replicate_lasem.sh cifar100|static|office_home|office_home_incremental|stl10|resnet|resnet_40 [override ...]
# The same command goes on after a stop: finished runs are skipped, unfinished ones resumed. Overrides
# are those of python -m lifelong.run; SEEDS (default 1,2,3,4,5), OUT (default outputs/lasem_<stream>)
# and PYTHON (default .venv/bin/python, else python) are read from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,6s/^# \{0,1\}//p' "scripts/$(basename "$0")" >&2
  exit 2
}

stream=${1:-}
[ -n "$stream" ] || usage
shift
case "$stream" in
  cifar100) patterns='cifar100_lasem_* cifar100_brute_force_* cifar100_*_all' ;;
  static) patterns='cifar100_hps_* cifar100_tf_* cifar100_dfcnn_*' ;;
  office_home | office_home_incremental | stl10) patterns="${stream}_*" ;;
  resnet) patterns='cifar100_resnet_*' ;;
  resnet_40) patterns='cifar100_40_resnet_*' ;;
  *) usage ;;
esac

rows=()
for pattern in $patterns; do
  for file in conf/experiment/lasem/$pattern.yaml; do
    row=$(basename "$file" .yaml)
    case "$stream:$row" in office_home:office_home_incremental_*) continue ;; esac
    rows+=("lasem/$row")
  done
done
list=$(printf '%s\n' "${rows[@]}" | sort -u | paste -sd,)

python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python
out=${OUT:-outputs/lasem_$stream}
status=0
"$python" -m lifelong.run -m "experiment=$list" "seed=${SEEDS:-1,2,3,4,5}" resume=auto \
  "paths.output_dir=$out" "$@" || status=$?
"$python" -m lifelong.compare "$out" --against paper
exit "$status"
