# shellcheck shell=bash
# What the scripts of the one-node cluster have in common. Source it first.

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "${BASH_SOURCE[0]%/*}/../lib.sh"

KUBERNETES_VERSION=1.20.2
# Another mirror of Debian, where the usual one cannot be reached.
DEBIAN_MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
# shellcheck disable=SC2034 # scripts that source this one read it
KUBERNETES_BIN="${AUTOREP_KUBERNETES:-$AUTOREP_CACHE/kubernetes-$KUBERNETES_VERSION}"

# Installs the Debian packages that are missing, or says which ones to ask for.
need_packages() {
	local package missing=()
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] ||
			missing+=("$package")
	done
	[ "${#missing[@]}" -gt 0 ] || return 0
	command -v apt-get >/dev/null ||
		unmet "this needs Debian or Ubuntu: no apt-get is on this machine to install ${missing[*]} with"
	[ "$(id -u)" = 0 ] ||
		unmet "packages are missing: \`apt-get install --no-install-recommends ${missing[*]}\` (as root)"
	step "installing ${missing[*]}"
	local log
	log=$(mktemp)
	if ! install_packages "${missing[@]}" >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		unmet "apt-get could not install ${missing[*]}: its message is above"
	fi
	rm -f "$log"
}

# In a shell of its own: what it sets and leaves behind ends with it.
install_packages() (
	export DEBIAN_FRONTEND=noninteractive
	# The daemons of these packages are started by the scripts, with settings of their own.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		install -m 755 /dev/stdin /usr/sbin/policy-rc.d <<<$'#!/bin/sh\nexit 101'
	fi
	# Lists of packages are fetched only if what is there does not serve.
	apt-get install -y -qq --no-install-recommends "$@" || {
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "$@"
	}
)
