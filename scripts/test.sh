#!/usr/bin/env bash
# The gate: formatting, lints, builds, all tests, documentation. `make test` and .ci/run call it.
# Every check runs even if an earlier one failed; the last line tells how many tests passed.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

failed_steps=()

# Runs a check, tells how long it took and remembers if it failed.
check() {
	local name=$1 began=$SECONDS verdict=ok
	shift
	step "$name"
	"$@" || {
		verdict=FAILED
		failed_steps+=("$name")
	}
	printf '== %s: %s, %d s\n' "$name" "$verdict" "$((SECONDS - began))"
}

# The components are named in rust-toolchain.toml, but a toolchain that was installed before
# without them may lack them.
check_components() {
	local component
	for component in clippy fmt; do
		cargo "$component" --version >/dev/null 2>&1 ||
			rustup component add --toolchain "$(rustc --version | cut -d' ' -f2)" clippy rustfmt ||
			unmet "cargo $component is missing: \`rustup component add clippy rustfmt\` in this folder"
	done
}

# Logs are for people and for machines, and neither reads what Rust's Debug writes.
check_log_fields() {
	! grep -rnE --include='*.rs' --exclude-dir=target '[a-z_] = \?[a-z&(]|[(,] ?\?[a-z_.]+[,)]' .
}

# Unit and integration tests of every crate.
run_tests() {
	if cargo nextest --version >/dev/null 2>&1; then
		cargo nextest run --locked --workspace --no-fail-fast --color never --status-level fail \
			--final-status-level fail --success-output never 2>&1 | tee "$logs/tests"
	else
		cargo test --locked --workspace --lib --bins --tests --no-fail-fast --color never 2>&1 |
			tee "$logs/tests"
	fi
}

# Bugs on purpose, each of which the simulation must find: see docs/simulation.md.
find_planted_bugs() {
	MUTANTS=1 CARGO_PROFILE_DEV_OPT_LEVEL=1 cargo run --locked --quiet -p autorep-simulation \
		--features planted
}

run_doc_tests() {
	cargo test --locked --workspace --doc --no-fail-fast --color never 2>&1 | tee "$logs/doc-tests"
}

# The Python client, against the programs that the step "build" has built.
run_python_tests() {
	bash scripts/python.sh 2>&1 | tee "$logs/python"
}

# The Helm chart, rendered by real helm: see charts/autorep.
run_chart_tests() {
	bash scripts/test-chart.sh 2>&1 | tee "$logs/chart"
}

# Metrics, alerts and the dashboard with a real Prometheus: see scripts/test-monitoring.py.
run_monitoring_tests() {
	AUTOREP_PROGRAMS="$CARGO_TARGET_DIR/debug" bash scripts/test-monitoring.sh 2>&1 | tee "$logs/monitoring"
}

began=$SECONDS
check_prerequisites
check_components
stage_libtorch
claim_build_folder
logs=$(mktemp -d)
# Tests that this machine cannot run write into it what they left out and why.
export AUTOREP_LEFT_OUT="$logs/left-out"
touch "$AUTOREP_LEFT_OUT"
stage_seaweedfs
trap 'rm -rf "$logs"' EXIT

check "protos" bash scripts/proto.sh
check "formatting" cargo fmt --all --check
check "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
check "log fields" check_log_fields
check "build" cargo build --locked --workspace --bins
check "tests" run_tests
check "Python client" run_python_tests
check "planted bugs" find_planted_bugs
check "doc tests" run_doc_tests
RUSTDOCFLAGS="-D warnings" check "documentation" cargo doc --locked --workspace --no-deps
check "chart" run_chart_tests
check "monitoring" run_monitoring_tests

counts=$(python3 scripts/count-tests.py --left-out "$AUTOREP_LEFT_OUT" "$logs/tests" "$logs/doc-tests" "$logs/chart" "$logs/python" "$logs/monitoring") || failed_steps+=("counting")
sed 's/^/== /' "$AUTOREP_LEFT_OUT"
printf '== %d s in all\n' "$((SECONDS - began))"
if [ "${#failed_steps[@]}" -gt 0 ]; then
	printf 'failed steps:'
	printf ' %s;' "${failed_steps[@]}"
	printf '\n%s\n' "$counts"
	exit 1
fi
printf '%s\n' "$counts"
