#!/usr/bin/env bash
# The independent check of training: twenty steps of a search by the trainer and in plain PyTorch.
# Needs a Python with PyTorch: $PARITY_PYTHON, or a virtual environment that is made in the cache.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

check_prerequisites
stage_libtorch
claim_build_folder

python=${PARITY_PYTHON:-}
if [ -z "$python" ]; then
	home=$AUTOREP_CACHE/parity/torch-2.11.0
	python=$home/bin/python
	if ! "$python" -c 'import torch' >/dev/null 2>&1; then
		step "PyTorch 2.11.0 into $home (about 3 GB)"
		python3 -m venv "$home"
		"$home/bin/pip" install --quiet --no-cache-dir \
			--find-links "$AUTOREP_CACHE/wheels" torch==2.11.0 numpy
	fi
fi

step "twenty steps of a search"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo run --quiet --locked -p autorep-trainer --example replace_trace -- "$folder"
"$python" scripts/parity_training.py "$folder"
