#!/usr/bin/env bash
# Tries metrics, alerts and the dashboard with a real Prometheus: see scripts/test-monitoring.py.
# AUTOREP_PROGRAMS names a folder with built programs; without it they are built. scripts/test.sh
# calls it; the last line is read by scripts/count-tests.py.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# Nothing was tried: says so loudly, and as one test that was left out.
left_out() {
	printf 'metrics, alerts and the dashboard were not tried: %s\n' "$*" |
		tee -a "${AUTOREP_LEFT_OUT:-/dev/null}" >&2
	printf 'test result: ok. 1 passed; 0 failed; 0 ignored;\n'
	exit 0
}

command -v python3 >/dev/null ||
	unmet "python3 is not on this machine: \`apt-get install python3\` (as root)"
prometheus=$(python3 scripts/stage-prometheus.py) ||
	left_out "Prometheus could not be had (see above): install it, or set AUTOREP_PROMETHEUS to a folder with it"
if [ -z "${AUTOREP_PROGRAMS:-}" ]; then
	check_prerequisites
	claim_build_folder
	cargo build --locked -p autorep-cli -p autorep-worker --bins
	AUTOREP_PROGRAMS="$CARGO_TARGET_DIR/debug"
fi
stage_seaweedfs
[ -n "$AUTOREP_WEED" ] ||
	leave_out "AutorepSlowWrites fires and resolves" "SeaweedFS could not be had (see above): set AUTOREP_WEED to a program of your own"
python3 -B scripts/test-monitoring.py "$AUTOREP_PROGRAMS" "$prometheus" "$AUTOREP_WEED"
