# make generation   sets everything up, then builds the next generation (the first time: 0 and 1)
# make test         sets everything up, then runs the tests
# make quick        the tests that need no repository with a model: under a minute
# make lint         what must hold before a commit: ruff's rules and format, and mypy's types
# make bench        measures on this machine and writes BENCHMARKS.md
# make gpu-check    one generation on an NVIDIA GPU, beside the CPU and beside transformers and peft alone
# The first of them that runs and fits; say 'make setup PYTHON=...' to choose.
ifndef PYTHON
PYTHON := $(shell for python in python3.11 python3.12 python3.13 python3; do $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)
endif
VENV   := .venv
BIN    := $(VENV)/bin
# The machine picks: cuda where the NVIDIA driver answers, else cpu. Say 'make setup DEVICE=cpu' to choose.
DEVICE ?= $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU ' && echo cuda || echo cpu)
READY  := $(VENV)/.ready-$(DEVICE)

.PHONY: setup generation test quick lint bench gpu-check clean

setup: $(READY)
	@$(BIN)/luna init

$(READY): constraints.txt pyproject.toml $(wildcard requirements/*)
	@test -n "$(PYTHON)" || { echo "setup: none of python3.11, python3.12, python3.13 runs here: install one of them" >&2; exit 2; }
	@$(PYTHON) requirements/install.py $(VENV) $(DEVICE)
	@touch $@

generation: setup
	@$(BIN)/luna evolve

# One file's tests go to one worker, since they share what is slow to make; tests/conftest.py puts the longest files first.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: setup
	$(PYTEST) --durations 20

quick: $(READY)
	$(PYTEST) -m "not slow"

CODE := luna stages evals bench tests
lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench

# Without a GPU it says so at once, before anything is set up.
gpu-check:
	@nvidia-smi -L 2>/dev/null | grep -q '^GPU ' || { echo "gpu-check: no NVIDIA GPU answers here ('nvidia-smi -L' lists none), so nothing was done: run it on a machine that has one." >&2; exit 2; }
	$(MAKE) setup DEVICE=cuda
	$(BIN)/python -m bench.gpu_check

clean:
	rm -rf $(VENV) .luna
