# Each target does the set-up that it needs: a virtual environment in .venv, nothing global.
PY ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
JUDGE ?= auto
LEDGER ?= sqlite:///out/plumbline.db
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
export UV_COMPILE_BYTECODE := 1

.PHONY: help setup judge test test-all lint bench clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/.ok: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which with PY=python3.12" >&2; exit 2; }
	@$(PY) -c 'import ensurepip' 2>/dev/null || { echo "the venv module is missing: apt-get install python3-venv" >&2; exit 2; }
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

setup: $(VENV)/.ok ## make the virtual environment

judge: $(VENV)/.ok ## score the demo answers and write a report (JUDGE=auto|offline|SPEC)
	@mkdir -p out
	$(BIN)/judge demo --judge '$(JUDGE)' --ledger '$(LEDGER)' --out out/report

test: $(VENV)/.ok ## the fast tests
	$(BIN)/python -m pytest -q -m 'not slow'

test-all: $(VENV)/.ok ## all tests
	$(BIN)/python -m pytest -q

lint: $(VENV)/.ok ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ok ## throughput beside a bare loop, in the same run
	$(BIN)/python -m tests.bench

clean: ## remove the environment and what was made
	rm -rf $(VENV) out build dist
