# tvm_tiny: `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.ready
TESTS := $(VENV)/.ready-tests

.PHONY: help setup demo test check bench lint fast clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(CORE) ## Install compilers, emulator, Python packages (idempotent)

$(CORE): pyproject.toml tools/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" tools/setup.sh core
	@touch $@

$(TESTS): $(CORE) pyproject.toml tools/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" tools/setup.sh tests
	@touch $@

demo: $(CORE) ## Compile the digits model, run it on the emulator, print the report
	$(BIN)/python examples/digits/demo.py

test: $(TESTS) ## Run every test (two processes)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(TESTS) lint fast ## Lint, types and the quick tests: under two minutes

lint: $(TESTS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fast: $(TESTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not qemu and not slow"

bench: $(TESTS) ## Measure every model and kernel; writes benchmarks/results
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/kernels.py

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
