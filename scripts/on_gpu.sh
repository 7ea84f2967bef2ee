#!/usr/bin/env bash
# Where a GPU is at hand for some minutes: runs what is left of the published tables, most valuable first.
#   scripts/on_gpu.sh MINUTES [ROW ...] [override ...]
# Rows by name or pattern, such as 'lasem/*'; all by default. One run after the other, since several share the GPU's time.
# It may be cut off at any moment: finished runs are in the ledger, the others go on by the same command.
# LEDGER (default results/ledger.csv), OUT (default outputs/on_gpu), SEEDS (default 1,2,3,4,5), TRAINER (default gpu; cpu to try
# it) and PYTHON (default .venv/bin/python, else python) are read from the environment.
#   scripts/on_gpu.sh 15 'lasem/cifar100_*' trainer.cuda_graphs=true
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-}
if ! [[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
  sed -n '2,8s/^# \{0,1\}//p' "scripts/$(basename "$0")" >&2
  exit 2
fi
shift
python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python
hours=$(awk "BEGIN { print $minutes / 60 }")
exec "$python" -m lifelong.cli reproduce --todo "hours=$hours" "trainer=${TRAINER:-gpu}" "out=${OUT:-outputs/on_gpu}" \
  "ledger=${LEDGER:-results/ledger.csv}" "seeds=${SEEDS:-1,2,3,4,5}" logger=none "$@"
