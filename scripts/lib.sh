# shellcheck shell=bash
# What the scripts have in common. Source it first: it goes to the checkout's root, sets where
# builds and downloads are kept, and defines the steps. Safe without HOME, terminal or input.

set -euo pipefail
exec </dev/null
cd "${BASH_SOURCE[0]%/*}/.."
export HOME="${HOME:-$(unset HOME; echo ~)}"

# Kept outside the checkout, so that a second clone neither downloads nor builds anew.
AUTOREP_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/autorep"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$AUTOREP_CACHE/target}"
# The Makefile passes on what make was called with; cargo and its children have their own jobs.
unset MAKEFLAGS MFLAGS MAKELEVEL

# The reason ends the script; it says which command mends it.
unmet() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# One line per step.
step() {
	printf '== %s\n' "$*"
}

# Says where a person sees it that a whole check cannot run here, and why. The gate counts it as
# skipped.
leave_out() {
	local line="LEFT OUT the check \"$1\": $2"
	printf '%s\n' "$line" >&2
	[ -z "${AUTOREP_LEFT_OUT:-}" ] || printf '%s\n' "$line" >>"$AUTOREP_LEFT_OUT"
}

# What must be on the machine before anything else can be built.
check_prerequisites() {
	if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
		PATH="$HOME/.cargo/bin:$PATH"
	fi
	command -v cargo >/dev/null ||
		unmet "cargo is not on this machine: install Rust with rustup (https://rustup.rs)"
	local compiler
	for compiler in cc "${CXX:-c++}"; do
		command -v "$compiler" >/dev/null ||
			unmet "no C++ compiler is on this machine ($compiler): \`apt-get install g++\` (as root)"
	done
	command -v python3 >/dev/null ||
		unmet "python3 is not on this machine: \`apt-get install python3 python3-pip\` (as root)"
	local wanted found
	wanted=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
	# Most versions of rustup install the toolchain that rust-toolchain.toml names by themselves.
	if ! found=$(cargo --version 2>/dev/null) && command -v rustup >/dev/null; then
		step "Rust $wanted"
		rustup toolchain install "$wanted" --profile minimal --component clippy,rustfmt --no-self-update
	fi
	found=$(cargo --version) || unmet "cargo does not run: its message is above"
	case "$found" in
	"cargo $wanted"*) ;;
	*) unmet "Rust $wanted is needed, found $found: install rustup (https://rustup.rs), which reads rust-toolchain.toml" ;;
	esac
}

# Stages libtorch unless it is there, and builds against the staged folder itself rather than the
# link in the checkout: its path is the same for every clone, so that a second one builds nothing.
stage_libtorch() {
	python3 scripts/stage-libtorch.py
	LIBTORCH="${LIBTORCH:-$(readlink -f .libtorch)}"
	export LIBTORCH
}

# Gets SeaweedFS for the tests that keep sweeps in a bucket; without it they say that they are left
# out.
stage_seaweedfs() {
	AUTOREP_WEED=$(python3 scripts/stage-seaweedfs.py) || AUTOREP_WEED=
	export AUTOREP_WEED
}

# Holds the build folder until the script ends, and makes sure that what is built is this checkout.
# Cargo names a workspace's crates by their place in it and judges them by file times: in a build
# folder that two checkouts share, it takes the crates of one, if they are newer, for the other's.
# So whenever another checkout has built here since, this one's files are made the newest. Crates
# of others, which take nearly all the time, stay built.
#
# A script that another one has started builds under that one's claim: it would wait for it forever.
claim_build_folder() {
	local owner="$CARGO_TARGET_DIR/autorep-checkout" identity manifest
	[ "${AUTOREP_BUILD_CLAIM:-}" != "$PWD $CARGO_TARGET_DIR" ] || return 0
	mkdir -p "$CARGO_TARGET_DIR"
	exec 9>"$CARGO_TARGET_DIR/autorep-lock"
	if command -v flock >/dev/null && ! flock -n 9; then
		step "waiting for another build in $CARGO_TARGET_DIR"
		flock 9
	fi
	# The folder's own number and birth tell a fresh clone from one that was here before.
	identity="$PWD $(stat -c '%d:%i:%W' . scripts | tr '\n' ' ')"
	if [ "$(cat "$owner" 2>/dev/null)" != "$identity" ]; then
		for manifest in */Cargo.toml; do
			find "${manifest%/*}" -type f -exec touch -c {} +
		done
		touch -c Cargo.toml Cargo.lock clippy.toml
		printf '%s\n' "$identity" >"$owner"
	fi
	export AUTOREP_BUILD_CLAIM="$PWD $CARGO_TARGET_DIR"
}
