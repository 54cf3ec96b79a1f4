# `make demo` shows everything, `make test` proves it. Nothing but Python 3.11+, make and a package index is needed.

PYTHON ?= python3
# The one place that chooses the build of PyTorch; see "On a GPU" in README.md.
TORCH ?= torch==2.13.0

# How many test files run side by side; 0 is one after the other, in this process.
TESTERS ?= 2

BIN := .venv/bin
INSTALLED := .venv/.installed

# Idle OpenMP threads must sleep, not spin: the cores are shared with the servers.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install demo up test check format bench bench-engine bench-hub bench-service

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[api,worker,onnx,quantized,embedded,dev]'
	@touch $@

demo: install
	@$(BIN)/prunery demo

up: install
	@$(BIN)/prunery up

# Models of tests are too small for threads to share their sums: that takes three times as long.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --dist loadfile

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	@$(BIN)/python -m bench

bench-engine: install
	@$(BIN)/python -m bench engine scoring

bench-hub: install
	@$(BIN)/python -m bench hub

bench-service: install
	@$(BIN)/python -m bench chaos load overhead malformed resume
