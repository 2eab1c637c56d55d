#!/usr/bin/env bash
# Seeded worlds over the real coordinator: `make simulate`. docs/simulation.md says what they are.
#   N=2000         how many seeds
#   FROM=1         the first of them
#   SIM_SEED=7     one seed again, with its trace
#   MUTANTS=1      plants each bug of core/src/planted.rs and looks for the seed that finds it
#   BUG=LostFence  with SIM_SEED: the same seed with that bug; with MUTANTS: that bug alone
#   PROFILE=dev    how to build: `release` takes minutes longer and pays off from 50,000 seeds on

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

check_prerequisites
claim_build_folder
features=()
if [ "${MUTANTS:-}" = 1 ] || [ -n "${BUG:-}" ]; then
	features=(--features planted)
fi
# Our own crates with a little optimization: four times as many seeds for a minute of building.
export CARGO_PROFILE_DEV_OPT_LEVEL=1
step "building the simulation"
cargo run --locked --quiet --profile "${PROFILE:-dev}" -p autorep-simulation "${features[@]}"
