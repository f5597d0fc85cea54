# Every target makes .venv when it is missing and reuses it when pyproject.toml has not changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo run test lint format bench soak generate clean
.DEFAULT_GOAL := help

help: ## Say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "megabot needs Python 3.11 or newer; name one with PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing megabot and its tools into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(STAMP) ## Show the main job end to end, with real processes, in under a minute
	@$(BIN)/megabot demo

run: $(STAMP) ## Start the relay (it connects to the default profile's upstream)
	@$(BIN)/megabot relay

# Three at once, file by file: a test waits about as long as it works. Those marked `alone` run by themselves.
test: $(STAMP) ## Run the whole test suite
	@$(BIN)/python -m pytest --numprocesses=4 --dist=loadfile --no-loadscope-reorder

lint: $(STAMP) ## Lint, format check and strict types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## Rewrite the code in the one format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

bench: $(STAMP) ## Measure the message path and the start-up against peers, in one run
	@$(BIN)/python -m tests.benchmarks

soak: $(STAMP) ## Random faults for half an hour; memory, descriptors and tasks must stay flat
	@$(BIN)/python -m tests.faults.soak

generate: $(STAMP) ## Write man/, completions/ and config/schema.json anew
	@$(BIN)/python -m megabot_cli.commands.generate

clean: ## Remove the environment and all caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
