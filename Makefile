# Build, demo and tests. Everything that is downloaded or can be made again lies outside the clone, in SCALEQUEST_CACHE.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

SCALEQUEST_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scalequest
CARGO_TARGET_DIR ?= $(CURDIR)/target
export SCALEQUEST_CACHE CARGO_TARGET_DIR
export PATH := $(SCALEQUEST_CACHE)/tools/bin:$(PATH)

RELEASE := $(CARGO_TARGET_DIR)/release
PYTHON := $(SCALEQUEST_CACHE)/python/bin/python
BENCH := $(SCALEQUEST_CACHE)/bench

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build scalequest and scalequest-worker (release)
	cargo build --release --locked

.PHONY: build-cuda
build-cuda: ## Build the worker for NVIDIA GPUs; the toolkit comes from PyPI (1.2 GB, and half an hour the first time)
	images/cuda/build.sh

.PHONY: models
models: ## Fetch the quickstart's two models (563 MiB) to models/
	@mkdir -p "$(SCALEQUEST_CACHE)/models"
	@[ -e models ] || ln -s "$(SCALEQUEST_CACHE)/models" models
	examples/fetch-models.sh models smol q05

.PHONY: demo
demo: build models ## Run examples/quickstart.yaml: from seed questions to a published dataset
	@status=0; "$(RELEASE)/scalequest" run -f examples/quickstart.yaml || status=$$?; \
	if [ $$status -eq 0 ] || [ $$status -eq 3 ]; then \
		echo; \
		echo "dataset  demo/dataset            (README.md is its card)"; \
		echo "report   demo/dataset/report.html"; \
	fi; \
	exit $$status

.PHONY: demo-cluster
demo-cluster: build models ## Run the quickstart on a real Kubernetes of this machine: kubectl apply, and watch it
	.ci/tools.sh kubernetes
	cargo build --release --locked --workspace --bins
	"$(RELEASE)/test-cluster" --operator examples/quickstart-cluster.sh

.PHONY: images
images: build ## Make the images scalequest and scalequest-worker as archives in target/images
	images/build.sh

.PHONY: demo-clean
demo-clean: ## Delete what `make demo` made; models stay
	rm -rf demo

.PHONY: tools
tools: ## Install what the tests need (cargo-deny, versitygw, llama-server, Python packages, Chromium, Kubernetes) to the cache
	.ci/tools.sh

.PHONY: lint
lint: ## Check format, clippy, documentation and dependencies
	.ci/tools.sh cargo-deny
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --document-private-items
	cargo deny --locked check bans licenses sources
	charts/generate.py --check
	tests/lint/unused_dependencies.py
	tests/lint/same_features.py
	tests/lint/walls.py
	tests/lint/module_circles.py
	tests/lint/terms.py

.PHONY: audit
audit: ## Check dependencies against the RustSec advisories (fetches their database)
	.ci/tools.sh cargo-deny
	cargo deny --locked check advisories

.PHONY: test
test: lint test-rust test-cluster test-dataset ## Everything that CI runs

.PHONY: test-rust
test-rust: build models ## Run the Rust tests, with the real models and a real S3 server
	.ci/tools.sh versitygw llama-server
	cargo test --release --locked --workspace

.PHONY: bench-engine
bench-engine: build models ## Compare the engine with llama.cpp and PyTorch on this machine; target/bench/engine.json
	.ci/tools.sh bench
	[ -s "$(BENCH)/model.safetensors" ] || $(BENCH)-python/bin/python tests/bench/weights.py models/qwen2.5-coder-0.5b-instruct.q4_k_m.gguf "$(BENCH)"
	tests/bench/compare.py --worker "$(RELEASE)/scalequest-worker" --weights "$(BENCH)" \
		--train models/smollm2-135m-instruct.q4_1.gguf --python "$(BENCH)-python/bin/python" --out target/bench

.PHONY: check-plan
check-plan: build models ## Whether bench and plan say within 25% what the quickstart then takes here (6 minutes, machine left alone): target/check-plan
	tests/bench/check_plan.py --bin "$(RELEASE)" --spec examples/quickstart.yaml --out target/check-plan \
		--model models/smollm2-135m-instruct.q4_1.gguf --model models/qwen2.5-coder-0.5b-instruct.q4_k_m.gguf

.PHONY: test-cluster
test-cluster: export SCALEQUEST_CRASH_STEP ?= 3
test-cluster: build ## Build and start a real Kubernetes; install the chart; run SynthesisRuns on real and simulated pods
	.ci/tools.sh kubernetes kube-score
	cargo test --release --locked --workspace --test cluster_chart --test cluster_crd --test cluster_harness --test cluster_run -- --include-ignored
	@# These wait more than they compute.
	cargo test --release --locked --workspace --test cluster_simulated -- --include-ignored --test-threads=8

.PHONY: test-oldest
test-oldest: export SCALEQUEST_KUBERNETES = oldest
test-oldest: build ## The cluster tests on the oldest Kubernetes that the chart allows (10 minutes more to build it, once)
	.ci/tools.sh kubernetes
	tests/kubernetes/more.sh oldest
	cargo test --release --locked --workspace --test cluster_harness --test cluster_crd --test cluster_run -- --include-ignored
	cargo test --release --locked --workspace --test cluster_chart -- --include-ignored --skip kube_score

.PHONY: test-kueue
test-kueue: build ## A run in a queue of a real Kueue (4 minutes more to build it, once)
	.ci/tools.sh kubernetes
	tests/kubernetes/more.sh kueue
	cargo test --release --locked --workspace --test slow_e2e -- --include-ignored --nocapture kueue

.PHONY: test-node-loss
test-node-loss: build ## A node loses its power under a worker (about 5 minutes)
	.ci/tools.sh kubernetes
	cargo test --release --locked --workspace --test slow_e2e -- --include-ignored --nocapture node_loss

.PHONY: bench-operator
bench-operator: build ## Many runs at once on simulated nodes, beside Argo Workflows: target/bench/operator.json
	.ci/tools.sh kubernetes
	tests/kubernetes/more.sh argo
	cargo test --release --locked --workspace --bench operator

.PHONY: test-dataset
test-dataset: build models ## Make a small dataset with real models; open it in pyarrow, polars, datasets and a browser
	.ci/tools.sh python chromium
	$(PYTHON) tests/python/check_seeds.py examples/seeds/questions.jsonl examples/seeds/labelled.jsonl examples/seeds/held-out.jsonl
	rm -rf target/small-run
	@status=0; "$(RELEASE)/scalequest" run -f tests/small-run.yaml || status=$$?; \
	[ $$status -eq 0 ] || [ $$status -eq 3 ] || exit $$status
	$(PYTHON) tests/python/check_dataset.py target/small-run/dataset
	$(PYTHON) tests/browser/check_report.py target/small-run/dataset/report.html --screenshots target/small-run/screenshots
