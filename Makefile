# make train ARGS="scenario=serial seed=3"     any echelon option goes into ARGS
# make test PYTHON=python3.12                  another interpreter, 3.11 or newer

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install train serve test kernels kernels-reverse kernels-open kernels-close nightly check format results benchmark clean

help:
	@echo "make train      install if needed, then: echelon train \$$(ARGS)"
	@echo "make serve      install if needed, then: echelon serve \$$(ARGS)"
	@echo "make test       lint, types and the tests that take seconds"
	@echo "make nightly    the slow tests"
	@echo "make check      lint and types only"
	@echo "make format     rewrite the sources as ruff wants them"
	@echo "make benchmark  measure speed"
	@echo "make results    measure scenarios again: docs/results (ARGS=\"scenarios=[lost_sales]\")"
	@echo "make install    only set up $(VENV)"
	@echo "make clean      remove $(VENV) and caches, keep runs"

install: $(STAMP)

train: $(STAMP)
	$(BIN)/echelon train $(ARGS)

serve: $(STAMP)
	$(BIN)/echelon serve $(ARGS)

# Workers side by side need no threads of their own. Files in their order: the last ones are short.
test nightly: export OMP_NUM_THREADS = 1
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	@$(MAKE) --no-print-directory -j $(WORKERS) check kernels
	$(PYTEST) -m "not nightly" $(ARGS)

# All workers of `make test` find the simulator's machine code on the disk.
KERNELS := kernels-reverse kernels-open kernels-close
kernels: $(KERNELS)
$(KERNELS): $(STAMP)
	@$(BIN)/python -m tests.kernels $(@:kernels-%=%)

nightly: $(STAMP)
	$(PYTEST) -m nightly $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(STAMP)
	$(BIN)/echelon report pages=docs/results $(ARGS)

benchmark: $(STAMP)
	@set -e; for file in tests/benchmarks/[a-z]*.py; do \
		name=$$(basename "$$file" .py); \
		echo "== $$name"; \
		$(BIN)/python -m "tests.benchmarks.$$name" $(ARGS); \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find conf envs evaluation serving tests training -name __pycache__ -type d -prune -exec rm -rf {} +

# Last line of the set-up: a broken installation leaves no stamp and is repeated.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): a few minutes and a few GB the first time."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip # cut short before
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[demo,dev]' --constraint constraints.txt
	@touch $@

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "error: '$(PYTHON)' is not on the PATH. Install Python 3.11 or newer," \
			"or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); Echelon needs Python 3.11 or newer." \
			"Name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: '$(PYTHON)' cannot create virtual environments (on Debian and Ubuntu:" \
			"apt install python3-venv)." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
