#!/usr/bin/env bash
# Builds Kubernetes 1.20.2 from Debian's source package into the cache folder, once.
#
# It is what a machine can build from package registries alone: no image registry, no module proxy.
# It takes minutes on two cores, 2 GB of room meanwhile, and 400 MB for what it leaves.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

is_built() {
	local program
	for program in "${programs[@]}"; do
		[ -x "$KUBERNETES_BIN/$program" ] || return 1
	done
}

# Debian's sources, without touching the machine's own lists of packages.
fetch_sources() {
	mkdir -p "$work/parts" "$work/lists/partial"
	cat >"$work/parts/bookworm.sources" <<-SOURCES
		Types: deb-src
		URIs: $DEBIAN_MIRROR
		Suites: bookworm
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	SOURCES
	local options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts"
		-o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
	apt-get "${options[@]}" update -qq
	(cd "$work" && apt-get "${options[@]}" source -qq kubernetes) >"$work/source.log" 2>&1 || {
		cat "$work/source.log" >&2
		unmet "apt-get could not download Debian's source package kubernetes: its message is above"
	}
}

# The vendored reflect2 1.0.1 walks maps by a layout that Go changed in 1.18: the API server would
# crash at the first custom resource. Debian's 1.0.2 does not.
replace_reflect2() {
	local vendored=vendor/github.com/modern-go/reflect2
	rm -f "$vendored"/*.go "$vendored"/*.s
	find /usr/share/gocode/src/github.com/modern-go/reflect2 -maxdepth 1 -type f \
		! -name '*_test.go' -exec cp {} "$vendored" \;
}

# Of the code that is generated, the archive lacks the API's description alone; `make all` would make
# all of it anew, which takes longer than the programs.
build() {
	mkdir -p .go/src/k8s.io
	ln -sfn ../../.. .go/src/k8s.io/kubernetes
	export GOPATH=$PWD/.go CGO_ENABLED=0 HOME=$work/home FORCE_HOST_GO=y
	nice -n 19 make gen_openapi || return
	# All of them static, or the kubelet's packages would be compiled once more for it alone.
	KUBE_STATIC_OVERRIDES=kubelet nice -n 19 hack/make-rules/build.sh "${programs[@]/#/cmd/}"
}

if is_built; then
	step "Kubernetes $KUBERNETES_VERSION is in $KUBERNETES_BIN"
	exit
fi
mkdir -p "$AUTOREP_CACHE"
# Two runs may want it at the same time; the second finds the work done.
exec 8>"$AUTOREP_CACHE/kubernetes.lock"
flock 8
if is_built; then
	exit
fi
need_packages ca-certificates dpkg-dev golang-go golang-github-modern-go-reflect2-dev make rsync util-linux
# What an interrupted build has compiled lies in Go's cache there: the next one goes on from it.
work=$AUTOREP_CACHE/kubernetes-build
mkdir -p "$work/home"
step "sources of Kubernetes $KUBERNETES_VERSION"
[ -e "$work/ready" ] || fetch_sources
# Debian calls it 1.20.5+really1.20.2.
cd "$work"/kubernetes-*"$KUBERNETES_VERSION" ||
	unmet "Debian's source package kubernetes should hold $KUBERNETES_VERSION, found $(ls "$work")"
[ -e "$work/ready" ] || replace_reflect2
touch "$work/ready"
step "building Kubernetes $KUBERNETES_VERSION (minutes, once; its log is $work/build.log)"
build >"$work/build.log" 2>&1 || {
	tail -n 40 "$work/build.log" >&2
	unmet "Kubernetes did not build: the end of its log is above"
}
mkdir -p "$work/fresh"
cp "${programs[@]/#/_output/local/bin/linux/amd64/}" "$work/fresh"
rm -rf "$KUBERNETES_BIN"
mv "$work/fresh" "$KUBERNETES_BIN"
# Go keeps the modules that it reads read-only.
chmod -R u+w "$work"
rm -rf "$work"
step "Kubernetes $KUBERNETES_VERSION is in $KUBERNETES_BIN"
