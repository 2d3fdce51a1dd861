# One profile and one set of features: everything but `demo`, `bench` and `install` builds the whole
# workspace with its tests, so nothing is compiled twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Runs per upstream and wire format.
RUNS ?= 200
# The libraries are installed below target/ when they are first measured.
FAULTS ?= --peers
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug

.PHONY: help
help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-8s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## build the command and show a whole autonomous run; needs no key and no network
	$(CARGO) build --locked -p ambidex-cli
	@$(BIN)/ambidex demo

.PHONY: tools
tools: ## install what lint and test need; a no-op afterwards
	@tests/install.sh

.PHONY: build
build: ## everything with its tests, in the dev profile
	$(CARGO) build --locked --workspace --all-targets

.PHONY: lint
lint: tools ## formatting, clippy, documentation, scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	tests/lint-scripts.sh

.PHONY: test
test: tools build ## all tests, the table of faults, real upstreams, licences; nothing is skipped
	$(CARGO) test --locked --workspace
	$(BIN)/ambidex-faults
	tests/upstreams/runs.py $(BIN)/ambidex --fake $(BIN)/fake-provider --runs $(RUNS)
	$(TARGET)/tools/bin/cargo-deny --locked --log-level error check --hide-inclusion-graph licenses bans sources

.PHONY: faults
faults: ## what each fault of a provider comes to, as a table, beside other libraries; FAULTS= is ours alone
	$(CARGO) run --locked --quiet -p ambidex-faults -- $(FAULTS)

.PHONY: bench
bench: ## what a run costs, beside loops without a framework; about five minutes
	$(CARGO) build --locked --release -p ambidex-cli -p ambidex-benches
	$(TARGET)/release/ambidex-benches run

.PHONY: docs
docs: ## write the tables in docs/ that come from the code
	UPDATE_DOCS=1 $(CARGO) test --locked --quiet -p ambidex-config -p ambidex-core manual

.PHONY: install
install: ## the command `ambidex` into cargo's bin folder
	$(CARGO) install --locked --path crates/cli
