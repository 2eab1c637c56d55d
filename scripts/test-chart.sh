#!/usr/bin/env bash
# Holds the Helm chart to what scripts/chart/test_*.py say of it: with real helm, without a cluster.
# Arguments are parts of tests' names; UPDATE=1 keeps the default render anew. scripts/test.sh calls
# it; the last line is read by scripts/count-tests.py.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# Nothing was tried: says so loudly, and as one test that was left out.
left_out() {
	printf 'the chart was not tested: %s\n' "$*" | tee -a "${AUTOREP_LEFT_OUT:-/dev/null}" >&2
	printf 'test result: ok. 1 passed; 0 failed; 0 ignored;\n'
	exit 0
}

# The validator, in a folder of its own that its pinned packages name: another pin is another folder.
stage_validator() {
	local wanted=scripts/chart/requirements.txt
	validator="$AUTOREP_CACHE/chart-$(sha256sum "$wanted" | cut -c1-12)"
	exec 8>"$AUTOREP_CACHE/chart.lock"
	flock 8
	[ ! -e "$validator/staged" ] || return 0
	step "validator of the chart (24 MB, once)" >&2
	rm -rf "$validator"
	python3 -m venv "$validator" || return 1
	"$validator/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
		--only-binary=:all: --require-hashes -r "$wanted" >&2 || return 1
	touch "$validator/staged"
}

command -v python3 >/dev/null ||
	unmet "python3 is not on this machine: \`apt-get install python3 python3-pip python3-venv\` (as root)"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	left_out "it needs Python 3.11 or later, found $(python3 --version)"
mkdir -p "$AUTOREP_CACHE"
AUTOREP_HELM=$(python3 scripts/stage-helm.py) ||
	left_out "helm could not be had (see above): check the network, or set AUTOREP_HELM to a folder with helm"
export AUTOREP_HELM
stage_validator ||
	left_out "kubernetes-validate could not be had (see above): check the network and \`python3 -m venv\`"
# What was built last; scripts/test.sh builds before it comes here.
AUTOREP_PROGRAM="$CARGO_TARGET_DIR/debug/autorep"
[ -x "$AUTOREP_PROGRAM" ] || AUTOREP_PROGRAM=
export AUTOREP_PROGRAM
"$validator/bin/python" -B scripts/chart "$@"
