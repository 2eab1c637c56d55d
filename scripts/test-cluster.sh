#!/usr/bin/env bash
# The whole way on a real cluster: a one-node Kubernetes, images, an S3 server, the chart, `helm test`,
# a sweep over TLS with a token while pods are killed, upgrade, rollback, uninstall. `make test-cluster`
# calls it, as root. Whatever happens, it ends what it started and leaves nothing behind but caches.
#   MANIFEST=FILE   the sweep (manifests/quickstart.yaml)
#   PROGRAMS=DIR    autorep and autorep-trainer that are built already
#   KEEP=1          leave the cluster up; it says how to use it and how to end it

# shellcheck source-path=SCRIPTDIR source=cluster/lib.sh
. "$(dirname "$0")/cluster/lib.sh"

manifest=${MANIFEST:-manifests/quickstart.yaml}
programs=${PROGRAMS:-}
tag='test'
namespace=sweeps
release=autorep
coordinator=https://10.77.1.1:30070
# What `make test-cluster` promises.
most_s_to_lease=60
most_mb_of_image=60

# Every command that says something is shown before it is run.
show() {
	printf '$ %s\n' "$*"
	"$@"
}

inside() {
	nsenter --net="/run/netns/$(cat "$cluster/netns")" "$@"
}
kubectl() { inside "$tools/kubectl" -n "$namespace" "$@"; }
helm() { inside "$tools/helm" -n "$namespace" "$@"; }
# As a person on another machine: by the context file, outside every pod.
autorep() { inside env AUTOREP_CONFIG="$work/config.yaml" "$program" "$@"; }

# ---- what is needed ------------------------------------------------------------------------------

prepare() {
	[ "$(id -u)" = 0 ] || unmet "a cluster makes network namespaces and mounts: call it as root"
	need_packages buildah debootstrap openssl skopeo
	check_prerequisites
	bash scripts/cluster/build.sh
	tools=$(python3 scripts/stage-helm.py)
	stage_seaweedfs
	[ -n "$AUTOREP_WEED" ] || unmet "the cluster's bucket needs SeaweedFS: its message is above"
	stage_libtorch
	# The trainer that runs here is not in an image, where libtorch lies beside it.
	export LD_LIBRARY_PATH="$LIBTORCH/lib"
	if [ -z "$programs" ]; then
		programs=$CARGO_TARGET_DIR/release
		claim_build_folder
		step "building in $CARGO_TARGET_DIR"
		cargo build --locked --release -p autorep-cli -p autorep-trainer --bins
	fi
	program=$programs/autorep
	step "data set"
	"$program" data fetch fashion-mnist
}

# Images are built in a storage of their own, in the cache folder: a second run builds what changed.
build_images() {
	export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
	cat >"$CONTAINERS_STORAGE_CONF" <<-TOML
		[storage]
		driver = "overlay"
		graphroot = "$AUTOREP_CACHE/images"
		runroot = "$work/storage"
	TOML
	local ca=() name
	[ ! -e /etc/ssl/certs/ca-certificates.crt ] || ca=(--ca /etc/ssl/certs/ca-certificates.crt)
	AUTOREP_IMAGE_TOOL=buildah bash scripts/build-images.sh --programs "$programs" \
		--debian debootstrap --mirror "$DEBIAN_MIRROR" --tag "$tag" "${ca[@]}" coordinator worker-cpu \
		>"$work/images.log" 2>&1 || {
		tail -n 20 "$work/images.log" >&2
		unmet "the images could not be built: the end of the log is above"
	}
	mkdir "$work/weed"
	cp "$AUTOREP_WEED" "$work/weed"
	printf 'FROM scratch\nCOPY weed /weed\nENTRYPOINT ["/weed"]\n' >"$work/weed/Dockerfile"
	buildah bud -q -t localhost/seaweedfs:test "$work/weed" >/dev/null
	for name in "autorep-coordinator:$tag" "autorep-worker-cpu:$tag" seaweedfs:test; do
		images+=("$work/${name%:*}.tar")
		buildah push -q "localhost/$name" "docker-archive:$work/${name%:*}.tar:localhost/$name"
	done
}

# As a registry would hold it: layers compressed by gzip.
measure_image() {
	local bytes
	buildah push -q --compression-format gzip "localhost/autorep-coordinator:$tag" "dir:$work/pushed"
	bytes=$(cat "$work"/pushed/* | wc -c)
	rm -rf "$work/pushed"
	awk -v bytes="$bytes" 'BEGIN { printf "coordinator image, compressed: %.1f MB\n", bytes / 1e6 }'
	[ "$bytes" -lt "$((most_mb_of_image * 1000000))" ] ||
		unmet "the coordinator's image should have less than $most_mb_of_image MB compressed, found $bytes bytes"
}

# ---- secrets -------------------------------------------------------------------------------------

make_certificates() (
	cd "$work" || exit
	local names="DNS:$release-coordinator.$namespace.svc,DNS:localhost,IP:10.77.1.1"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj "/CN=sweeps CA" -keyout ca.key -out ca.crt 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=autorep" \
		-keyout tls.key -out tls.csr 2>/dev/null
	openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
		-extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names") \
		-out tls.crt 2>/dev/null
)

make_tokens() {
	local list=$work/tokens.yaml
	autorep token new --name workers --role worker --out "$work/worker" >"$list"
	autorep token new --name tester --role submitter --owner helm-test --out "$work/tester" >>"$list"
	autorep token new --name laptop --role submitter --owner researcher --out "$work/laptop" >>"$list"
}

make_secrets() {
	make_certificates
	make_tokens
	kubectl create namespace "$namespace"
	kubectl create secret generic autorep-tls --type=kubernetes.io/tls \
		--from-file="$work/tls.crt" --from-file="$work/tls.key" --from-file="$work/ca.crt"
	kubectl create secret generic autorep-tokens --from-file="$work/tokens.yaml" \
		--from-file="$work/worker" --from-file="$work/tester"
	kubectl create secret generic autorep-store --from-literal=AWS_ACCESS_KEY_ID=autorep \
		--from-literal=AWS_SECRET_ACCESS_KEY="$store_key"
	autorep context set one-node --coordinator "$coordinator" --ca "$work/ca.crt" \
		--token-file "$work/laptop"
	autorep context use one-node
}

install_bucket() {
	local namespace=storage
	kubectl create namespace storage
	printf '{"identities": [{"name": "autorep", "credentials": [{"accessKey": "autorep", "secretKey": "%s"}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}' \
		"$store_key" >"$work/s3.json"
	kubectl create secret generic seaweedfs --from-file="$work/s3.json"
	kubectl apply -f scripts/cluster/seaweedfs.yaml
	kubectl rollout status deployment/seaweedfs --timeout=120s
}

# ---- the way ------------------------------------------------------------------------------------

running_tasks() {
	autorep show "$sweep" 2>/dev/null | grep -c '^running '
}

# Waits until a command succeeds; what it waited for is said if that takes too long.
until_true() {
	local what=$1 limit_s=$2 began=$SECONDS
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$((SECONDS - began))" -lt "$limit_s" ] || unmet "$what did not happen within $limit_s s"
		sleep 0.2
	done
}

install_and_submit() {
	local began took
	began=$(date +%s%N)
	show helm install "$release" charts/autorep -f scripts/cluster/values.yaml \
		--set "image.tag=$tag" --set "workers.data.hostPath=$data" --wait --timeout 3m
	show autorep submit "$manifest"
	until_true "the first lease" 120 running_tasks
	took=$((($(date +%s%N) - began) / 1000000))
	printf 'from helm install --wait to the first leased task: %d.%03d s\n' "$((took / 1000))" "$((took % 1000))"
	[ "$took" -lt "$((most_s_to_lease * 1000))" ] ||
		unmet "the first lease should come within $most_s_to_lease s of helm install, it took $took ms"
}

# Whether so many tasks are done, and others run.
is_in_the_middle() {
	autorep show "$sweep" 2>/dev/null | awk -v least="$1" '
		$2 == "done" { done = $1 } $1 == "running" { runs = 1 } END { exit !(done >= least && runs) }'
}

# As a node that dies: no time to say goodbye.
kill_pod() {
	local component=$1 pod=$2
	show kubectl delete "$pod" --force --grace-period=0 2>/dev/null
	until_true "another pod for $pod" 120 kubectl wait --for=condition=Ready pods \
		-l "app.kubernetes.io/component=$component" --timeout=1s
}

kill_in_the_middle() {
	until_true "the first two tasks" 1800 is_in_the_middle 2
	kill_pod coordinator "$(kubectl get pods -l app.kubernetes.io/component=coordinator -o name)"
	until_true "more tasks after the coordinator's death" 1800 is_in_the_middle 4
	# One that trains.
	kill_pod worker "pod/$(autorep show "$sweep" | sed -n 's/^running .* on \([^,]*\), attempt.*/\1/p' | head -n 1)"
}

check_front() {
	show autorep front "$sweep"
	autorep front "$sweep" --format csv -o "$work/front.csv"
	step "the same sweep by autorep run, on this machine alone"
	"$program" run "$manifest" --store "$work/alone" --threads 1 >"$work/alone.log" 2>&1 &
	alone=$!
	wait "$alone" || {
		tail -n 20 "$work/alone.log" >&2
		unmet "the sweep alone failed: its last words are above"
	}
	alone=''
	"$program" front "$sweep" --store "$work/alone" --format csv -o "$work/alone.csv"
	show diff "$work/alone.csv" "$work/front.csv" ||
		unmet "the front of the cluster should be that of one machine: the difference is above"
	echo "both fronts are the same, byte for byte"
}

# After an upgrade `helm --wait` may end before the last pods of the old version have gone.
wait_for_deployments() {
	local deployment
	for deployment in coordinator worker-cpu; do
		kubectl rollout status "deployment/$release-$deployment" --timeout=5m >/dev/null
	done
	kubectl get deployments
}

front_is_kept() {
	autorep front "$sweep" --format csv | diff - "$work/front.csv" ||
		unmet "the front should be the one before: the difference is above"
	echo "the front is the one before"
}

upgrade_and_roll_back() {
	show helm upgrade "$release" charts/autorep --reuse-values \
		--set workerPools.cpu.replicas=1 --set coordinator.leaseTtl=20s --wait --timeout 5m
	wait_for_deployments
	kubectl get deployment "$release-coordinator" -o yaml | grep -q -- --lease-ttl=20s ||
		unmet "the upgrade should have set the lease's time to live"
	front_is_kept
	show helm rollback "$release" 1 --wait --timeout 5m
	wait_for_deployments
	kubectl get deployment "$release-coordinator" -o yaml | grep -q -- --lease-ttl=30s ||
		unmet "the rollback should have taken the lease's time to live back"
	front_is_kept
}

nothing_is_left() {
	[ -z "$(kubectl get all -o name)" ]
}

uninstall() {
	show helm uninstall "$release" --wait --timeout 5m
	# Pods of tests are nobody's; Helm leaves them.
	kubectl delete pod "$release-test"
	until_true "the end of the release's pods" 120 nothing_is_left
}

# buildah leaves the stages of a build mounted.
close_storage() {
	local mount
	awk '{print $2}' /proc/mounts | grep "^$AUTOREP_CACHE/images/" | sort -r |
		while read -r mount; do umount -l "$mount"; done || true
}

# What is worth knowing when something failed, and the way back to a clean machine.
finish() {
	local code=$? tries=0
	trap - EXIT
	[ -z "${alone:-}" ] || kill "$alone" 2>/dev/null || true
	if [ -e "${cluster:-}/netns" ]; then
		if [ "$code" != 0 ]; then
			kubectl get pods -A -o wide >&2 || true
			kubectl get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 15 >&2 || true
			kubectl logs -l app.kubernetes.io/name=autorep --all-containers --prefix --tail=15 >&2 || true
		fi
		if [ "${KEEP:-}" = 1 ]; then
			step "left up: KUBECONFIG=$cluster/kubeconfig nsenter --net=/run/netns/$(cat "$cluster/netns") $tools/kubectl -n $namespace get pods"
			step "end it with: scripts/cluster/down.sh $cluster && rm -rf $work"
			exit "$code"
		fi
		# What still runs needs its folder; what is mounted there is not to be deleted.
		bash scripts/cluster/down.sh "$cluster" || exit 1
	fi
	close_storage
	# A sweep that was interrupted writes its last checkpoint into it.
	until rm -rf "$work" 2>/dev/null || [ "$((tries += 1))" -ge 50 ]; do
		sleep 0.2
	done
	exit "$code"
}

work=$(mktemp -d /tmp/autorep-cluster-XXXXXX)
cluster=$work/cluster
trap finish EXIT
images=()
store_key=$(openssl rand -hex 16)
data=${AUTOREP_DATA:-$AUTOREP_CACHE/data}
sweep=$(sed -n 's/^  name: *//p' "$manifest" | head -n 1)
prepare
step "images"
build_images
measure_image
step "a cluster"
bash scripts/cluster/up.sh "$cluster" "${images[@]}"
export KUBECONFIG=$cluster/kubeconfig
step "a bucket"
install_bucket
step "secrets"
make_secrets
step "the chart"
install_and_submit
kubectl get pods -o wide
step "the coordinator is killed, then a worker"
kill_in_the_middle
show autorep watch "$sweep"
step "the front"
check_front
step "helm test"
show helm test "$release" --logs --timeout 15m
step "upgrade and rollback"
upgrade_and_roll_back
step "uninstall"
uninstall
step "all of it went as it should"
