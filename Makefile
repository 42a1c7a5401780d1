# `make demo` and `make test` need nothing but Python 3.11, 3.12 or 3.13; the first call makes the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COG := $(BIN)/python -m cogapp -I packaging --verbosity=1
PAGES := README.md docs/*.md
# Keeps the noise of a start-up out of the way; none of it changes a result.
export VLLM_NO_USAGE_STATS = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test seeded doors faults pure resolve lint types docs tables bench surfaces lock clean

demo: $(READY)
	$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not hostile and not network"

# Faults put into a copy of the package, one at a time: the fast tests must catch each.
seeded: $(READY)
	$(BIN)/python -m tests.seeded_faults

# The same questions through every command that users run: batch, vllm serve, vllm run-batch, lmms-eval, Ray.
doors: $(READY)
	$(BIN)/python -m pytest -m slow tests/doors
	$(BIN)/python -m pytest -m slow tests/engine tests/test_benchmarks.py

# Bad input, hostile input, full disks, kills: through ask, the server and batch.
faults: $(READY)
	$(BIN)/python -m pytest -m hostile tests/faults

# The part that needs no vLLM, in an environment of its own: make pure PYTHON=python3.13
pure:
	packaging/pure $(PYTHON)

# What `pip install` brings on each Python is what the tests run with, and a wheel holds everything.
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

# Looks for what we use of vLLM in the sources of its next release, without running it.
surfaces: $(READY)
	$(BIN)/python -m tests.vllm_surfaces 0.33.0

# PyPI's own torch is the last resort: it works on a CPU as well.
$(READY): pyproject.toml requirements/cpu.lock packaging/vllm-name/pyproject.toml
	@$(PYTHON) packaging/check_python.py
	@echo "Making the environment in $(VENV)/ (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@packaging/cpu_torch $(BIN) || (echo "No CPU build of torch for this Python is within reach: taking the one for CUDA, 3 GB"; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements/cpu.lock torch)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/cpu.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps ./packaging/vllm-name --editable .
	@touch $@

# Keeps every pin that the bounds allow; make lock LOCK=--upgrade takes the newest. It locks for the oldest Python, and
# `make resolve` says whether the others take the same.
lock:
	$(BIN)/uv pip compile pyproject.toml --quiet --no-header --no-annotate $(LOCK) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --extra cpu --extra eval --extra ray --extra dev --extra docs --override requirements/overrides.txt \
	  -o requirements/cpu.lock

clean:
	rm -rf $(VENV)*
