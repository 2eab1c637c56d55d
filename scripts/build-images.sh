#!/usr/bin/env bash
# Builds autorep's images with Docker or buildah. images/README.md says what they are.
#
# usage: build-images.sh [OPTION]... [coordinator|worker-cpu|worker-cuda]...
#   --prefix NAME      what the images' names begin with, as in registry.example/team/ (localhost/)
#   --tag TAG          their tag (the version of the workspace)
#   --programs DIR     take autorep and autorep-trainer from there instead of compiling them
#   --debian IMAGE     another base than the pinned one; `debootstrap` makes one from Debian's
#                      packages, where no registry of images can be reached
#   --mirror URL       another archive of packages than the pinned snapshot
#   --ca FILE          the certificate authority of the proxy that the build goes through
#   --push             push them to their registry afterwards
# Without names: coordinator, worker-cuda and worker-cpu.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
	sed -n 's/^# \{0,1\}//; 4,13p' scripts/build-images.sh >&2
	exit 2
}

version() {
	sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml
}

# The tool, and how it is called: both read the same files, but only BuildKit and buildah know
# mounts of secrets and caches.
choose_tool() {
	tool=${AUTOREP_IMAGE_TOOL:-}
	if [ -z "$tool" ]; then
		# A docker without buildx, or without a daemon that answers, cannot build.
		if docker buildx inspect >/dev/null 2>&1; then tool=docker; else tool=buildah; fi
	fi
	command -v "$tool" >/dev/null ||
		unmet "neither Docker with buildx nor buildah is on this machine: \`apt-get install buildah\` (as root)"
	# HEALTHCHECK is no part of the OCI format, and without it buildah leaves it out.
	case "$tool" in
	docker) build=(docker buildx build --load --provenance=false) ;;
	buildah) build=(buildah bud --format docker --layers --timestamp "$SOURCE_DATE_EPOCH") ;;
	*) unmet "AUTOREP_IMAGE_TOOL should be docker or buildah, found $tool" ;;
	esac
}

# A Debian base like the published slim one: what debootstrap calls minbase, without what nobody
# reads in a container.
debootstrap_base() {
	local image=localhost/debian:bookworm-slim work
	[ "$tool" = buildah ] || unmet "--debian debootstrap needs buildah: set AUTOREP_IMAGE_TOOL=buildah"
	if ! buildah inspect --type image "$image" >/dev/null 2>&1; then
		command -v debootstrap >/dev/null ||
			unmet "debootstrap is not on this machine: \`apt-get install debootstrap\` (as root)"
		step "a base image from Debian's packages (2 minutes, once)"
		work=$(mktemp -d)
		debootstrap --variant=minbase bookworm "$work/root" "$mirror" >"$work/log" 2>&1 || {
			tail -n 20 "$work/log" >&2
			rm -rf "$work"
			unmet "debootstrap could not make the base image: its message is above"
		}
		rm -rf "$work/root"/{usr/share/{info,locale,man},var/{cache/apt,lib/apt/lists,log}}/* \
			"$work/root"/{etc/hostname,etc/resolv.conf}
		find "$work/root/usr/share/doc" -type f ! -name copyright -delete
		printf 'FROM scratch\nCOPY . /\nCMD ["/bin/bash"]\n' >"$work/Dockerfile"
		"${build[@]}" -q -f "$work/Dockerfile" -t "$image" "$work/root" >/dev/null
		rm -rf "$work"
	fi
	debian=$image
}

# An image that holds programs which were built on this machine.
programs_image() {
	local image="localhost/autorep-programs:$tag" work
	[ -x "$programs/autorep" ] || unmet "--programs should name a folder with autorep, found none in $programs"
	work=$(mktemp -d)
	cp "$programs/autorep" "$work"
	[ ! -x "$programs/autorep-trainer" ] || cp "$programs/autorep-trainer" "$work"
	printf 'FROM scratch\nCOPY autorep* /programs/\n' >"$work/Dockerfile"
	"${build[@]}" -q -f "$work/Dockerfile" -t "$image" "$work" >/dev/null
	rm -rf "$work"
	arguments+=(--build-arg "AUTOREP=$image" --build-arg "TRAINER=$image")
}

prefix=localhost/ tag=$(version) programs='' debian='' mirror='' ca='' push='' targets=()
while [ "$#" -gt 0 ]; do
	case "$1" in
	--push) push=1 ;;
	--prefix | --tag | --programs | --debian | --mirror | --ca)
		[ "$#" -ge 2 ] || usage
		printf -v "${1#--}" %s "$2"
		shift
		;;
	coordinator | worker-cpu | worker-cuda) targets+=("$1") ;;
	*) usage ;;
	esac
	shift
done
[ "${#targets[@]}" -gt 0 ] || targets=(coordinator worker-cuda worker-cpu)

# The commit's time stands for the time of every file: the same commit gives the same image.
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
choose_tool
arguments=(--build-arg "VERSION=$tag" --build-arg "REVISION=$revision")
[ -z "$programs" ] || programs_image
[ "$debian" != debootstrap ] || { mirror=${mirror:-http://deb.debian.org/debian}; debootstrap_base; }
[ -z "$debian" ] || arguments+=(--build-arg "DEBIAN=$debian")
[ -z "$mirror" ] || arguments+=(--build-arg "DEBIAN_MIRROR=$mirror")
[ -z "$ca" ] || arguments+=(--secret "id=ca,src=$ca")
for target in "${targets[@]}"; do
	# worker is the one with CUDA: what a cluster wants.
	name=$prefix"autorep-${target%-cuda}:$tag"
	step "$name"
	"${build[@]}" "${arguments[@]}" -f images/Dockerfile --target "$target" -t "$name" .
	[ -z "$push" ] || "$tool" push "$name"
done
