# One command each. All of it runs in .venv, which is made on first use; a changed pyproject.toml installs again.

# The distribution's own Python where it will do: it is built with profile-guided optimisation, and the same router
# costs some 20 % less CPU on it than on a plain build from source, which is what version managers put into PATH.
SYSTEM_PYTHON := /usr/bin/python3
CAN_MAKE_VENV := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell $(SYSTEM_PYTHON) -c '$(CAN_MAKE_VENV)' 2>/dev/null && echo $(SYSTEM_PYTHON) || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Wheels only: no compiler may ever be needed.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all:

.DEFAULT_GOAL := help
.PHONY: help up test test-compiled lint compiled bench bench-xds soak fuzz clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

up: $(VENV)/.demo ## two models and the router before them, on this machine (ARGS="--control", ARGS="--workers 2" …)
	@$(BIN)/turnout up --demo $(ARGS)

# File by file in two processes, in the order of the folders: so tests with real processes, which mostly wait, run beside
# their like, and those that compute beside theirs. PYTEST_PROCESSES=0 runs all of it in one, as does a debugger.
PYTEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(PYTEST_PROCESSES) --dist loadfile --no-loadscope-reorder
test: $(VENV)/.test ## all tests, the long counts in short form
	$(PYTEST) -m "not soak" $(ARGS)

COMPILED_TESTS := tests/proxy tests/sim $(addprefix tests/e2e/test_e2e_,http.py hostile.py keepalive.py streaming.py \
	build.py failures.py upgrade.py retries.py workers.py http2_abuse.py http2_conformance.py http2_corners.py \
	http2_lifecycle.py http2_to_http1.py http2_tools.py http2_upstreams.py grpc_calls.py grpc_ends.py mirror.py \
	mirror_faults.py mirror_grpc.py tls.py tls_changes.py)
test-compiled: compiled ## the tests of what is compiled, over the compiled build
	TURNOUT_COMPILED=1 $(PYTEST) -m "not soak" $(COMPILED_TESTS) $(ARGS)

lint: $(VENV)/.test ## style, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

compiled: $(VENV)/.test ## the rooms on a request's way as extension modules: a third less CPU (needs a C compiler)
	$(BIN)/python deploy/compile.py

bench: $(VENV)/.bench ## Turnout (plain, and compiled if that can be), Envoy, nginx and HAProxy side by side (ARGS="--quick" …)
	@$(BIN)/python deploy/compile.py || true
	$(BIN)/python tests/bench/run.py $(ARGS)

bench-xds: $(VENV)/.test ## the control plane with 500 clients: time to the last ACK, CPU, memory (ARGS="--quick" …)
	$(BIN)/python tests/bench/run_xds.py $(ARGS)

soak: $(VENV)/.test ## all tests, the long counts in full
	$(BIN)/python -m pytest $(ARGS)

FUZZ_SECONDS ?= 600
FUZZ_SEED ?=
FUZZ_TESTS ?=
fuzz: $(VENV)/.test ## hostile input at random, for a while (FUZZ_SECONDS=600 FUZZ_SEED=… FUZZ_TESTS=tests/proxy/http2)
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED)) $(FUZZ_TESTS)

clean: ## remove what these commands made
	rm -rf $(VENV) bench-results build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf proxy/turnout/proxy/_compiled proxy/turnout/proxy/_compiled.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.demo: EXTRAS := demo,control
$(VENV)/.test: EXTRAS := test
$(VENV)/.bench: EXTRAS := bench,test

$(VENV)/.demo $(VENV)/.test $(VENV)/.bench: pyproject.toml $(VENV)/.made
	@echo "installing turnout[$(EXTRAS)] into $(VENV)"
	@$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Turnout needs Python 3.11 or newer as '$(PYTHON)'; name another with: make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "'$(PYTHON)' cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
