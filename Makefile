# Two commands are enough: `make run` and `make test`. Both set everything up themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test interop check format conformance bench demo fuzz-diff clean

run: $(READY)  ## start the gateway on :9091, its data in ./data
	$(BIN)/pushgate serve

test: $(READY)
	$(BIN)/python -m pytest -n 2 --ignore=tests/interop

interop: $(READY)  ## clients of other makes push, a Prometheus scrapes; .ci/peers brings them
	$(BIN)/python -m pytest tests/interop

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

conformance: $(READY)
	$(BIN)/python -m pytest -m conformance

bench: $(READY)  ## e.g. make bench BENCH='--quick --only push'
	$(BIN)/python -m benchmarks.bench $(BENCH)
	$(BIN)/python -m benchmarks.client

fuzz-diff: $(READY)  ## e.g. make fuzz-diff FUZZ='--seed 7 --seconds 600'
	$(BIN)/python -m tests.fuzz.diff $(FUZZ)

demo: $(READY)
	$(BIN)/python examples/demo.py

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Pushgate needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[server,test,dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
