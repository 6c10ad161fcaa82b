#!/bin/sh
# Make the image aigym-sandbox without an image registry: a minimal Debian from apt's own mirror is the base.
# What Docker still has from the last time is not done again. Needs root, debootstrap and a running daemon
# (.ci/dockerd.sh).
set -eu
cd "$(dirname "$0")/.."
if ! docker image inspect aigym-base >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    . /etc/os-release
    mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' "Created-By: Packages" |
        awk -v suite="$VERSION_CODENAME" '$2 == suite { print $1; exit }')
    debootstrap --variant=minbase --include=python3 "$VERSION_CODENAME" "$root" "$mirror"
    tar -C "$root" -c . | docker import - aigym-base >/dev/null
fi
DOCKER_BUILDKIT=0 docker build --network host --build-arg BASE=aigym-base -t aigym-sandbox docker/
