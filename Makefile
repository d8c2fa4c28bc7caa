# Two commands matter: `make demo` and `make test`. Each installs what it needs and leaves nothing behind
# but the caches named here.

SHELL := /bin/bash -o pipefail
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/colonnade

# On a build machine the clone is thrown away; what is slow to make outlives it.
ifdef CI
export CARGO_TARGET_DIR ?= $(CACHE)/target
endif

# Where the real data is, a test that does not find its files is no pass.
export COLONNADE_REQUIRE_SHARED_DATA ?= $(if $(wildcard $(or $(COLONNADE_SHARED_DATA),../shared/data)/README.md),1)

# By what is installed and how, so that another checkout is neither waited for nor overwritten.
NVRTC := $(CACHE)/nvrtc-$(firstword $(shell cat scripts/nvrtc-requirements.txt scripts/install-nvrtc.sh | cksum))
export COLONNADE_CUDA_INCLUDE ?= $(NVRTC)/nvidia/cu13/include
NVRTC_ENV = LD_LIBRARY_PATH="$(NVRTC)/nvidia/cu13/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

ROWS ?= 1000000

# Encoders on CUDA devices are built where there is a driver: they take minutes, and are of no use elsewhere.
CUDA := $(if $(wildcard /dev/nvidiactl /dev/dxg),--features cuda-encoders)

# All default members, or the root package among those that are selected, which brings all features: any other selection would
# choose other features of the crates they share, and build most of the dependencies a second time.

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

.PHONY: demo
demo: build ## generate data, run every kind of job on it, check what was found, serve it
	"$${CARGO_TARGET_DIR:-target}/debug/colonnade" models pull all-MiniLM-L6-v2 \
		|| echo "demo: no source of all-MiniLM-L6-v2 answered; it goes on with hashed n-grams"
	"$${CARGO_TARGET_DIR:-target}/debug/colonnade" demo --rows $(ROWS)

.PHONY: test
test: format lint test-all $(if $(CI),weight) ## everything that a change must pass

.PHONY: format
format: ## check the formatting
	cargo fmt --all --check

.PHONY: lint
lint: ## lints as errors
	cargo clippy --locked --workspace --all-targets --features cuda-encoders,benches/gpu-package,benches/cubins -- -D warnings

# All kernels are one unit of code, in which everything can be inlined and which one changed line compiles anew, for minutes.
# Their unit tests do with many units, in a folder of their own; a build machine tests them as they are used.
ALONE = cargo test --locked --package kernels --config profile.dev.package.kernels.codegen-units=256 --target-dir "$${CARGO_TARGET_DIR:-target}/kernels"
# With the features that all crates have together, as they are built anyway.
TOGETHER = cargo test --locked $(CUDA) --package colonnade
KERNELS = $(if $(CI),$(TOGETHER) --package kernels,$(ALONE))
LIBRARIES = $(patsubst %/src/lib.rs,%,$(wildcard */src/lib.rs))
OTHERS = $(addprefix --package ,$(filter-out kernels,$(LIBRARIES)))

.PHONY: test-all
test-all: nvrtc ## unit tests, CUDA compilation and emulation, end to end, tidy
	cargo build --locked $(CUDA)
	$(NVRTC_ENV) COLONNADE_REQUIRE_NVRTC=1 $(KERNELS) --lib
	$(NVRTC_ENV) $(TOGETHER) --package tests $(OTHERS)
	$(TOGETHER) --package kernels --test memory
	$(TOGETHER) --package kernels --doc
	tests/peers/run-clients.sh audits
ifneq ($(CI)$(CUDA),)
	@# The one test of the encoders for CUDA devices has all their code compiled, and needs no driver; lints see it everywhere.
	@# By itself it takes other features of some small crates, which are compiled a second time.
	cargo test --locked --package networks-cuda
endif

.PHONY: is-crate
is-crate:
	@[[ -n "$(filter $(CRATE),$(LIBRARIES) colonnade)" ]] || { echo "make unit: expected CRATE= one of $(LIBRARIES) colonnade, found \"$(CRATE)\""; exit 2; }

.PHONY: unit
unit: is-crate nvrtc ## unit tests of one crate: make unit CRATE=models [TEST=name]
	$(NVRTC_ENV) $(if $(filter kernels,$(CRATE)),$(ALONE),$(TOGETHER) --package $(CRATE)) $(if $(filter colonnade,$(CRATE)),--bins,--lib) -- $(TEST)

# Beside what was compiled, because what is still fresh is not counted again.
LINES = "$${CARGO_TARGET_DIR:-$(CURDIR)/target}/llvm-lines"
COUNT = COLONNADE_LLVM_LINES=$(LINES) RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/scripts/count-llvm-lines.sh" CARGO_INCREMENTAL=0

.PHONY: weight
weight: ## lines of LLVM IR of each crate, beside the most that tests/tidy/weights.toml allows
	mkdir -p $(LINES)
	$(COUNT) cargo build --locked
	$(COUNT) cargo build --locked --package networks-cuda
	COLONNADE_LLVM_LINES=$(LINES) cargo test --locked --test tidy -- lines_of_llvm_ir --nocapture
	@# What was counted lies where the binary does: puts that back.
	cargo build --locked $(CUDA)

# The long forms of what `test` runs small, and the checks against other people's software.
E2E = cargo test --locked $(CUDA) --test e2e

.PHONY: test-kill
test-kill: build ## kill a loaded server at 50 random moments; prints its seed
	COLONNADE_KILLS=$${COLONNADE_KILLS:-50} $(E2E) when_the_server_is_killed -- --nocapture

.PHONY: test-exports
test-exports: build ## kill exports at 200 random moments: none is taken for whole, each goes on; prints its seed
	COLONNADE_KILLS=$${COLONNADE_KILLS:-200} $(E2E) when_exports_are_killed -- --nocapture

.PHONY: test-alerts
test-alerts: build ## 10,000 commits under 200 rules, the server killed 100 times: each alert once, and how soon; prints its seed
	COLONNADE_ALERT_COMMITS=$${COLONNADE_ALERT_COMMITS:-10000} COLONNADE_KILLS=$${COLONNADE_KILLS:-100} \
		$(E2E) each_alert_is_told_once -- --nocapture

.PHONY: test-online
test-online: ## 1,000 histories of samples that come in parts, late, doubled and deleted: the online method finds what one run over all does; SEED=N
	COLONNADE_TRIES=$${COLONNADE_TRIES:-1000} $(TOGETHER) --package jobs --lib however_the_samples_come -- --nocapture

.PHONY: bench-exports
bench-exports: ## exports of 10 million model calls to each format, read back by others, beside DuckDB's COPY (a quiet machine)
	benches/exports.sh

.PHONY: bench-scale
bench-scale: ## forecasts, anomalies and explanations of 10 million values each, beside statsforecast, pandas and stumpy (a quiet machine)
	benches/scale.sh

.PHONY: bench-processes
bench-processes: ## the job `processes` on a log of 857,700 events, beside pm4py (a quiet machine)
	benches/processes.sh

.PHONY: bench-detectors
bench-detectors: ## how well the job `anomalies` tells NAB's labelled windows, beside isolation forests, discords and a moving z-score
	benches/detectors.sh

.PHONY: test-reports
test-reports: ## reports as PDF, too: tests and lints with the feature `pdf`, and each ready report as HTML and PDF in A4 and Letter
	reports/check.sh

.PHONY: test-flight
test-flight: build ## Flight SQL by the ADBC driver as it is installed: queries, values, catalogues, who may, broken streams
	tests/peers/run-flight.sh

.PHONY: bench-flight
bench-flight: ## 10 million rows to pandas by Flight SQL, beside pyarrow reading the same files (a quiet machine)
	benches/flight.sh

.PHONY: test-otlp
test-otlp: build ## spans of agents by OpenTelemetry's own exporter: each value a value of a row, and once
	tests/peers/run-otlp.sh

.PHONY: test-processes
test-processes: build ## the job `processes` on real event logs, beside pm4py
	tests/peers/run-processes.sh

.PHONY: test-predictions
test-predictions: build ## the job `predictions` on real event logs, beside pandas and scikit-learn; 100 made worlds in which a step helps, or none does
	COLONNADE_WORLDS=$${COLONNADE_WORLDS:-100} $(TOGETHER) --package analysis --lib foresight:: -- --nocapture
	tests/peers/run-predictions.sh

.PHONY: oracles
oracles: build ## the jobs on real data that packages of PyPI ship, next to statsmodels, scipy, scikit-learn, statsforecast, ruptures, recordlinkage and pm4py; JOBS="forecast trends"
	tests/peers/run-oracles.sh $(JOBS)

.PHONY: test-features
test-features: build ## the jobs `features` and `training_set` and reads by entity, of a million entities, beside Feast and pandas
	tests/peers/run-features.sh

.PHONY: test-costs
test-costs: build ## the job `costs` on real traces and every model of LiteLLM's list, beside litellm and pandas
	tests/peers/run-costs.sh

.PHONY: test-reconcile
test-reconcile: build ## the job `reconcile` on two tables of a million rows with planted differences, beside pandas
	tests/peers/run-reconcile.sh

.PHONY: test-agents
test-agents: ## 1,000 made worlds of agents: who is not better is called so in at most one of twenty
	COLONNADE_WORLDS=$${COLONNADE_WORLDS:-1000} $(TOGETHER) --package jobs --lib who_is_not_better_is_not_called_so -- --nocapture

.PHONY: test-routing
test-routing: ## made worlds of requests: the policy that saves is found, intervals hold what is true, and where there is none nothing is recommended
	COLONNADE_WORLDS=$${COLONNADE_WORLDS:-300} $(TOGETHER) --package analysis --lib routing:: -- --nocapture

.PHONY: test-drift
test-drift: ## false alarms and found drifts of simulated quarters of a year, by shape and rows a day
	COLONNADE_WORLDS=$${COLONNADE_WORLDS:-1000} $(TOGETHER) --package analysis --lib drift:: -- --nocapture

.PHONY: test-series
test-series: ## 10,000 random calendars, planted pairs of seasons, levels and correlations of unrelated series of twelve shapes, coverage of prediction intervals, labels of 50 seeds; SEED=N
	$(if $(SEED),COLONNADE_TEST_SEED=$(SEED)) COLONNADE_SERIES=$${COLONNADE_SERIES:-10000} $(TOGETHER) --package analysis --lib calendar:: -- --nocapture
	$(if $(SEED),COLONNADE_TEST_SEED=$(SEED)) COLONNADE_SERIES=$${COLONNADE_SERIES:-200} $(TOGETHER) --package analysis --lib -- --nocapture series::seasons trend::level_test prediction_interval
	$(if $(SEED),COLONNADE_TEST_SEED=$(SEED)) COLONNADE_SERIES=$${COLONNADE_SERIES:-200} COLONNADE_SEEDS=50 $(TOGETHER) --package jobs --lib -- --nocapture correlate::significance labels_make_no_result_worse forecast::coverage

.PHONY: test-rates
test-rates: ## how often `anomalies` reports series and groups in which nothing happens, and whether it still finds what is planted; SEED=N
	$(if $(SEED),COLONNADE_TEST_SEED=$(SEED)) COLONNADE_SERIES=$${COLONNADE_SERIES:-200} $(TOGETHER) --package analysis --lib -- --nocapture sustained::worlds online::rate_tests
	$(if $(SEED),COLONNADE_TEST_SEED=$(SEED)) COLONNADE_SERIES=$${COLONNADE_SERIES:-200} $(TOGETHER) --package jobs --lib -- --nocapture anomalies::rate_tests

.PHONY: test-recipes
test-recipes: build ## the recipes of docs/without-us.md, run by the libraries that they are for
	tests/peers/run-recipes.sh

.PHONY: python
python: build ## the Python package: types by mypy and pyright, tests against a real server, wheel and sdist
	python/check.sh "$$(realpath "$${CARGO_TARGET_DIR:-target}")/debug/colonnade" $(CACHE)/python

.PHONY: test-examples
test-examples: build ## the programs of docs/clients.md in TypeScript and Rust, compiled and run while their server is killed
	examples/check.sh "$$(realpath "$${CARGO_TARGET_DIR:-target}")/debug/colonnade" $(CACHE)/examples

.PHONY: notebooks
notebooks: build ## execute the notebooks anew, and hold their figures against those that are committed
	notebooks/check.sh "$$(realpath "$${CARGO_TARGET_DIR:-target}")/debug/colonnade"

.PHONY: test-workers
test-workers: build ## kill workers, servers and PostgreSQL at 200 random moments; prints its seed
	COLONNADE_KILLS=$${COLONNADE_KILLS:-200} $(E2E) when_workers -- --nocapture --test-threads 1

.PHONY: test-cloud-workers
test-cloud-workers: build ## two servers and two workers on an emulated S3 store: each commit told once, in order, within a second
	tests/peers/kill_cloud.sh $(E2E) all_commit_to_a_store -- --nocapture

.PHONY: test-kill-cloud
test-kill-cloud: build ## the same 20 times on an emulated S3 store that is slow, refuses, loses answers and cuts transfers
	COLONNADE_KILLS=$${COLONNADE_KILLS:-20} tests/peers/kill_cloud.sh $(E2E) where_the_store_fails_too -- --nocapture

.PHONY: test-rate
test-rate: build ## rows a minute through HTTP with durable acknowledgement, and the latency of subscriptions
	COLONNADE_RATE_ROWS=$${COLONNADE_RATE_ROWS:-2000000} $(E2E) rate -- --nocapture --test-threads 1
	COLONNADE_LATENCY_COMMITS=$${COLONNADE_LATENCY_COMMITS:-500} $(E2E) the_time_from_commit -- --nocapture

.PHONY: test-compaction
test-compaction: build ## 10,000 small commits become few files under a subscription and 20 readers of old versions (minutes)
	COLONNADE_COMPACTION_COMMITS=$${COLONNADE_COMPACTION_COMMITS:-10000} $(E2E) compaction -- --nocapture

.PHONY: test-chaos
test-chaos: build ## two tenants of which one attacks: the other's times beside its quiet ones; the memory of 10,000 clients (minutes, on a quiet machine)
	COLONNADE_NEIGHBOUR_SECONDS=$${COLONNADE_NEIGHBOUR_SECONDS:-20} $(E2E) neighbours -- --nocapture --test-threads 1
	ulimit -n "$$(ulimit -Hn)"; COLONNADE_CROWD=$${COLONNADE_CROWD:-10000} $(E2E) crowd -- --nocapture

.PHONY: test-corrupted
test-corrupted: build ## every broken file of the public collections through the command line
	COLONNADE_CORRUPTED=all $(E2E) corrupted -- --nocapture

.PHONY: test-peers
test-peers: build ## our tables read by deltalake, polars and duckdb, theirs by us, and the query cases beside duckdb
	tests/peers/run-delta.sh
	tests/peers/run-cases.sh

.PHONY: test-cases
test-cases: build ## the answers of the query cases beside DuckDB's
	tests/peers/run-cases.sh

.PHONY: test-random
test-random: build ## 5,000 random filters, orders and groups beside DuckDB's answers, and walks through pages while others commit; prints its seed
	tests/peers/run-random.sh

.PHONY: test-files
test-files: build ## random tables in files of pandas, Polars, DuckDB and writers of Excel, loaded twice each and compared, and public suites of JSON and CSV through every door; COUNT=2000; prints its seed
	tests/peers/run-files.sh

.PHONY: test-isolation
test-isolation: build ## 10,000 random requests of who may not see all: the same answers whatever is kept back; prints its seed
	COLONNADE_ISOLATION=$${COLONNADE_ISOLATION:-10000} $(TOGETHER) --package graphql --lib isolation -- --include-ignored --nocapture --test-threads 1

.PHONY: test-audience
test-audience: build ## 10,000 subscribers of 50 questions, one commit a second for five minutes: each told of every version; memory of a socket, time to the last (a quiet machine)
	ulimit -n "$$(ulimit -Hn)"; COLONNADE_AUDIENCE=$${COLONNADE_AUDIENCE:-10000} COLONNADE_AUDIENCE_COMMITS=$${COLONNADE_AUDIENCE_COMMITS:-300} \
		COLONNADE_BREAKS=$${COLONNADE_BREAKS:-1000} $(E2E) audience -- --nocapture --test-threads 1

.PHONY: test-mixture
test-mixture: build ## 1,000 clients that do everything at once, for ten minutes, with 2 GiB for queries: nothing breaks, memory stays; prints its seed
	ulimit -n "$$(ulimit -Hn)"; COLONNADE_MIXTURE=$${COLONNADE_MIXTURE:-1000} COLONNADE_MIXTURE_SECONDS=$${COLONNADE_MIXTURE_SECONDS:-600} \
		$(E2E) mixture -- --nocapture

.PHONY: test-clients
test-clients: build ## clients as they are installed: graphql-http's audits, graphql-sse, urql, Apollo, Relay, graphql-codegen, and gql of Python; logins at oidc-provider
	tests/peers/run-clients.sh audits
	tests/peers/run-clients.sh
	tests/peers/run-login.sh

.PHONY: test-restarts
test-restarts: build ## a server restarted 50 times under graphql-sse, graphql-ws and gql: nothing missed, nothing twice, no client ends (minutes); COUNT=N
	tests/peers/run-restarts.sh

.PHONY: test-ws
test-ws: build ## subscriptions with the npm client graphql-ws
	tests/peers/run-ws.sh

MODELS := $(CACHE)/models

.PHONY: model
model: build ## the default embedder's weights, from where they are published (90 MB)
	COLONNADE_MODELS="$(MODELS)" "$${CARGO_TARGET_DIR:-target}/debug/colonnade" models pull all-MiniLM-L6-v2

.PHONY: test-embeddings
test-embeddings: model ## the published embedder: tokens and vectors of the reference, and its speed
	COLONNADE_REQUIRE_MINILM=1 COLONNADE_MINILM="$(MODELS)/all-MiniLM-L6-v2" \
		$(TOGETHER) $(OTHERS) --lib published_tests -- --skip training:: --include-ignored --nocapture --test-threads 1

.PHONY: test-training
test-training: model ## training on real data: accuracy, learning curve, kills, memory (half an hour, on a quiet machine)
	COLONNADE_REQUIRE_MINILM=1 COLONNADE_MINILM="$(MODELS)/all-MiniLM-L6-v2" \
		$(TOGETHER) $(OTHERS) --lib training::published_tests -- --include-ignored --nocapture --test-threads 1

.PHONY: test-seeds
test-seeds: nvrtc ## all unit tests on code as it is used, SEEDS times, the kernels' with other random inputs
	for round in $$(seq $${SEEDS:-10}); do \
		seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "COLONNADE_TEST_SEED=$$seed"; \
		$(NVRTC_ENV) COLONNADE_REQUIRE_NVRTC=1 COLONNADE_TEST_SEED=$$seed \
			cargo test --locked $(CUDA) --lib -- --quiet || exit 1; \
	done

# Built beside the rest: only our own crates are instrumented.
.PHONY: fuzz
fuzz: ## search for input that breaks something, by coverage: make fuzz MINUTES=10 [TARGETS="sql document"]
	RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/scripts/instrument.sh" CARGO_INCREMENTAL=0 \
		cargo build --locked --package colonnade --package fuzz --features fuzz/coverage --bin fuzz
	scripts/fuzz.sh "$${CARGO_TARGET_DIR:-target}/debug/fuzz" "$(CACHE)/fuzz" $(or $(MINUTES),10) $(TARGETS)

.PHONY: test-growth
test-growth: ## time and memory of every kernel at n, 2n, 4n and 8n (minutes, on a quiet machine)
	cargo test --locked $(CUDA) --test memory -- --ignored --nocapture

.PHONY: test-cloud
test-cloud: build ## the demo on emulated S3 and Azure stores, and two writers racing
	tests/peers/cloud.sh

.PHONY: bench
bench: ## ours beside the peers, same data, same threads; prints ratios
	benches/run.sh

.PHONY: bench-queue
bench-queue: ## runs a second and their waiting, ours beside Celery, on SQLite and PostgreSQL; 100,000 records of runs
	benches/queue.sh

.PHONY: accuracy
accuracy: ## ours beside the peers on real data: forecasts, correlations, matrix profiles
	benches/accuracy.sh

# Hopper, and what is before and after it. Each is a few hundred kilobytes.
GPU_ARCHITECTURES = sm_80 sm_89 sm_90a sm_100 sm_120

.PHONY: gpu-package
gpu-package: nvrtc ## one binary with the kernels' checks and benchmarks, for a machine with a CUDA driver and no toolchain
	$(NVRTC_ENV) cargo run --locked --profile dist -p benches --features cubins --bin cubins -- "$(CACHE)/cubins" $(GPU_ARCHITECTURES)
	cargo test --locked --profile dist -p benches --features gpu-package --bin gpu-package
	COLONNADE_CUBINS="$(CACHE)/cubins" cargo rustc --locked --profile dist -p benches --features built-in-cubins --bin gpu-package
	mkdir -p dist
	cp "$${CARGO_TARGET_DIR:-target}/dist/gpu-package" dist/colonnade-gpu-package
	ls -l dist/colonnade-gpu-package

.PHONY: deny
deny: ## licences, advisories and banned crates (needs cargo-deny)
	cargo deny check

.PHONY: nvrtc
nvrtc: $(NVRTC)/.installed ## NVIDIA's run-time compiler, which needs no GPU

$(NVRTC)/.installed:
	scripts/install-nvrtc.sh $(NVRTC)

.PHONY: build
build: ## the binary as the demo runs it
	cargo build --locked $(CUDA)

.PHONY: release
release: ## the binary to hand out: optimised, small, with all that can be built in
	cargo build --locked --profile dist --package colonnade --features cuda-encoders,pdf
	ls -l "$${CARGO_TARGET_DIR:-target}/dist/colonnade"

.PHONY: clean
clean: ## remove what was built here
	cargo clean
