# One profile and one set of features: everything but `demo`, `bench` and `install` builds the whole
# workspace with its tests, so nothing is compiled twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Runs per upstream and wire format.
RUNS ?= 200
# Attempts at each scenario, on the CPythons that PYTHONS names (tests/python/scenarios.sh).
REPEAT ?= 20
PYTHONS ?= venv
# The libraries are installed below target/ when they are first measured.
FAULTS ?= --peers
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug
# Says what a step is called and how long it took.
STEP := tests/step.sh
# A Python that finds the package as it stands here.
PYTHON_HERE := PYTHONPATH=$(CURDIR)/python $(TARGET)/python/venv/bin/python

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## build the command and show a whole autonomous run; needs no key and no network
	$(CARGO) build --locked -p ambidex-cli
	@$(BIN)/ambidex demo

.PHONY: tools
tools: ## install what lint and test need; a no-op afterwards
	@tests/install.sh

.PHONY: build
build: ## everything with its tests, in the dev profile
	@$(STEP) build $(CARGO) build --locked --workspace --all-targets
	@tests/python/build.sh --copy

.PHONY: lint
lint: tools build ## formatting, clippy, documentation, types, scripts
	@$(STEP) rustfmt $(CARGO) fmt --all --check
	@$(STEP) clippy $(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(STEP) rustdoc $(CARGO) doc --locked --workspace --no-deps --quiet
	@$(STEP) python-lint tests/python/lint.sh
	@$(STEP) scripts tests/lint-scripts.sh

.PHONY: test
test: tools build ## all tests, the table of faults, kills, real upstreams, Python, licences; nothing is skipped
	@$(STEP) cargo-test $(CARGO) test --locked --workspace
	@$(STEP) faults $(BIN)/ambidex-faults
	@$(STEP) crash $(BIN)/ambidex-crash --quick
	@$(STEP) upstreams tests/upstreams/runs.py $(BIN)/ambidex --fake $(BIN)/fake-provider --runs $(RUNS)
	@$(STEP) python-suites tests/python/suites.sh
	@$(STEP) scenarios env PYTHONS=venv tests/python/scenarios.sh -j 2
	@$(STEP) soak env $(PYTHON_HERE) -m ambidex.selftest.soak --seconds 60 --awaits 200000 --runs 2000 --exits 40
	@$(STEP) wheels tests/python/wheels.sh
	@$(STEP) licences $(TARGET)/tools/bin/cargo-deny --locked --log-level error check --hide-inclusion-graph \
	  licenses bans sources

.PHONY: python
python: ## the extension module into python/ambidex: for PYTHONPATH=python
	tests/python/build.sh

.PHONY: scenarios
scenarios: tools python ## where sync meets async: each scenario in a process of its own, as a table; REPEAT=N times
	PYTHONS='$(PYTHONS)' tests/python/scenarios.sh --repeat $(REPEAT)

.PHONY: soak
soak: wheels ## a million awaits, 10,000 runs at once, exits with work in flight, half an hour of all
	$(TARGET)/python/wheel/venv/bin/python -m ambidex.selftest.soak --require-targets

.PHONY: wheels
wheels: tools ## the Python wheels into target/python/wheels, each tested in an empty environment
	tests/python/wheels.sh

.PHONY: faults
faults: ## what each fault of a provider comes to, as a table, beside other libraries; FAULTS= is ours alone
	$(CARGO) run --locked --quiet -p ambidex-faults -- $(FAULTS)

# CRASH='--seed 7 --only "before result"' is a part of it, or the same again.
CRASH ?=
.PHONY: crash
crash: tools ## what is left of runs after kills, power cuts and lost leases, as a table; a few minutes
	$(CARGO) build --locked --quiet -p ambidex-crash
	$(BIN)/ambidex-crash $(CRASH)

.PHONY: bench
bench: ## what a run costs, beside loops without a framework; about five minutes
	$(CARGO) build --locked --release -p ambidex-cli -p ambidex-benches
	$(TARGET)/release/ambidex-benches run

# Seconds are counted from the first measurement; installing and building come on top. BENCH=--quick is a minute.
BENCH ?=
.PHONY: bench-python
bench-python: ## what a run costs in Python, beside other libraries; under ten minutes
	$(CARGO) build --locked --release -p ambidex-benches
	benches/python/install.sh
	benches/python/run.py --python $(TARGET)/python/bench-venv/bin/python --upstream $(TARGET)/release/ambidex-benches $(BENCH)

.PHONY: bench-steps
bench-steps: ## what a step of a graph costs in Python, beside LangGraph with its stores; needs a Postgres server
	benches/python/install.sh
	benches/python/steps.py --python $(TARGET)/python/bench-venv/bin/python $(STEPS)

.PHONY: docs
docs: ## write the tables in docs/ that come from the code
	UPDATE_DOCS=1 $(CARGO) test --locked --quiet -p ambidex-config -p ambidex-core manual

.PHONY: install
install: ## the command `ambidex` into cargo's bin folder
	$(CARGO) install --locked --path crates/cli
