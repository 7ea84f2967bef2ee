#!/usr/bin/env bash
# Runs a table of the TAG paper (CoLLAs 2022) over seeds and prints it beside the published figures.
#   scripts/replicate_tag.sh naive|baselines|hybrid|replay|ablations|epochs|gridsearch STREAM [override ...]
#   STREAM: cifar100|mini_imagenet|cub|five_datasets, or cifar|imagenet|cub|5data as in the released
#   program; rotated_mnist has naive and baselines
# gridsearch measures on a tenth of the training images and prints the best options of each method.
# The same command goes on after a stop: finished runs are skipped, unfinished ones resumed. Overrides
# are those of python -m lifelong.run; SEEDS (default 1,2,3,4,5), OUT (default outputs/tag_<table>_<stream>)
# and PYTHON (default .venv/bin/python, else python) are read from the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "scripts/$(basename "$0")" >&2
  exit 2
}

table=${1:-} stream=${2:-}
case "$stream" in # the names of the released program
  cifar) stream=cifar100 ;;
  imagenet) stream=mini_imagenet ;;
  5data) stream=five_datasets ;;
esac
case "$stream" in cifar100 | mini_imagenet | cub | five_datasets | rotated_mnist) ;; *) usage ;; esac
shift 2
case "$table" in
  naive) rows='sgd adagrad rmsprop adam tag_adagrad tag_rmsprop tag_adam' ;;
  baselines) rows='sgd rmsprop ewc agem er stable_sgd tag_rmsprop mtl' ;;
  hybrid) rows='ewc rmsprop_ewc tag_ewc agem rmsprop_agem tag_agem er rmsprop_er tag_er' ;;
  replay) rows='agem agem_5 agem_10 er er_5 er_10 rmsprop_agem_10 tag_agem_10 rmsprop_er_10 tag_er_10' ;;
  ablations) rows='tag_rmsprop tag_one tag_age tag_gradients_1 tag_gradients_5 tag_gradients_20' ;;
  epochs) rows='sgd_5_epochs rmsprop_5_epochs ewc_5_epochs agem_5_epochs er_5_epochs stable_sgd_5_epochs tag_rmsprop_5_epochs' ;;
  gridsearch) rows='' ;;
  *) usage ;;
esac

python=${PYTHON:-.venv/bin/python}
command -v "$python" > /dev/null || python=python
out=${OUT:-outputs/tag_${table}_$stream}
status=0

# run FOLDER OVERRIDE...: one multirun over the seeds.
run() {
  local folder=$1
  shift
  "$python" -m lifelong.run -m "seed=${SEEDS:-1,2,3,4,5}" resume=auto "paths.output_dir=$folder" "$@" || status=$?
}

known=$("$python" -m lifelong.cli list experiments "tag/${stream}_" | cut -d' ' -f1)
if [ "$table" = gridsearch ]; then
  for row in sgd adagrad rmsprop adam tag_adagrad tag_rmsprop tag_adam ewc agem er stable_sgd; do
    grid=$row
    [ "$stream/$row" != cub/stable_sgd ] || grid=stable_sgd_cub # its network has no dropout
    [ "$row" != ewc ] || grid=ewc_tag                           # the grid of the paper
    if grep -qx "tag/${stream}_$row" <<< "$known"; then
      run "$out/$row" "experiment=tag/${stream}_$row" "search=$grid" "$@"
    fi
  done
  "$python" -m lifelong.compare "$out" best=true
else
  list=
  for row in $rows; do
    ! grep -qx "tag/${stream}_$row" <<< "$known" || list=$list,tag/${stream}_$row
  done
  [ -n "$list" ] || usage
  run "$out" "experiment=${list#,}" "$@"
  "$python" -m lifelong.compare "$out" against=paper
fi
exit "$status"
