#!/usr/bin/env bash
# Holds the trainer against independent implementations: its nets against torchvision's,
# EfficientNet-Lite0 with published weights against labelled photographs, and twenty steps of four
# searches against the same in plain PyTorch. `make test-parity` calls it. Downloads about 600 MB
# into the cache folder the first time; a second call downloads nothing.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

check_prerequisites
stage_libtorch
claim_build_folder

folder="$AUTOREP_CACHE/parity"
mkdir -p "$folder"
step "reference"
python3 scripts/parity/stage.py "$folder/reference"
reference_python() {
	PYTHONPATH="$folder/reference/site" python3 -W ignore "$@"
}
digest=$(cat scripts/parity/stage.py scripts/parity/fixtures.py | sha256sum | cut -c1-16)
fixtures="$folder/fixtures-$digest"
if [ ! -e "$fixtures/versions" ]; then
	step "fixtures"
	rm -rf "$folder"/fixtures-*
	reference_python scripts/parity/fixtures.py "$fixtures"
fi

# As the tests are built, so that nothing is compiled twice.
export LD_LIBRARY_PATH="$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
cargo build --locked -p autorep-trainer --example parity --example replace_trace
step "forward passes"
"$CARGO_TARGET_DIR/debug/examples/parity" "$fixtures" "$folder/reference"
step "twenty steps of four searches"
trace=$(mktemp -d)
trap 'rm -rf "$trace"' EXIT
"$CARGO_TARGET_DIR/debug/examples/replace_trace" "$trace"
# The reference brings its own libtorch.
LD_LIBRARY_PATH='' reference_python scripts/parity/training.py "$trace"
