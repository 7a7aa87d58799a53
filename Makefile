# sync_pipelines: `make` lists the targets. Needs python3 >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The core of Python 3.12 and later costs a test next to nothing; before, it is the one in C.
COVERAGE_CORE = $(shell $(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')

# requirements.lock has all extras, for work on the code; requirements-runtime.lock is what the image installs.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --quiet --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-trino trino up test soak soak-kills fuzz bench check lock clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make .venv from requirements.lock (again only when it or pyproject.toml changes)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 >= 3.11 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP) ## Sync five APIs into PostgreSQL, twice, with proof (fresh start every time)
	$(BIN)/sync-pipelines demo

demo-trino: $(STAMP) ## The same into Iceberg tables of a real Trino (fetched by Maven the first time)
	$(BIN)/sync-pipelines demo --trino

trino: $(STAMP) ## Run a Trino with Iceberg and Hive on this disk until Ctrl-C (TRINO="--port 8080 --heap-mb 2048")
	$(BIN)/python -m sync_pipelines.demo.trino_server $(TRINO)

up: $(STAMP) ## Run database, Dagster UI and daemon until Ctrl-C
	$(BIN)/sync-pipelines up

test: $(STAMP) ## Run all tests (COVERAGE=1 also compares the covered lines with the floor in pyproject.toml)
	$(if $(COVERAGE),COVERAGE_CORE=$(COVERAGE_CORE),) $(BIN)/python -m pytest $(if $(COVERAGE),--cov --cov-report=term)

soak: $(STAMP) ## Run the state machine of the tests for SOAK_MINUTES (5), with another seed every time (SOAK_SEED=N repeats one)
	$(BIN)/python -m sync_pipelines_tests.soak

soak-kills: $(STAMP) ## SIGKILL KILLS (200) syncs at random instants, with schema changes in flight, and look for lost rows
	$(BIN)/python -m sync_pipelines_tests.soak --kills $(or $(KILLS),200)

fuzz: $(STAMP) ## Look for new counterexamples to the tests of codecs and protocols: other examples every time, 20 times as many
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest --timeout 0 $$(grep -rlE "^@given|RuleBasedStateMachine" sync_pipelines_tests --include="test_*.py" | grep -v soak)

bench: $(STAMP) ## Measure our syncs beside a hand-written floor and stock dlt (BENCH=--quick for a short run)
	$(BIN)/python -m benchmarks $(BENCH)

check: $(STAMP) ## Check style, format, types and complexity of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/complexipy --plain --failed

lock: $(STAMP) ## Resolve the locks anew, for Python 3.11 to 3.13, with hashes, free of hosts and paths
	$(COMPILE) --all-extras --upgrade --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --output-file requirements-runtime.lock

clean: ## Remove caches and the demo; .venv and your own database stay
	rm -rf .pytest_cache .ruff_cache .mypy_cache .complexipy_cache .coverage .hypothesis build dist *.egg-info
	find sync_pipelines sync_pipelines_tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .sync_pipelines/demo .sync_pipelines/demo.lock
