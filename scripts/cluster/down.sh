#!/usr/bin/env bash
# Ends the cluster that up.sh DIR brought up: its daemons, its pods, their mounts and namespaces, and
# the folder. It may be called again, and after an up.sh that failed half-way.
#
# usage: down.sh DIR

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[ "$#" = 1 ] || unmet "usage: down.sh DIR"
folder=$(realpath -m "$1")
name=$(cat "$folder/netns" 2>/dev/null) || unmet "no cluster is in $folder"

# Whatever is in the cluster's network is the cluster's: daemons, and the shims that hold the pods.
daemons() {
	ip netns pids "$name" 2>/dev/null || true
}

# Pods have networks of their own; their control groups tell them.
pods() {
	find /sys/fs/cgroup -path "*/$name/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un
}

end_all() {
	local signal=$1 numbers
	shift
	mapfile -t numbers < <("$@")
	kill "-$signal" ${numbers[@]+"${numbers[@]}"} 2>/dev/null || true
}

unmount_all() {
	local mount
	awk '{print $2}' /proc/mounts | grep -E "^($folder|/run/$name)(/|\$)" | sort -r |
		while read -r mount; do umount -l "$mount"; done || true
}

end_all TERM daemons
for _ in $(seq 50); do
	[ -n "$(daemons)" ] || break
	sleep 0.1
done
end_all KILL daemons
end_all KILL pods
unmount_all
[ ! -e "$folder/kernel-settings" ] || sysctl -qp "$folder/kernel-settings" || true
# The kernel takes the last mounts away a moment after the processes that held them.
for _ in $(seq 50); do
	! rm -rf "/run/$name" "$folder" 2>/dev/null || break
	unmount_all
	sleep 0.1
done
find /sys/fs/cgroup -depth -type d \( -path "*/$name" -o -path "*/$name/*" \) -exec rmdir {} + 2>/dev/null || true
[ -z "$(daemons)$(pods)" ] || unmet "processes are left of it: $({ daemons; pods; } | tr '\n' ' ')"
[ ! -e "$folder" ] || unmet "$folder could not be removed: $(find "$folder" | head -n 3 | tr '\n' ' ')"
ip netns del "$name" 2>/dev/null || true
step "the cluster is down"
