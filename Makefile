# `make help` lists the targets. PYTHON chooses the interpreter of the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run test test-all faults lint format bench docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv and install the pinned packages (about 6 GB with PyTorch's CUDA build)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than Python 3.11; give another: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: install  ## run the main job: LASEM on handwritten digits (ARGS=... overrides)
	$(BIN)/python -m lifelong.run strategy=lasem_hps data=digits $(ARGS)

test: install  ## run the tests (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not faults" $(ARGS)

test-all: install  ## run all tests, the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not faults" $(ARGS)

faults: install  ## kill, damage, starve and mislead it for ten minutes; figures go to docs/trust.md
	FAULTS_TABLE=docs/trust.md OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/faults $(ARGS)

lint: install  ## check style, types, and which rooms import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install  ## bring the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## measure all promises of speed, in one table (some fifteen minutes)
	$(BIN)/python scripts/bench.py $(ARGS)

docs: install  ## build the site, build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

clean:  ## remove what the tools leave; outputs/ and data/ stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
