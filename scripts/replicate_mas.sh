#!/usr/bin/env bash
# Runs a table of the MAS literature over seeds and prints it beside the published figures.
#   scripts/replicate_mas.sh STREAM [override ...]
#   STREAM: tiny4|tiny4half (the re-implementation's), tiny10_{small|base|wide|deep} (De Lange et al.), mnist (Hsu et al.),
#           birds_scenes|scenes_birds|flowers_birds|flowers_scenes|recognition (MAS; bring the image folders)
#           lambda (Split-MNIST: final accuracy against the strength of MAS, as a figure)
# The same command goes on after a stop: finished runs are skipped, unfinished ones resumed. Overrides
# are those of python -m lifelong.run; SEEDS (default 1,2,3,4,5), OUT (default outputs/mas_<stream>) and
# PYTHON (default .venv/bin/python, else python) are read from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "scripts/$(basename "$0")" >&2
  exit 2
}

stream=${1:-}
python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python
out=${OUT:-outputs/mas_$stream}
status=0
case "$stream" in
  lambda) rows='experiment=mas/mnist_mas_exact strategy.strength=0,0.01,0.1,1,10,100' ;;
  *)
    list=$("$python" -m lifelong.cli list experiments mas/ | grep -o "^mas/${stream}_[a-z0-9_]*" | sort | paste -sd, - || true)
    if [ -z "$stream" ] || [ -z "$list" ]; then usage; fi
    rows=experiment=$list
    ;;
esac
shift

# shellcheck disable=SC2086 # the rows are several words
"$python" -m lifelong.run -m "seed=${SEEDS:-1,2,3,4,5}" resume=auto "paths.output_dir=$out" $rows "$@" || status=$?
"$python" -m lifelong.compare "$out" against=paper
[ "$stream" != lambda ] || "$python" -m lifelong.compare figure=strategy.strength "$out"
exit "$status"
