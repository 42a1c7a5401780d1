# `make demo` and `make test` need nothing but Python 3.11 or newer; the first call makes the environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Keeps the noise of a start-up out of the way; none of it changes a result.
export VLLM_NO_USAGE_STATS = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test doors faults lint bench surfaces lock clean

demo: $(READY)
	$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest --ignore=tests/doors --ignore=tests/faults

# The same questions through every command that users run: batch, vllm serve, vllm run-batch, lmms-eval, Ray.
doors: $(READY)
	$(BIN)/python -m pytest tests/doors
	$(BIN)/python -m pytest -m slow tests/engine

# Bad input, hostile input, full disks, kills: through ask, the server and batch.
faults: $(READY)
	$(BIN)/python -m pytest tests/faults

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/python -m benchmarks

# Looks for what we use of vLLM in the sources of its next release, without running it.
surfaces: $(READY)
	$(BIN)/python -m tests.vllm_surfaces 0.33.0

# The CPU build of torch comes from where pip is told to look, or from where uv knows it to be.
$(READY): pyproject.toml requirements/cpu.lock packaging/vllm-name/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' \
	  || (echo "$(PYTHON) is older than 3.11: name another with make PYTHON=python3.11"; exit 1)
	@echo "Making the environment in $(VENV)/ (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0+cpu 2>/dev/null \
	  || $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu torch==2.13.0
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/cpu.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps ./packaging/vllm-name --editable .
	@touch $@

# Where pip's links for the CPU torch are not uv's: make lock UV_FIND_LINKS=...
lock:
	$(BIN)/uv pip compile pyproject.toml --quiet --no-header --no-annotate --no-emit-find-links \
	  --extra cpu --extra eval --extra ray --extra dev --override requirements/overrides.txt \
	  -o requirements/cpu.lock

clean:
	rm -rf $(VENV)
