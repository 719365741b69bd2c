# Everything a person runs. `make demo` and `make test` do all set-up themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DEMO_SECONDS ?= 15
DEMO_SUBSCRIBERS ?= 10000

.PHONY: help setup build demo test lint campaign bench clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: ## Install or name what the build needs; compile RocksDB once
	@deploy/setup.sh

build: setup ## Build target/release/ocs, ocs-journal and ocs-cdr-files
	@echo "==> building target/release/ocs (a first build takes a few minutes)" >&2
	cargo build --release --locked -p ocs -p ocs-journal -p ocs-cdr-files

demo: build ## Real Gy traffic against ten thousand subscribers, audited
	deploy/demo.sh $(DEMO_SECONDS) $(DEMO_SUBSCRIBERS)

test: setup ## All tests, seeded and bounded; PROPTEST_RNG_SEED=N makes other cases
	@echo "==> building and running all tests (a first build takes a few minutes)" >&2
	PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-1} cargo test --locked --workspace

lint: ## Format and lint checks, of the .proto files and of deploy/ too
	@deploy/setup.sh lint
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --quiet -p ocs-proto --test contract
	deploy/check/check.sh

campaign: build ## The long runs: crashes, torn logs, retransmissions, fuzzing, laws; CAMPAIGN_SECONDS=60 shortens them
	deploy/campaign.sh

bench: build ## Figures beside their references; BENCH_RESULTS=FILE writes them elsewhere
	deploy/bench.sh

clean: ## Remove what was built here (RocksDB stays in the user's cache)
	cargo clean
