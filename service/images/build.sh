#!/usr/bin/env bash
# Builds the images with podman and prints their sizes:  service/images/build.sh [TARGET …]   (gateway worker-cpu store redis)
#
# Works where no registry is reachable: debian_base.sh makes the base image out of Debian packages. Where pip needs a
# configuration of the machine (an index, a folder of wheels, certificates), the build sees that of this machine.
# Needs root and: podman runc netavark aardvark-dns iptables mmdebstrap (Debian package names).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
export CONTAINERS_CONF="${CONTAINERS_CONF:-$here/containers.conf}"
version="$(sed -nE 's/^version = "(.+)"$/\1/p' "$root/pyproject.toml" | head -1)"
targets=("${@:-}")
[ -n "${targets[0]}" ] || targets=(gateway worker-cpu store redis)

"$here/debian_base.sh"

# What pip and apt lean on outside of the build's own folder.
machine=(--network=host)
local_indexes="$(pip config get global.extra-index-url 2>/dev/null | tr ' ' '\n' | sed -nE 's|^file://(.*)/simple/?$|\1|p')"
for path in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt $(pip config get global.find-links 2>/dev/null || true) \
    $local_indexes; do
    if [ -e "$path" ]; then machine+=(--volume "$path:$path:ro"); fi
done
if [ -f "$HOME/.config/pip/pip.conf" ]; then
    machine+=(--volume "$HOME/.config/pip/pip.conf:/root/.config/pip/pip.conf:ro")
fi

for target in "${targets[@]}"; do
    name="divisi-$target:$version"
    case "$target" in
    store) build=("$here/store") ;;
    redis) # a stand-in under the name that is asked for
        name="$(sed -nE 's/^ *image: (redis:.+)$/\1/p' "$root/docker-compose.yml")"
        build=(--file "$here/redis.Dockerfile" "$here") ;;
    *) build=(--file "$root/service/Dockerfile" --target "$target" "$root") ;;
    esac
    # The docker format: podman's own has no health checks.
    SECONDS=0
    podman build --quiet --format docker --layers --tag "docker.io/library/$name" "${machine[@]}" "${build[@]}" >/dev/null
    echo "$name $(podman image list --format '{{.Size}}' "docker.io/library/$name"), built in $SECONDS s"
done
