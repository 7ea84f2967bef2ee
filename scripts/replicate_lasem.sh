#!/usr/bin/env bash
# Runs a table of the LASEM paper (ICML 2021) over seeds and prints it beside the published figures.
#   scripts/replicate_lasem.sh TABLE [override ...]
#   TABLE: cifar100|office_home|office_home_incremental|stl10|resnet|resnet_40, or every fixed pattern:
#   cifar100_static|office_home_static|stl10_static
# The same command goes on after a stop: finished runs are skipped, unfinished ones resumed. Overrides
# are those of python -m lifelong.run; SEEDS (default 1,2,3,4,5), OUT (default outputs/lasem_<stream>)
# and PYTHON (default .venv/bin/python, else python) are read from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "scripts/$(basename "$0")" >&2
  exit 2
}

stream=${1:-}
[ -n "$stream" ] || usage
shift
case "$stream" in
  cifar100) patterns='cifar100_lasem_* cifar100_brute_force_* cifar100_*_all' ;;
  static | cifar100_static | office_home_static | stl10_static)
    [ "$stream" != static ] || stream=cifar100_static
    patterns="${stream%_static}_hps_* ${stream%_static}_tf_* ${stream%_static}_dfcnn_*" ;;
  office_home | office_home_incremental | stl10) patterns="${stream}_*" ;;
  resnet) patterns='cifar100_resnet_*' ;;
  resnet_40) patterns='cifar100_40_resnet_*' ;;
  *) usage ;;
esac

python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python
known=$("$python" -m lifelong.cli list experiments lasem/ | cut -d' ' -f1)
rows=()
for pattern in $patterns; do
  for row in $known; do
    row=${row#lasem/}
    # shellcheck disable=SC2053 # a pattern
    [[ $row == $pattern ]] || continue
    case "$stream:$row" in
      office_home:office_home_incremental_* | *_static:*_incremental_*) continue ;;
      office_home:*top? | office_home:*bottom? | office_home:*alternating* | office_home:*_none) continue ;;
      stl10:*top? | stl10:*bottom? | stl10:*alternating* | stl10:*_none) continue ;;
    esac
    rows+=("lasem/$row")
  done
done
list=$(printf '%s\n' "${rows[@]}" | sort -u | paste -sd,)

out=${OUT:-outputs/lasem_$stream}
status=0
"$python" -m lifelong.run -m "experiment=$list" "seed=${SEEDS:-1,2,3,4,5}" resume=auto \
  "paths.output_dir=$out" "$@" || status=$?
"$python" -m lifelong.compare "$out" against=paper
exit "$status"
