#!/usr/bin/env bash
# From a clean checkout to a real front: libtorch, build, data set, quickstart sweep. Every step
# is skipped when its result is there, so that a second call only prints the front.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

store="${AUTOREP_STORE:-./autorep-store}"
manifest=manifests/quickstart.yaml

check_prerequisites
step "libtorch"
stage_libtorch
claim_build_folder
step "building autorep and its trainer in $CARGO_TARGET_DIR (the first time takes minutes)"
cargo build --locked --release -p autorep-cli -p autorep-trainer --bins
autorep="$CARGO_TARGET_DIR/release/autorep"
step "data set"
"$autorep" data fetch fashion-mnist
step "autorep run $manifest --store $store"
"$autorep" run "$manifest" --store "$store"
