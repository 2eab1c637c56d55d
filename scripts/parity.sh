#!/usr/bin/env bash
# The checks against independent implementations that need downloads. `make test-parity` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/parity-training.sh
