# Two commands matter: `make demo` and `make test`. Each installs what it needs and leaves nothing behind
# but the caches named here.

SHELL := /bin/bash -o pipefail
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/colonnade

# On a build machine the clone is thrown away; what is slow to make outlives it.
ifdef CI
export CARGO_TARGET_DIR ?= $(CACHE)/target
endif

NVRTC := $(CACHE)/nvrtc
export COLONNADE_CUDA_INCLUDE ?= $(NVRTC)/nvidia/cu13/include
NVRTC_ENV = LD_LIBRARY_PATH="$(NVRTC)/nvidia/cu13/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

ROWS ?= 1000000

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

.PHONY: demo
demo: ## generate data, run every job on it, check what was found, serve it
	cargo run --locked -- demo --rows $(ROWS)

.PHONY: test
test: format lint test-all ## everything that a change must pass

.PHONY: format
format: ## check the formatting
	cargo fmt --all --check

.PHONY: lint
lint: ## lints as errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: test-all
test-all: nvrtc ## unit tests, CUDA compilation and emulation, end to end, tidy
	cargo build --locked
	$(NVRTC_ENV) COLONNADE_REQUIRE_NVRTC=1 cargo test --locked --workspace

.PHONY: nvrtc
nvrtc: $(NVRTC)/.installed ## NVIDIA's run-time compiler, which needs no GPU

$(NVRTC)/.installed: scripts/nvrtc-requirements.txt scripts/install-nvrtc.sh
	scripts/install-nvrtc.sh $(NVRTC)

.PHONY: build
build: ## the binary as the demo runs it
	cargo build --locked

.PHONY: release
release: ## the binary at full optimisation
	cargo build --locked --release

.PHONY: clean
clean: ## remove what was built here
	cargo clean
