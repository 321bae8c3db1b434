# Two commands are enough: `make run` and `make test`. Both set everything up themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SERVER := $(VENV)/.server
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar=off

DOCS_VENV := .venv-docs
DOCS_READY := $(DOCS_VENV)/.ready

FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.ready
TARGETS ?= text protobuf path webconfig
MINUTES ?= 20

# The tests start hundreds of processes of the same modules: these are compiled once, also where
# the environment, as that of many containers, says not to keep the result.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: abuse bench-functions growth profile crash docs over-postgres fuzz run test interop replicas bench-replicas screenshots check format conformance bench demo fuzz-diff clean
.PHONY: dist docs-site lock release

run: $(SERVER)  ## the gateway, its data in ./data; flags: make run ARGS="--web.listen-address=:9099"
	$(BIN)/pushgate serve $(ARGS)

# Twice the cores of a small machine, because many tests wait for clocks, disks and other processes.
TESTS_AT_ONCE ?= 4

test: $(READY)
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist worksteal --ignore=tests/interop --ignore=tests/abuse

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

over-postgres: $(READY)  ## the conformance and acceptance tests again, over PostgreSQL; without those of the file
	$(BIN)/python -m tests.with_postgres tests/conformance tests/integration/test_aggregation.py \
	  tests/integration/test_client_acceptance.py tests/integration/test_defects.py \
	  tests/integration/test_differences.py tests/integration/test_limits.py tests/integration/test_rules.py \
	  -k "not p18 and not d12_without"

bench: $(READY)  ## e.g. make bench BENCH='--quick --only push'
	$(BIN)/python -m benchmarks.bench $(BENCH)
	$(BIN)/python -m benchmarks.client

bench-replicas: $(READY)  ## replicas over PostgreSQL beside one server: 5 minutes
	$(BIN)/python -m benchmarks.replicas $(BENCH)

bench-functions: $(READY)  ## the hot functions beside their slow twins
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m pytest benchmarks/test_functions.py --benchmark-columns=min,median,iqr

profile: $(READY)  ## where the CPU time of a warm, durable push goes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks.where

growth: $(READY)  ## how latency, scrapes and memory grow, into docs/growth
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks.growth docs/growth

fuzz: $(FUZZ_READY)  ## with atheris, one after the other: make fuzz TARGETS=text MINUTES=1
	for target in $(TARGETS); do \
	  mkdir -p $(FUZZ_VENV)/found/$$target && \
	  $(FUZZ_VENV)/bin/python -m fuzz.fuzz_$$target -max_total_time=$$(($(MINUTES) * 60)) -max_len=4096 \
	    -rss_limit_mb=1500 -print_final_stats=1 -artifact_prefix=$(FUZZ_VENV)/found/$$target- \
	    $$(ls fuzz/$$target.dict 2>/dev/null | sed 's/^/-dict=/') \
	    $(FUZZ_VENV)/found/$$target fuzz/corpus/$$target || exit 1; \
	done

$(FUZZ_READY): pyproject.toml
	$(PYTHON) -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[server]' atheris
	touch $@

fuzz-diff: $(READY)  ## e.g. make fuzz-diff FUZZ='--seed 7 --seconds 600'
	$(BIN)/python -m tests.fuzz.diff $(FUZZ)

abuse: $(READY)  ## hostile clients, in full size; e.g. make abuse ABUSE='-k scrape'
	PUSHGATE_ABUSE=1 $(BIN)/python -m pytest -v -s tests/abuse tests/integration/test_abuse.py $(ABUSE)

crash: $(READY)  ## kill -9 a hundred times while everything is pushed: some minutes
	PUSHGATE_KILLS=100 $(BIN)/python -m pytest -v -s tests/integration/test_crash.py

replicas: $(READY)  ## many replicas under load and fire, in full size: half an hour
	PUSHGATE_REPLICAS=1 $(BIN)/python -m pytest -v -s tests/replicas $(REPLICAS)

docs: $(READY)  ## write the pages that are made from the code
	$(BIN)/python -m tests.flagspage >docs/flags.md.new && mv docs/flags.md.new docs/flags.md
	$(BIN)/python -m tests.metricspage >docs/metrics.md.new && mv docs/metrics.md.new docs/metrics.md
	$(BIN)/python -m tests.pythonpage >docs/python-api.md.new && mv docs/python-api.md.new docs/python-api.md

docs-site: $(DOCS_READY)  ## the documentation as pages, into site; a warning is an error
	$(DOCS_VENV)/bin/zensical build --clean --strict
	! grep -rnE '<(script|img|iframe)[^>]* src="https?:|<link[^>]* href="https?:' site --include=*.html

$(DOCS_READY): requirements/docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

screenshots: $(READY)  ## of the web page, into docs/screenshots; needs Chromium
	$(BIN)/python -m tests.showcase docs/screenshots

demo: $(READY)
	$(BIN)/python examples/demo.py

dist: $(READY)  ## wheel and sdist into dist/, the same bytes each time
	rm -rf dist
	$(BIN)/python -m hatchling build

release: $(READY)  ## walk the checklist of CONTRIBUTING.md: make release VERSION=x.y.z
	$(BIN)/python -m release $(VERSION)

lock: $(READY)  ## pin what the image and the documentation install, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --upgrade --extra server --extra postgres --output-file requirements/server.txt pyproject.toml
	echo 'hatchling>=1.27' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --upgrade --output-file requirements/build.txt -
	echo zensical | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --upgrade --output-file requirements/docs.txt -

$(SERVER): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Pushgate needs Python 3.11 or newer; set PYTHON=…")'
	@echo "installing the server into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --quiet -e '.[server]'
	touch $@

$(READY): $(SERVER)
	@echo "installing what tests and checks need into $(VENV): some minutes"
	$(PIP) --quiet -e '.[server,test,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(FUZZ_VENV) $(DOCS_VENV) dist site .mypy_cache .ruff_cache .pytest_cache
