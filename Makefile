# Inhouse: `make demo` tells the story, `make test` proves it. Both set up everything they need.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Where torch comes from, when not from your usual package index.
TORCH_INDEX ?=
DEMO_ARGS ?=
SUITES ?= house unit contract integration e2e

export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
# Packages are installed without bytecode (that saves a minute); what is imported writes its own.
unexport PYTHONDONTWRITEBYTECODE
ifneq ($(wildcard ../shared/data),)
export INHOUSE_BENCH_DATA ?= $(abspath ../shared/data)
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check --no-compile
SOURCES := src tests scripts $(wildcard benchmarks)

.DEFAULT_GOAL := help
.PHONY: help demo test test-full lint check bench reference docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up: a virtual environment from the hash locks, in steps that are skipped when done ---

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older; set PYTHON=..."; exit 2; }
	@echo "set-up: $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# $(call install,LOCK): the locked packages, torch, and Inhouse itself, editable.
define install
@echo "set-up: $$(grep -c == requirements/$(1).lock) packages of requirements/$(1).lock"
@$(PIP) --require-hashes --no-deps -r requirements/$(1).lock
@echo "set-up: $$(cat requirements/torch.txt), about 200 MB as a CPU build, several GB with CUDA" \
  "(TORCH_INDEX=... takes it from another index)"
@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch.txt
@$(PIP) --no-deps --no-build-isolation --editable .
endef

$(VENV)/.demo: requirements/demo.lock requirements/torch.txt pyproject.toml | $(BIN)/python
	$(call install,demo)
	@touch $@

$(VENV)/.test: requirements/test.lock requirements/torch.txt pyproject.toml | $(BIN)/python
	$(call install,test)
	@touch $(VENV)/.demo $@

# --- what there is to do ---

demo: $(VENV)/.demo ## the story on this machine: from a call to an own model that answers it
	@$(BIN)/inhouse demo $(DEMO_ARGS)

lint: $(VENV)/.test
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint ## style, types, import contracts and house rules
	@$(BIN)/python scripts/suites.py house

test: lint ## check, then every suite in order
	@$(BIN)/python scripts/suites.py $(SUITES)

test-full: lint ## the same at full sizes, with a report in benchmarks/results/tests.json
	@INHOUSE_FULL=1 $(BIN)/python scripts/suites.py --json benchmarks/results/tests.json $(SUITES)

bench: $(VENV)/.test ## measure, and write the figures' blocks of README.md
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

reference: $(VENV)/.test ## write docs/reference from the code
	@$(BIN)/python scripts/reference.py

docs: reference ## build the documentation into site/, strictly
	@$(BIN)/mkdocs build --strict --quiet --site-dir site

lock: $(VENV)/.test ## write requirements/*.lock from pyproject.toml (LOCK_ARGS=--upgrade: newest)
	@$(BIN)/python scripts/lock.py $(LOCK_ARGS)

clean: ## remove the virtual environment, caches and built pages; projects' data stay
	rm -rf $(VENV) .cache site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
