# What there is to do with this project; `make help` says it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Two at a time: much of what is brought from elsewhere is one long download, or one long step of one core. What is run does not
# hear of it, and uses the cores that there are. Several goals are reached one after the other.
MAKEFLAGS += --jobs=$(if $(word 2,$(MAKECMDGOALS)),1,2)
unexport MAKEFLAGS MFLAGS

include tests/tools/Makefile

CARGO := cargo
TESTBED := $(CARGO) run --quiet --locked --package testbed --bin testbed --
# Of the operator, and of what plays with it.
PROGRAMS := --package backup-target-operator --bin backup-target-operator --package testbed --bin testbed

.PHONY: help
help: ## Say all this
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: tools-demo build ## The main job once, visibly: from kubectl apply to a backup that rclone restores
	@$(TESTBED) demo

.PHONY: test
test: tools lint ## All tests: formatting, lints, units, properties, and the operator against real servers
	$(CARGO) test --locked

.PHONY: e2e
e2e: tools-e2e node ## The image and the chart on a real node, a backup in a CronJob, failover, upgrade, removal; needs root
	@$(CARGO) run --quiet --locked --package testbed --bin e2e

.PHONY: sbom
sbom: $(TOOLS)/bin/cargo-cyclonedx ## A bill of materials (CycloneDX) of the operator, from the dependencies in Cargo.lock
	@$(TOOLS)/bin/cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --override-filename sbom --quiet
	@# It writes one beside each manifest.
	@mkdir -p target/sbom; mv sbom.json target/sbom/backup-target-operator.cdx.json; rm tests/testbed/sbom.json
	@echo 'It is target/sbom/backup-target-operator.cdx.json.'

.PHONY: chaos
chaos: tools-demo build ## Faults by chance: pairs and schedules of them, SEED=n PLANS=n; a failed plan names its own seed
	CHAOS=1 SEED=$(SEED) PLANS=$(PLANS) $(CARGO) test --locked --test faults

.PHONY: lint
lint: $(TOOLS)/bin/cargo-deny ## Formatting, clippy, documentation, licences and duplicate dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc --locked --workspace --no-deps --quiet
	$(TOOLS)/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

.PHONY: up
up: tools-demo build ## Start the servers and the operator and leave them running, for play and debugging
	@$(TESTBED) up

.PHONY: down
down: ## End what `make up` started
	@$(TESTBED) down

.PHONY: scale
scale: tools-demo ## A benchmark with the release build: TARGETS=1000 new targets at once, beside DECOYS=0 and BIG=0 Secrets; time and memory
	@$(CARGO) build --quiet --locked --release $(PROGRAMS)
	@$(CARGO) run --quiet --locked --release --package testbed --bin testbed -- scale $(or $(TARGETS),1000) $(or $(DECOYS),0) $(or $(BIG),0)

# Each mutant is built and tried by itself, in a copy of the project: first with the unit tests, which are quick, and what
# survives them with all, judges included; of those not the ones that need servers.
MUTANTS = TESTBED_TOOLS='$(CURDIR)/$(TOOLS)/bin' CARGO_TARGET_DIR='$(CURDIR)/target/mutants/build' \
	$(TOOLS)/bin/cargo-mutants mutants --file 'src/access/**' --jobs 1 --output target/mutants

.PHONY: mutants
mutants: tools $(TOOLS)/bin/cargo-mutants ## Small changes of src/access, one at a time: which of them does no test see? Takes an hour
	@mkdir -p target/mutants
	@$(MUTANTS) -- --locked --lib access:: || [[ $$? == [23] ]]
	@$(MUTANTS) --iterate -- --locked --lib --test judges -- --skip live:: --skip limits::

.PHONY: build
build:
	@echo 'Building the operator and the testbed (the first time takes some minutes).'
	@$(CARGO) build --locked $(PROGRAMS)

# The program that `make build` builds: `cargo run` would build all dependencies once more, without what the tests need of them.
.PHONY: crds
crds: build ## Write crds/ anew from src/api
	@target/debug/backup-target-operator crds | awk '/^---$$/ {n++} {print > (n == 1 ? "crds/backuptargets.yaml" : "crds/backupstores.yaml")}'
	@cp crds/*.yaml charts/backup-target-operator/files/crds/

.PHONY: chart-snapshot
chart-snapshot: $(TOOLS)/bin/helm ## Write tests/chart/defaults.yaml anew: what the chart renders by default
	@WRITE_CHART_SNAPSHOT=1 $(CARGO) test --quiet --locked --test chart

.PHONY: rclone-docs
rclone-docs: ## Write the table of docs/rclone.md anew from tests/rclone
	@WRITE_RCLONE_DOCS=1 $(CARGO) test --quiet --locked --test rclone

.PHONY: rclone-6gib
rclone-6gib: tools-demo ## Upload a sparse file of 6 GiB with base access; needs 14 GiB of free memory
	@$(CARGO) test --quiet --locked --test rclone -- --ignored --nocapture sparse
