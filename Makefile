# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2

.PHONY: demo test test-system check format wheel help
.DEFAULT_GOAL := help

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(VENV)/.demo ## make the environment and run the main job, offline
	@$(BIN)/scr demo

test: $(VENV)/.dev ## run the tests that need no browser, server or system package
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not system" tests

test-system: $(VENV)/.dev ## run the tests that start processes, servers and a browser
	@command -v chromium >/dev/null || { echo "installing chromium …"; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	@SCR_REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m system tests

check: $(VENV)/.dev ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev ## format the code and mend what the linter can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: $(VENV)/.dev ## build the wheel into dist/
	@$(BIN)/python -m build --wheel

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("scr needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": call make with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing scr into $(VENV) (a few minutes the first time) …"
	@$(PIP) install --constraint constraints.txt --editable '.[offline,server]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "installing the test tools into $(VENV) …"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@
