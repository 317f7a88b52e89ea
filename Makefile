# Two targets are all a new machine needs: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test short lint setup sync faults bench clean

demo: $(VENV)/.installed
	$(BIN)/carruns demo

test: lint
	$(BIN)/pytest -n 3

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python client/make_sync.py --check
	$(BIN)/mypy

# The synchronous client is made from the asynchronous one.
sync: $(VENV)/.installed-dev
	$(BIN)/python client/make_sync.py

setup: $(VENV)/.installed-dev

# A short round, for another Python: make short PYTHON=python3.13 VENV=.venv-3.13
short: $(VENV)/.installed-dev
	$(BIN)/pytest -n 3 -q tests/wire tests/protocol tests/store tests/daemon/input tests/daemon/methods tests/client/test_session.py

# The long versions of tests/faults: kills, failing disks, power cuts, bad neighbours, fuzzing. Needs root.
faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults $(FAULTS)

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# pip learned `--group` in 25.1, which a bare machine need not have: pip is brought up to date in the venv first.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
