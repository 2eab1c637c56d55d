# The steps are in scripts/; every target may be called again at any time.
.DEFAULT_GOAL := help
.PHONY: help demo test test-monitoring test-parity test-cluster bench simulate fuzz libtorch

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17
	@echo
	@echo 'Needs cargo (rustup), a C++ compiler, python3 with pip, and make; says so if one is missing.'
	@echo 'Downloads and builds are kept in $${XDG_CACHE_HOME:-~/.cache}/autorep.'

demo: ## set up, train the quickstart sweep and print its front (a second call trains nothing)
	@bash scripts/demo.sh

test: ## formatting, lints, all tests and documentation: what .ci/run decides by
	@bash scripts/test.sh

test-monitoring: ## try metrics, alerts and the dashboard with a real Prometheus (part of test)
	@bash scripts/test-monitoring.sh

test-parity: ## hold nets, weights and training against PyTorch (downloads 600 MB once)
	@bash scripts/parity.sh

test-cluster: ## as root: a one-node Kubernetes, the chart, a sweep while pods are killed (MANIFEST=, KEEP=1)
	@MANIFEST="$(MANIFEST)" PROGRAMS="$(PROGRAMS)" KEEP="$(KEEP)" bash scripts/test-cluster.sh

bench: ## measure the figures against their targets, into target/bench.json (ONLY=prefix: a part)
	@bash scripts/bench.sh "$(ONLY)"

simulate: ## run seeded worlds over the real coordinator (N=, FROM=, SIM_SEED=, MUTANTS=1)
	@N="$(N)" FROM="$(FROM)" SIM_SEED="$(SIM_SEED)" MUTANTS="$(MUTANTS)" BUG="$(BUG)" PROFILE="$(PROFILE)" bash scripts/simulate.sh

fuzz: ## run the fuzz targets under libFuzzer (TARGET=one, SECONDS=600 each)
	@bash scripts/fuzz.sh "$(TARGET)" "$(or $(SECONDS),600)"

libtorch: ## get libtorch and link it as .libtorch, so that cargo builds the trainer too
	@python3 scripts/stage-libtorch.py
