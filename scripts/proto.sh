#!/usr/bin/env bash
# Lints the protos and compares them with the wire of the last release, proto/baseline.binpb.
# `proto.sh baseline` makes what is there now the baseline: do that with a release, and never to get
# rid of a complaint. The rules, with their reasons, are in proto/buf.yaml.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# Installs buf as scripts/buf/package-lock.json pins it, digests included, and says where it is.
stage_buf() {
	local digest folder work
	digest=$(sha256sum <scripts/buf/package-lock.json | cut -c1-16)
	folder="$AUTOREP_CACHE/buf-$digest"
	if [ ! -d "$folder" ]; then
		command -v npm >/dev/null || return 1
		mkdir -p "$AUTOREP_CACHE"
		work=$(mktemp -d "$AUTOREP_CACHE/.staging-XXXXXX")
		cp scripts/buf/package.json scripts/buf/package-lock.json "$work"
		# No package may run anything: the program lies whole in the package of the platform.
		(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --cache "$work/npm" >&2) || {
			rm -rf "$work"
			return 1
		}
		rm -rf "$work/npm"
		# Another checkout may have been faster.
		mv -T "$work" "$folder" 2>/dev/null || rm -rf "$work"
	fi
	echo "$folder/node_modules/.bin/buf"
}

if ! buf=$(stage_buf); then
	leave_out "protos" "buf could not be had: install Node.js with npm, check the network (npm's message is above)"
	exit 0
fi
export BUF_CACHE_DIR="$AUTOREP_CACHE/buf-cache"

cd proto
case "${1:-check}" in
check)
	"$buf" lint
	"$buf" breaking --against baseline.binpb || {
		code=$?
		# 100 stands for complaints, anything else for a failure of buf itself.
		[ "$code" -ne 100 ] || echo "proto.sh: clients of the last release would not understand this: add fields, messages and calls, and leave what is there" >&2
		exit "$code"
	}
	;;
baseline)
	"$buf" build --exclude-source-info --output baseline.binpb
	;;
*) unmet "expected \`check\` or \`baseline\`, found \`$1\`" ;;
esac
