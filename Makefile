# Every target sets itself up: the first call makes .venv from the lock files, later calls go straight to work.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
UV_VERSION := 0.13.9
# As pip does for what it installs, and an editable install leaves out: every process starts faster.
COMPILE := $(BIN)/python -m compileall -q engine controller
LOCK   := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
          --no-emit-index-url --no-emit-find-links --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help run demo check test test-all bench schema docs lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Serve this repository's own manifests on 127.0.0.1:8700 (ARGS="--listen …")
	@exec $(BIN)/agentos serve --source . --dev --replay cassettes $(ARGS)

demo: $(VENV)/.run ## Run the README's tour from beginning to end, and exit
	@exec $(BIN)/python scripts/tour.py $(ARGS)

check: $(VENV)/.dev ## Lint, formatting, types, import contracts: everything but the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: check ## check, then all tests but the slow ones, on SQLite and PostgreSQL
	$(BIN)/pytest -n 2 $(ARGS)

test-all: check ## The same with the slow tests and the long property runs
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -n 2 -m "slow or not slow" $(ARGS)

bench: $(VENV)/.dev ## Run the benchmarks and print their tables (ARGS="--quick" for small ones)
	@$(COMPILE)
	@exec $(BIN)/python -m benchmarks $(ARGS)

schema: $(VENV)/.run ## Write schema/v1 anew from the kinds
	$(BIN)/agentos schema --write schema/v1

docs: schema ## Write schema/v1 and the generated pages of docs/ anew
	@exec $(BIN)/python -m scripts.docs

lock: $(VENV)/.dev ## Resolve the dependencies anew into the two lock files
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/$(LOCK) --upgrade --output-file requirements.lock
	$(BIN)/$(LOCK) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Remove the environment and every cache
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "agentos needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	@touch $@
