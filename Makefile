# `make` lists what there is. On a fresh Debian machine with a Rust toolchain, every target installs what it needs.

# dev is built soonest, and shares most of its build with `make test`; release is several minutes of optimizing first, which
# is for whoever measures: make run PROFILE=release
PROFILE ?= dev
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
CARILLON := $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/carillon

# The browser test drives a real browser. certutil tells it which certificate authority to trust.
BROWSER_COMMANDS := chromium chromedriver certutil
BROWSER_PACKAGES := chromium chromium-driver libnss3-tools fonts-dejavu-core
# Torture makes file systems and takes their power away, and lets calls of the broker fail.
TORTURE_COMMANDS := strace mount mkfs.ext4 mkfs.xfs xfs_io
TORTURE_PACKAGES := strace mount e2fsprogs xfsprogs
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
# The crate gungraun in Cargo.toml must have the same.
GUNGRAUN_VERSION := 0.20.0

# The crates with fuzz targets, and how long each of these runs.
FUZZED := wire access listener
FUZZ_SECONDS ?= 10

.PHONY: help
help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-20s %s\n' "$$name" "$$text"; done

.PHONY: run
run: build ## build and run a broker on loopback, with development certificates made where there are none
	@$(CARILLON) serve --dev

.PHONY: demo
demo: build ## this host's own live events through a broker to several subscribers, for DEMO_SECONDS (20) or until Ctrl-C
	@CARILLON='$(abspath $(CARILLON))' bash crates/broker/demo/demo.sh

.PHONY: test
test: browser ## all the tests, and all the set-up that they need
	cargo test --workspace

.PHONY: lint
lint: ## formatting, clippy and rustdoc without a warning, and what the dependencies may be
	cargo fmt --all --check
	@for crate in $(FUZZED); do cargo fmt --manifest-path crates/$$crate/fuzz/Cargo.toml --check || exit 1; done
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	@cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@$(CARGO_DENY_VERSION)
	cargo deny --log-level error check --hide-inclusion-graph bans licenses sources
	@if timeout 120 cargo deny --log-level off fetch db; then \
	  echo 'cargo deny check advisories' && cargo deny --offline check --hide-inclusion-graph advisories; \
	else \
	  echo 'NOT CHECKED: known flaws in dependencies, because the advisory database could not be fetched'; \
	fi

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS (10)
	@command -v c++ >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y --no-install-recommends g++ >/dev/null; } \
	  || { echo 'libFuzzer is C++, and there is no compiler for it. As root: apt-get install g++'; exit 2; }
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz@$(CARGO_FUZZ_VERSION)
	@TARGET_DIR='$(abspath $(TARGET_DIR))/fuzz' SECONDS_EACH='$(FUZZ_SECONDS)' bash crates/fuzz.sh $(FUZZED)

.PHONY: autobahn
autobahn: ## Autobahn|Testsuite against the listener's WebSocket code over TLS (needs a Python 2.7, named by PYTHON27)
	@PYTHON27='$(PYTHON27)' bash crates/listener/autobahn/run.sh

.PHONY: tls-audit
tls-audit: build ## sslyze and testssl.sh against both listeners of a broker; AUDITS=sslyze for that one alone, in seconds
	@CARILLON='$(CARILLON)' AUDITS='$(AUDITS)' bash crates/broker/tls-audit/run.sh

.PHONY: attack
attack: ## attacks on a broker, and what they cost others; minutes, after a release build (ATTACKS names some of them)
	@cargo build --workspace --bin carillon --bin attack --release
	@$(TARGET_DIR)/release/attack --carillon $(TARGET_DIR)/release/carillon $(ATTACKS)

.PHONY: attack-check
attack-check: build ## the same attacks in short, and whether each is answered as it must be, whatever the machine's speed
	@cargo build --workspace --bin attack --profile $(PROFILE)
	@$(dir $(CARILLON))attack --carillon $(CARILLON) --check structure --seconds 1 --size small $(ATTACKS)

.PHONY: bench-streams
bench-streams: ## what streams cost against their goals, with 10,000,000 messages; minutes, after a release build (MEASURES names some)
	@cargo build --workspace --bin carillon --bin streams --release
	@$(TARGET_DIR)/release/streams --carillon $(TARGET_DIR)/release/carillon $(MEASURES)

# The documentation is for whole runs: with WORKS or SERVERS, it stays as it is.
.PHONY: bench-compare
bench-compare: ## Carillon beside nats-server, Mosquitto and nginx with Nchan; half an hour (ROUNDS, WORKS and SERVERS make it shorter)
	@cargo build --workspace --bin carillon --bin compare --bin floor --release
	@$(TARGET_DIR)/release/compare --carillon $(TARGET_DIR)/release/carillon --json $(TARGET_DIR)/compare.json --rounds $(or $(ROUNDS),3) \
	  $(if $(WORKS),--works '$(WORKS)') $(if $(SERVERS),--servers '$(SERVERS)') $(if $(WORKS)$(SERVERS),,--docs docs)

# The documentation is for whole runs: with CURVES or QUICK, it stays as it is.
.PHONY: bench-curves
bench-curves: ## how cost grows: subscribers, topics, patterns, payloads, shards, connections; ten minutes (CURVES and QUICK=1 make it shorter)
	@cargo build --workspace --bin carillon --bin curves --release
	@$(TARGET_DIR)/release/curves --carillon $(TARGET_DIR)/release/carillon --json $(TARGET_DIR)/curves.json \
	  $(if $(CURVES),--curves '$(CURVES)') $(if $(QUICK),--quick) $(if $(CURVES)$(QUICK),,--docs docs)

.PHONY: bench-micro
bench-micro: ## how long decode, match, fan-out, encode, outbox and store take; BASELINE=main saves that, or compares with it
	@export CRITERION_HOME='$(abspath $(TARGET_DIR))/criterion' && baseline='$(BASELINE)' && \
	if [ -z "$$baseline" ]; then how=; \
	elif [ -z '$(RENEW)' ] && [ -n "$$(find "$$CRITERION_HOME" -type d -name "$$baseline" 2>/dev/null)" ]; then \
	  echo "comparing with the baseline $$baseline; RENEW=1 saves it anew"; how="--baseline-lenient $$baseline"; \
	else \
	  echo "saving the baseline $$baseline"; how="--save-baseline $$baseline"; \
	fi; \
	cargo bench --package carillon-benches --bench micro -- $$how $(MICRO)

.PHONY: bench-instructions
bench-instructions: ## how many instructions the hottest steps take, whatever the machine's speed; above its limit one fails
	@command -v valgrind >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y --no-install-recommends valgrind libc6-dbg >/dev/null; } \
	  || { echo 'valgrind counts the instructions, and is missing. As root: apt-get install valgrind libc6-dbg'; exit 2; }
	@gungraun-runner --version 2>/dev/null | grep -qF ' $(GUNGRAUN_VERSION)' || cargo install --quiet --locked gungraun-runner@$(GUNGRAUN_VERSION)
	@cargo bench --package carillon-benches --bench instructions

# Where a file system cannot be mounted or strace is missing, the run says so; with CI=true it fails.
TORTURE = $(dir $(CARILLON))torture --broker $(CARILLON)

.PHONY: torture
torture: build torture-tools ## streams through 100 kills, 100 power cuts, failing and full disks, and minutes of chaos
	@cargo build --workspace --bin torture --profile $(PROFILE)
	$(TORTURE) kill --rounds 100
	$(TORTURE) power --rounds 50
	$(TORTURE) power --rounds 50 --file-system xfs
	$(TORTURE) faults
	$(TORTURE) full
	$(TORTURE) chaos --minutes 3 --clients 50

.PHONY: torture-check
torture-check: build torture-tools ## the same in short
	@cargo build --workspace --bin torture --profile $(PROFILE)
	$(TORTURE) kill --rounds 10
	$(TORTURE) power --rounds 10
	$(TORTURE) faults
	$(TORTURE) full
	$(TORTURE) chaos --minutes 0.5 --clients 50

# Quiet where all is there.
.PHONY: torture-tools
torture-tools:
	@missing=; for command in $(TORTURE_COMMANDS); do command -v "$$command" >/dev/null || missing="$$missing $$command"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $(TORTURE_PACKAGES), for:$$missing"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends $(TORTURE_PACKAGES) >/dev/null; \
	fi

# Over the whole workspace, so that the dependencies have the features, and so the build, that `make test` gives them.
.PHONY: build
build: ## the carillon command, in PROFILE (dev, or release)
	@cargo build --workspace --bin carillon --profile $(PROFILE)

# Quiet where all is there. Without root, and without the browser, its test says that it was skipped.
.PHONY: browser
browser:
	@missing=; for command in $(BROWSER_COMMANDS); do command -v "$$command" >/dev/null || missing="$$missing $$command"; done; \
	if [ -z "$$missing" ]; then \
	  :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $(BROWSER_PACKAGES), for:$$missing"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends $(BROWSER_PACKAGES) >/dev/null; \
	else \
	  echo "missing for the browser test:$$missing. As root: apt-get install $(BROWSER_PACKAGES)"; \
	fi
