# A newcomer needs two commands: `make demo` and `make test`. Both build .venv first.

# The Python that .venv is made from; `make venv PYTHON=python3.12` takes another.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Errors only: TensorFlow otherwise starts with a page about CPU features and missing GPUs.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types format bench fuzz heads seeds live soak test-arm64 lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## build .venv with the versions in constraints.txt

demo: $(STAMP) ## train, export and evaluate the poster's system; writes a report
	$(BIN)/ddnn demo

test: lint types ## all checks, as .ci/run makes them
	$(BIN)/python -m pytest -n 2

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

format: $(STAMP) ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP) ## run all benchmarks and print their numbers
	$(BIN)/python -m benchmarks

fuzz: $(STAMP) ## a million mutated messages, a hundred thousand manifests
	DDNN_FUZZ=1000000 $(BIN)/python -m pytest -v -s tests/edge_runtime/test_fuzzing.py

heads: $(STAMP) ## four hundred models drawn at random, cut, and compared with what they mean
	DDNN_HEADS=400 $(BIN)/python -m pytest -v tests/ddnn_tf/cutting/test_heads.py -k "the_model_and"

seeds: $(STAMP) ## ten thousand seeds of the fault simulation
	DDNN_SEEDS=10000 $(BIN)/python -m pytest -v tests/edge_runtime/test_fault_simulation.py -k invariant

live: $(STAMP) ## live runs of 2000 frames each, failures drawn and made real
	DDNN_LIVE=2000 $(BIN)/python -m pytest tests/end_to_end/test_survival.py

# Where the Debian root is made, once, and kept.
ARM64 ?= build/arm64

test-arm64: $(STAMP) ## the [edge] wheel on 64-bit ARM, emulated (needs root, debootstrap, qemu)
	@$(BIN)/python -m tests.end_to_end.arm64
	DDNN_ARM64=$(ARM64) $(BIN)/python -m pytest tests/end_to_end/test_arm64.py

soak: $(STAMP) ## an hour of a live deployment, whose memory must stay flat
	DDNN_SOAK=3600 $(BIN)/python -m pytest -s tests/end_to_end/test_soak.py

lock: ## resolve constraints.txt again, for every Python we support (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml --all-extras --upgrade --only-binary :all: \
	    --universal --python-version 3.11 --fork-strategy fewest \
	    --custom-compile-command "make lock" --quiet --output-file constraints.txt

clean: ## remove what these targets made, but for .venv
	rm -rf build dist demo *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find ddnn_tf edge_runtime export tests -name __pycache__ -prune -exec rm -rf {} +

# A stamp, because an interrupted installation leaves a .venv that looks complete. A .venv that
# somebody made by hand is installed into; one that no longer starts is made again.
$(STAMP): constraints.txt pyproject.toml setup.py
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "$(PYTHON) not found. Install Python 3.11 to 3.13, or name one: make $(MAKECMDGOALS) PYTHON=…" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1); Python 3.11 to 3.13 is needed. Name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	    || $(BIN)/python -m ensurepip >/dev/null 2>&1 \
	    || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "Installing into $(VENV); the first time this downloads about 1 GB."
	@# Wheels only. The project itself is the one thing built, by the pinned setuptools.
	@$(BIN)/python -m pip install --quiet --only-binary :all: -c constraints.txt setuptools
	@$(BIN)/python -m pip install --quiet --only-binary :all: -c constraints.txt \
	    --no-build-isolation --editable '.[all,test]'
	@touch $@
