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

end_all_in() {
	local network=$1 signal=$2 numbers
	mapfile -t numbers < <(ip netns pids "$network" 2>/dev/null)
	kill "-$signal" ${numbers[@]+"${numbers[@]}"} 2>/dev/null || true
}

# The pods' networks, by what containerd wrote down of each.
pod_networks() {
	find "/run/$name" -name config.json -exec grep -ho 'netns/cni-[0-9a-f-]*' {} + 2>/dev/null |
		sed 's|netns/||' | sort -u
}

unmount_all() {
	local mount
	awk '{print $2}' /proc/mounts | grep -E "^($folder|/run/$name)(/|\$)" | sort -r |
		while read -r mount; do umount -l "$mount"; done || true
}

end_all_in "$name" TERM
for _ in $(seq 50); do
	[ -n "$(daemons)" ] || break
	sleep 0.1
done
end_all_in "$name" KILL
for network in $(pod_networks); do
	end_all_in "$network" KILL
	ip netns del "$network" 2>/dev/null || true
done
unmount_all
[ ! -e "$folder/kernel-settings" ] || sysctl -qp "$folder/kernel-settings" || true
# The kernel takes the last mounts away a moment after the processes that held them.
for _ in $(seq 50); do
	! rm -rf "/run/$name" "$folder" 2>/dev/null || break
	unmount_all
	sleep 0.1
done
# Empty ones alone can be removed: another kubelet's stay.
find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
[ -z "$(daemons)" ] || unmet "processes are left in the network $name: $(daemons | tr '\n' ' ')"
[ ! -e "$folder" ] || unmet "$folder could not be removed: $(find "$folder" | head -n 3 | tr '\n' ' ')"
ip netns del "$name" 2>/dev/null || true
step "the cluster is down"
