#!/usr/bin/env bash
# Brings up Kubernetes 1.20 with one node, in a network namespace of its own: etcd, API server,
# controllers, scheduler, containerd, kubelet, kube-proxy and names of services.
#
# usage: up.sh DIR [IMAGE.tar]...
#   DIR        where it keeps its state; down.sh DIR ends it and removes that
#   IMAGE.tar  images (docker-archive) that its node has; nothing else can be pulled
#
# Everything in it talks over that namespace: nothing listens on the machine's own network, several
# clusters do not meet, and a pod reaches other pods alone. Afterwards:
#   export KUBECONFIG=DIR/kubeconfig; nsenter --net="/run/netns/$(cat DIR/netns)" kubectl get nodes

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[ "$#" -ge 1 ] || unmet "usage: up.sh DIR [IMAGE.tar]..."
[ "$(id -u)" = 0 ] || unmet "a cluster makes network namespaces and mounts: call it as root"
folder=$(realpath -m "$1")
shift
images=()
for image in "$@"; do
	images+=("$(realpath "$image")")
done
[ ! -e "$folder/netns" ] || unmet "$folder is in use: \`scripts/cluster/down.sh $folder\` first"
need_packages conntrack containerd containernetworking-plugins curl etcd-server gcc iproute2 \
	iptables libc6-dev openssl python3-minimal runc util-linux
bash scripts/cluster/build.sh

scripts=$PWD/scripts/cluster
name=autorep-$$
node=10.77.1.1
api=https://$node:16443
etcd=http://127.0.0.1:12379
socket=/run/$name/containerd.sock
mkdir -p "$folder"/{etcd,cni,log}
chmod 700 "$folder" "$folder/etcd"
echo "$name" >"$folder/netns"
cd "$folder"

inside() {
	nsenter --net="/run/netns/$name" "$@"
}

# Starts a daemon of the cluster. down.sh finds it by its network.
daemon() {
	local log=$folder/log/$1
	shift
	inside "$@" >"$log" 2>&1 &
}

wait_for() {
	local what=$1 _
	shift
	for _ in $(seq 3000); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	tail -n 20 "$folder/log/$what" >&2 || true
	unmet "$what did not come up within five minutes; its last words are above, all of them in $folder/log/$what"
}

api_get() {
	inside curl -skf -H "Authorization: Bearer $(cat token)" "$api/$1"
}

node_is_ready() {
	api_get api/v1/nodes/node1 | python3 -c 'import json, sys
conditions = json.load(sys.stdin)["status"]["conditions"]
sys.exit(not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions))'
}

make_network() {
	ip netns add "$name"
	ip -n "$name" link set lo up
	ip -n "$name" link add node0 type bridge
	ip -n "$name" addr add "$node/24" dev node0
	ip -n "$name" link set node0 up
	# It leads nowhere, but without it kube-proxy and pods would have no way to service addresses.
	ip -n "$name" route add default via 10.77.1.254 dev node0
	inside sysctl -qw net.ipv4.ip_forward=1
	inside sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
}

make_credentials() {
	openssl genrsa -out sa.key 2048 2>/dev/null
	openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
	(umask 077 && openssl rand -hex 16 >token && echo "$(cat token),admin,admin,system:masters" >tokens.csv)
	(umask 077 && cat >kubeconfig) <<-YAML
		apiVersion: v1
		kind: Config
		clusters: [{name: one-node, cluster: {server: "$api", insecure-skip-tls-verify: true}}]
		users: [{name: admin, user: {token: "$(cat token)"}}]
		contexts: [{name: one-node, context: {cluster: one-node, user: admin}}]
		current-context: one-node
	YAML
}

start_control_plane() {
	daemon etcd etcd --data-dir "$folder/etcd" --unsafe-no-fsync \
		--listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
		--listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 \
		--initial-cluster default=http://127.0.0.1:12380
	daemon apiserver "$KUBERNETES_BIN/kube-apiserver" --etcd-servers="$etcd" --cert-dir="$folder/certs" \
		--bind-address=0.0.0.0 --advertise-address="$node" --secure-port=16443 --allow-privileged=true \
		--kubelet-preferred-address-types=InternalIP --service-cluster-ip-range=10.96.0.0/16 \
		--service-account-key-file=sa.pub --service-account-signing-key-file=sa.key \
		--service-account-issuer=https://kubernetes.default.svc --api-audiences=api \
		--token-auth-file=tokens.csv --authorization-mode=RBAC
	wait_for apiserver api_get readyz
	daemon controller-manager "$KUBERNETES_BIN/kube-controller-manager" --kubeconfig=kubeconfig \
		--bind-address=127.0.0.1 --port=0 --leader-elect=false --use-service-account-credentials=true \
		--service-account-private-key-file=sa.key --root-ca-file=certs/apiserver.crt --cert-dir=cm
	daemon scheduler "$KUBERNETES_BIN/kube-scheduler" --kubeconfig=kubeconfig \
		--bind-address=127.0.0.1 --port=0 --leader-elect=false
}

start_containerd() {
	cat >cni/10-bridge.conflist <<-JSON
		{"cniVersion": "0.4.0", "name": "bridge", "plugins": [
		 {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
		  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]],
		           "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$folder/ipam"}},
		 {"type": "portmap", "capabilities": {"portMappings": true}}]}
	JSON
	# restrict_oom_score_adj: in a container without CAP_SYS_RESOURCE runc could not lower it, and
	# every pod would fail.
	cat >containerd.toml <<-TOML
		version = 2
		root = "$folder/containerd"
		state = "/run/$name"
		[grpc]
		  address = "$socket"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "localhost/pause:1"
		  restrict_oom_score_adj = true
		  netns_mounts_under_state_dir = true
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/usr/lib/cni"
		    conf_dir = "$folder/cni"
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "overlayfs"
		    default_runtime_name = "runc"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
	TOML
	daemon containerd containerd -c containerd.toml
	wait_for containerd ctr -a "$socket" version
}

# A docker-archive of one static program, made by hand: it needs no tool that builds images.
make_pause_image() {
	local work=$folder/pause
	mkdir "$work"
	cc -static -Os -o "$work/pause" "$scripts/pause.c"
	tar -C "$work" --numeric-owner --owner=0 --group=0 -cf "$work/layer.tar" pause
	printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(sha256sum "$work/layer.tar" | cut -d' ' -f1)" >"$work/config.json"
	printf '[{"Config":"config.json","RepoTags":["localhost/pause:1"],"Layers":["layer.tar"]}]' >"$work/manifest.json"
	tar -C "$work" -cf "$folder/pause.tar" manifest.json config.json layer.tar
	rm -rf "$work"
}

import_images() {
	local image
	for image in "$folder/pause.tar" "$@"; do
		ctr -a "$socket" -n k8s.io images import "$image" >>"$folder/log/images" 2>&1 || {
			tail -n 5 "$folder/log/images" >&2
			unmet "$image could not be imported: containerd's message is above"
		}
	done
}

# A kubelet ends every pod below its root of control groups that it does not know: one of its own
# keeps it from those of another kubelet on this machine.
make_control_groups() {
	local root=/sys/fs/cgroup controller
	if [ -e "$root/cgroup.controllers" ]; then
		mkdir "$root/$name"
		return
	fi
	for controller in "$root"/*/; do
		[ -L "${controller%/}" ] || mkdir -p "$controller$name"
	done
	cat "$root/cpuset/cpuset.cpus" >"$root/cpuset/$name/cpuset.cpus"
	cat "$root/cpuset/cpuset.mems" >"$root/cpuset/$name/cpuset.mems"
}

start_node() {
	# The kubelet sets these for the whole machine; down.sh sets them back.
	sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops \
		kernel.keys.root_maxkeys kernel.keys.root_maxbytes >kernel-settings 2>/dev/null || true
	cat >kubelet.yaml <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		cgroupDriver: cgroupfs
		cgroupRoot: /$name
		failSwapOn: false
		authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		address: 0.0.0.0
		clusterDomain: cluster.local
		clusterDNS: [10.96.0.10]
		resolvConf: ""
		evictionHard: {memory.available: "50Mi"}
		imageGCHighThresholdPercent: 100
	YAML
	daemon kubelet "$KUBERNETES_BIN/kubelet" --config=kubelet.yaml --kubeconfig=kubeconfig \
		--root-dir="$folder/kubelet" --container-runtime=remote --cert-dir=kubelet-pki \
		--container-runtime-endpoint="unix://$socket" --image-service-endpoint="unix://$socket" \
		--node-ip="$node" --hostname-override=node1
	daemon kube-proxy "$KUBERNETES_BIN/kube-proxy" --kubeconfig=kubeconfig --proxy-mode=iptables \
		--cluster-cidr=10.244.0.0/24 --hostname-override=node1 \
		--conntrack-max-per-core=0 --conntrack-min=0
	wait_for kubelet node_is_ready
}

# The usual address for names, with a service of the usual name before a server on the node.
start_names() {
	daemon dns python3 "$scripts/dns.py" "$node" "$api" "$folder/token"
	local kind body
	while IFS=$'\t' read -r kind body; do
		inside curl -skf -o /dev/null -X POST -H "Authorization: Bearer $(cat token)" \
			-H "Content-Type: application/json" -d "$body" "$api/api/v1/namespaces/kube-system/$kind"
	done <<-POSTS
		services	{"metadata": {"name": "kube-dns"}, "spec": {"clusterIP": "10.96.0.10", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}}
		endpoints	{"metadata": {"name": "kube-dns"}, "subsets": [{"addresses": [{"ip": "$node"}], "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}]}
	POSTS
}

make_network
make_credentials
start_control_plane
start_containerd
make_pause_image
import_images "${images[@]}"
make_control_groups
start_node
start_names
step "Kubernetes $KUBERNETES_VERSION is up: KUBECONFIG=$folder/kubeconfig, network namespace $name"
