# Qudao. `make` lists what there is. Everything is installed into .venv from locks with hashes.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
MEMBERS := shared/events shared/kit services/order-svc services/inventory-svc services/incentive-svc services/partner-svc services/insight-svc cli
LOCKS := requirements.lock requirements-dev.lock
ARGS ?=

.PHONY: help run demo test chaos mutants fuzz bench check format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/ready ## Run everything here, play a day of traffic, stay up (Ctrl-C stops; data in .qudao)
	@$(BIN)/qudao up --demo $(ARGS)

demo: $(VENV)/ready ## Play the same day on a throw-away stack; succeeds only when the audit is clean
	@$(BIN)/qudao demo $(ARGS)

test: $(VENV)/ready-dev ## Check the code and run every test, on a real PostgreSQL and a real Kafka
	@$(MAKE) --no-print-directory check
	@echo "Running the tests (ARGS='-k name' narrows them) …"
	@$(BIN)/python -m pytest $(ARGS)

chaos: $(VENV)/ready-dev ## Kill, stop and cut everything under load, three seeds of 10,000 deliveries; then check
	@$(BIN)/python -m tests.chaos $(ARGS)

mutants: $(VENV)/ready-dev ## Plant bugs one at a time in a copy; each must turn its named tests red
	@$(BIN)/python -m tests.mutants $(ARGS)

fuzz: $(VENV)/ready-dev ## Search the schemas and the parsers for inputs that break them, longer than the tests do
	@QUDAO_FUZZ=12 $(BIN)/python -m pytest tests/fuzz $(ARGS)

bench: $(VENV)/ready-dev ## Measure every hot path beside what others would do, in one run
	@$(BIN)/python -m bench $(ARGS)

check: $(VENV)/ready-dev ## Lint, types, import contracts, event schemas, locks
	@echo "Checking style …" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "Checking types …" && $(BIN)/mypy shared/*/src services/*/src cli/src bench tests/chaos tests/mutants
	@echo "Checking who may import whom …" && $(BIN)/lint-imports
	@echo "Checking the event schemas …" && $(BIN)/python -m channel_events.schemas --check
	@echo "Checking the page of events …" && $(BIN)/python -m channel_events.docs | diff -u docs/events.md -
	@echo "Checking the locks …" && $(BIN)/python tools/locks.py --check

format: $(VENV)/ready-dev ## Format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: $(VENV)/uv ## Resolve the dependencies anew into the locks
	@$(BIN)/python tools/locks.py

clean: ## Remove the virtual environment, caches and the local stack's data
	rm -rf $(VENV) .qudao .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/uv: requirements-uv.lock
	@echo "Making the virtual environment …"
	@$(PYTHON) -c 'import sys; sys.exit("Qudao needs Python 3.11 or newer; set PYTHON=…") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/ready: $(VENV)/uv requirements.lock $(addsuffix /pyproject.toml,$(MEMBERS))
	@echo "Installing what Qudao runs on …"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps $(addprefix -e ,$(MEMBERS))
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	@echo "Installing what the tests need …"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@
