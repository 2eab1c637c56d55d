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

# Numbers of processes are used again: only those are ended that are in the cluster's network.
is_ours() {
	[ "/proc/$1/ns/net" -ef "/run/netns/$name" ]
}

end_daemons() {
	local signal=$1 pid
	while read -r pid; do
		! is_ours "$pid" || kill "-$signal" "$pid" 2>/dev/null || true
	done < <(tac "$folder/pids")
}

daemons_are_gone() {
	local pid
	while read -r pid; do
		! is_ours "$pid" || return 1
	done <"$folder/pids"
}

# Shims outlive containerd. Those of this cluster name its socket; their children are the pods.
end_pods() {
	local process children
	for process in /proc/[0-9]*; do
		tr '\0' ' ' 2>/dev/null <"$process/cmdline" |
			grep -q "containerd-shim-runc-v2 .*-address /run/$name/" || continue
		mapfile -t children < <(cat "$process"/task/*/children 2>/dev/null | tr ' ' '\n')
		kill -KILL ${children[@]+"${children[@]}"} "${process#/proc/}" 2>/dev/null || true
	done
}

# The pods' network namespaces, by what containerd wrote down of each.
pod_networks() {
	find "/run/$name" -name config.json -exec grep -ho 'netns/cni-[0-9a-f-]*' {} + 2>/dev/null |
		sed 's|netns/||' | sort -u
}

unmount_all() {
	local mount
	awk '{print $2}' /proc/mounts | grep -E "^($folder|/run/$name)(/|\$)" | sort -r |
		while read -r mount; do umount -l "$mount"; done
}

end_daemons TERM
for _ in $(seq 50); do
	! daemons_are_gone || break
	sleep 0.1
done
end_daemons KILL
networks=$(pod_networks)
end_pods
for network in $networks; do
	ip netns del "$network" 2>/dev/null || true
done
unmount_all
ip netns del "$name" 2>/dev/null || true
[ ! -e "$folder/kernel-settings" ] || sysctl -qp "$folder/kernel-settings" || true
# The kernel takes the last mounts away a moment after the processes that held them.
for _ in $(seq 50); do
	! rm -rf "/run/$name" "$folder" 2>/dev/null || break
	unmount_all
	sleep 0.1
done
# Empty ones alone can be removed: another kubelet's stay.
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
[ ! -e "$folder" ] || unmet "$folder could not be removed: $(find "$folder" | head -n 3 | tr '\n' ' ')"
step "the cluster is down"
