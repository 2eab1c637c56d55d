#!/usr/bin/env bash
# Checks the Python client: its generated code against the protos, style, types, and its tests, which
# run the wheel against real coordinators and workers. `python.sh stubs` generates the code anew.
# AUTOREP_PROGRAMS names a folder with built programs; without it they are built.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

client=clients/python

# Makes the environment with the tools, unless it is there, and says where.
stage_tools() {
	local digest folder work
	digest=$({ python3 --version && cat "$client/requirements-dev.txt"; } | sha256sum | cut -c1-16)
	folder="$AUTOREP_CACHE/python-$digest"
	if [ ! -e "$folder/staged" ]; then
		mkdir -p "$AUTOREP_CACHE"
		# Not moved into its place, as an environment knows where it lies: another checkout waits.
		exec 8>"$AUTOREP_CACHE/python.lock"
		! command -v flock >/dev/null || flock 8
		[ ! -e "$folder/staged" ] || { echo "$folder" && return; }
		rm -rf "$folder"
		python3 -m venv "$folder" >&2 || return 1
		PIP_REQUIRE_VIRTUALENV=false "$folder/bin/python" -m pip install --quiet --no-input \
			--disable-pip-version-check --progress-bar off --timeout 60 --only-binary=:all: \
			--requirement "$client/requirements-dev.txt" >&2 || return 1
		touch "$folder/staged"
		exec 8>&-
	fi
	echo "$folder"
}

# Generates the code into a folder. Workers and trainers are no business of this client.
generate() {
	PATH="$tools/bin:$PATH" "$tools/bin/python" -m grpc_tools.protoc --proto_path proto/proto \
		--python_out "$1" --mypy_out "quiet:$1" autorep/v1/common.proto autorep/v1/lab.proto
	PATH="$tools/bin:$PATH" "$tools/bin/python" -m grpc_tools.protoc --proto_path proto/proto \
		--grpc_python_out "$1" --mypy_grpc_out "quiet:$1" autorep/v1/lab.proto
}

check_stubs() {
	mkdir "$work/stubs"
	generate "$work/stubs"
	diff -r -x __init__.py -x __pycache__ "$work/stubs/autorep/v1" "$client/src/autorep/v1" || {
		echo "python.sh: the protos have changed: \`bash scripts/python.sh stubs\`, and mend clients/python/src/autorep/model.py" >&2
		return 1
	}
}

build_programs() {
	[ -z "${AUTOREP_PROGRAMS:-}" ] || return 0
	check_prerequisites
	stage_libtorch
	claim_build_folder
	cargo build --locked --workspace --bins
	export AUTOREP_PROGRAMS="$CARGO_TARGET_DIR/debug"
}

run_tests() {
	"$tools/bin/python" -m pip wheel --quiet --no-input --disable-pip-version-check --no-deps \
		--no-build-isolation --wheel-dir "$work" "$client"
	AUTOREP_WHEEL_SITE="$work/site"
	"$tools/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-deps \
		--target "$AUTOREP_WHEEL_SITE" "$work"/*.whl
	export AUTOREP_WHEEL_SITE
	(cd "$client" && PYTHONPATH="$AUTOREP_WHEEL_SITE" PYTHONDONTWRITEBYTECODE=1 \
		timeout --kill-after=10 900 "$tools/bin/python" -m pytest --color no -p no:cacheprovider "$@")
}

if ! tools=$(stage_tools); then
	leave_out "Python client" "its tools could not be had: Python 3.10 or later with venv and pip is needed, and the network (the message is above)"
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "${1:-}" = stubs ]; then
	generate "$client/src"
	exit
fi
check_stubs
"$tools/bin/ruff" format --check --no-cache "$client"
"$tools/bin/ruff" check --no-cache "$client"
(cd "$client" && "$tools/bin/mypy" --cache-dir "$work/mypy")
build_programs
run_tests "$@"
