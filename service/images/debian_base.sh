#!/usr/bin/env bash
# Makes the Dockerfile's base image out of Debian's own packages, for machines that reach a Debian mirror but no
# registry. It gets the very name that the Dockerfile asks for, so that the Dockerfile builds unchanged.
# shellcheck disable=SC2016 # $1 is for the hook's own shell
# Needs root and: mmdebstrap podman.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
export CONTAINERS_CONF="${CONTAINERS_CONF:-$here/containers.conf}"
image="$(sed -nE 's/^ARG DEBIAN_IMAGE=(.+)$/\1/p' "$here/../Dockerfile")"
mirror="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
security="${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}"

if podman image exists "$image"; then
    echo "$image is there already"
    exit 0
fi
# What a slim image leaves out: manuals, documentation, translations, package lists, and perl, which merging /usr needs.
mmdebstrap --quiet --variant=minbase --include=ca-certificates,usr-is-merged \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt='APT::Install-Recommends "false"' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log' \
    bookworm - \
    "deb $mirror bookworm main" \
    "deb $mirror bookworm-updates main" \
    "deb $security bookworm-security main" |
    podman import --quiet --change 'CMD ["bash"]' - "$image"
podman image list --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$image"
