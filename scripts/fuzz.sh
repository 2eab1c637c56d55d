#!/usr/bin/env bash
# Runs the fuzz targets under libFuzzer. usage: fuzz.sh [TARGET] [SECONDS]
#
# Without a TARGET every one runs, one after the other, SECONDS each. What is found on the way is
# kept in fuzz/work; an input that breaks a promise lies in fuzz/artifacts/TARGET, and
# `fuzz.sh TARGET FILE` runs it alone. It works on the stable toolchain: coverage needs no more than
# `-C passes=sancov-module`, and the sanitizers, which need nightly, are left out.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

seconds=${2:-600}
targets=(fuzz/fuzz_targets/*.rs)
targets=("${targets[@]##*/}")
targets=("${targets[@]%.rs}")
if [ -n "${1:-}" ]; then
	[ -f "fuzz/fuzz_targets/$1.rs" ] || unmet "no target is called $1; there are: ${targets[*]}"
	targets=("$1")
fi

check_prerequisites
stage_libtorch
# Everything is built once more, with libFuzzer's flags.
CARGO_TARGET_DIR=$CARGO_TARGET_DIR/fuzz
claim_build_folder
if ! cargo fuzz --version >/dev/null 2>&1; then
	step "cargo-fuzz"
	cargo install --locked cargo-fuzz
fi
# The programs use the versions of the workspace.
cp Cargo.lock fuzz/Cargo.lock
export LD_LIBRARY_PATH="$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
step "building in $CARGO_TARGET_DIR"
for target in "${targets[@]}"; do
	cargo fuzz build --sanitizer none "$target"
done

if [ -f "$seconds" ]; then
	cargo fuzz run --sanitizer none "${targets[0]}" "$seconds"
	exit
fi
failed=()
for target in "${targets[@]}"; do
	step "$target, $seconds s"
	mkdir -p "fuzz/work/$target" "fuzz/work/seeds/$target" "fuzz/corpus/$target"
	# The last lines tell executions and coverage. The memory of one input is the target's to check.
	AUTOREP_FUZZ_SEEDS=$PWD/fuzz/work/seeds/$target \
		cargo fuzz run --sanitizer none "$target" \
		"fuzz/work/$target" "fuzz/corpus/$target" "fuzz/work/seeds/$target" -- \
		-max_total_time="$seconds" -max_len=32768 -timeout=60 -rss_limit_mb=4096 \
		-print_final_stats=1 >"fuzz/work/$target.log" 2>&1 || failed+=("$target")
	grep -E ' cov: |^stat::number_of|^stat::average' "fuzz/work/$target.log" | tail -n 3
done
if [ "${#failed[@]}" -gt 0 ]; then
	printf 'broken promises: %s (see fuzz/work/TARGET.log and fuzz/artifacts)\n' "${failed[*]}"
	exit 1
fi
