# `make demo` and `make test` need only Python 3.11, 3.12 or 3.13; the first call creates the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COG := $(BIN)/python -m cogapp -I packaging --verbosity=1
PAGES := README.md docs/*.md
# Less noise at start-up, with the same results.
export VLLM_NO_USAGE_STATS = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test seeded doors names faults pure resolve lint types docs tables bench surfaces lock clean

demo: $(READY)
	$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not hostile and not network"

# Seed faults into a copy of the package, one at a time: the fast tests must catch each.
seeded: $(READY)
	$(BIN)/python -m tests.seeded_faults

# Ask the same questions through every command: batch, vllm serve, vllm run-batch, lmms-eval, Ray.
doors: $(READY)
	$(BIN)/python -m pytest -m "slow and not names" tests/doors
	$(BIN)/python -m pytest -m "slow and not names" tests/engine tests/test_benchmarks.py

# Ask every registered name through every command, on random checkpoints; `make doors` asks one of each family.
names: $(READY)
	$(BIN)/python -m pytest -m slow tests/doors/test_names.py
	$(BIN)/python -m pytest -m slow tests/engine/test_names.py

# Test bad and hostile input, full disks and kills, through ask, the server and batch.
faults: $(READY)
	$(BIN)/python -m pytest -m hostile tests/faults

# Test the half that needs no vLLM, in its own environment: make pure PYTHON=python3.13
pure:
	packaging/pure $(PYTHON)

# The same on a release that is installed here, or else downloaded.
pure-%: $(READY)
	@if python=$$(PATH=$(BIN):$$PATH packaging/find_python $*); then packaging/pure "$$python"; \
	  else echo "NOT TESTED: Python $* is neither installed here nor to be fetched" >&2; fi

# Check that `pip install` resolves to the tested releases on each Python, and that a wheel is complete.
resolve: $(READY)
	$(BIN)/python -m pytest -m network tests/packaging

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

types: $(READY)
	$(BIN)/mypy

# The pages as a site in build/site. A broken link fails, and so does a table that the code has left behind.
docs: $(READY)
	$(COG) --check --check-fail-msg='make tables' $(PAGES)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Writes the tables of the docs anew from the code.
tables: $(READY)
	$(COG) -r $(PAGES)

bench: $(READY)
	$(BIN)/python -m benchmarks

# Check the parts of vLLM that we use in the sources of its next release, without running it.
surfaces: $(READY)
	$(BIN)/python -m tests.vllm_surfaces 0.33.0

# PyPI's own torch is the last resort; it works on a CPU, too.
$(READY): pyproject.toml requirements/cpu.lock packaging/vllm-name/pyproject.toml
	@$(PYTHON) packaging/check_python.py
	@echo "Creating the environment in $(VENV)/ (takes a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@packaging/cpu_torch $(BIN) || (echo "No CPU build of torch is available for this Python: installing the CUDA build, 3 GB"; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements/cpu.lock torch)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/cpu.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps ./packaging/vllm-name --editable .
	@touch $@

# Keep every pin that the bounds allow, or take the newest with make lock LOCK=--upgrade. Locks for the oldest Python;
# `make resolve` checks that the others resolve alike.
lock:
	$(BIN)/uv pip compile pyproject.toml --quiet --no-header --no-annotate $(LOCK) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --extra cpu --extra eval --extra ray --extra dev --extra docs --override requirements/overrides.txt \
	  -o requirements/cpu.lock

clean:
	rm -rf $(VENV)*
