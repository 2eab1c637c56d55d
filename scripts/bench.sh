#!/usr/bin/env bash
# Measures what the project promises about speed, on a release build. usage: bench.sh [PREFIX]

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

check_prerequisites
stage_libtorch
claim_build_folder
step "building in $CARGO_TARGET_DIR"
cargo build --locked --release -p autorep-cli -p autorep-trainer -p autorep-store -p autorep-bench \
	--bins --example loader --example ranks --example upload
python3 scripts/bench.py "$CARGO_TARGET_DIR/release/autorep" "${1:-}"
