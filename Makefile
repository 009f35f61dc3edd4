# Every target makes its own virtual environment from python3 and this folder alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test slow check lint format clean

demo: $(INSTALLED) ## prune a trained network, fine-tune it, measure it, write a report
	$(BIN)/prunekit run recipes/quickstart.yaml --overwrite

test: $(INSTALLED) ## the tests that take seconds
	$(BIN)/python -m pytest -m "not slow and not gpu"

slow: $(INSTALLED) ## all tests, on a GPU too if there is one
	$(BIN)/python -m pytest

check: lint test ## format, lint, types, layers, tests

lint: $(INSTALLED) ## format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## rewrite the code as `check` wants it
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean: ## take away the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
