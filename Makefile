# make demo   the main job on the embedded warehouse
# make test   all tests
# make check  format, lint, types, import contracts
# make docs   docs/yaml-reference.md from the component
# make clean  remove what the others made
# The environment is .venv, made from constraints.txt: the set that was tested.

PYTHON := $(shell for p in python3.11 python3.12 python3.13; do $$p -c 1 2>/dev/null && echo $$p && break; done)
RUNTIME := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# PyPI's torch for Linux brings gigabytes of CUDA libraries. Where there is no CUDA device, torch comes from
# PyTorch's CPU index (or from where pip's own configuration finds a CPU build), never from PyPI.
TORCH_cpu := --no-deps --retries 1 --index-url https://download.pytorch.org/whl/cpu
TORCH_gpu :=

.PHONY: demo test check docs clean
.DELETE_ON_ERROR:

.venv/base: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: install one."; exit 1; }
	@echo "installing into .venv, for $(RUNTIME): some minutes, once"
	@$(PYTHON) -m venv .venv
	@$(PIP) $(TORCH_$(RUNTIME)) torch
	@$(PIP) --editable '.[$(RUNTIME),train,eval,dagster]'
	@touch $@

.venv/dev: .venv/base
	@$(PIP) --editable '.[$(RUNTIME),train,eval,dagster,dev]'
	@touch $@

demo: .venv/base
	@$(BIN)/tabdar demo

test: .venv/dev
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/dev
	$(BIN)/python docs/cli_reference.py
	$(BIN)/python docs/yaml_reference.py

clean:
	rm -rf .venv .tabdar .dagster build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
