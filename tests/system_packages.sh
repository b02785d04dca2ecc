#!/usr/bin/env bash
# Debian packages that the tests need besides Python: `command package` pairs. As root on Debian what is missing is
# installed; elsewhere it is named, and the tests that need it are skipped.
set -euo pipefail

needed=(
    chromium chromium # the page's tests
    ffmpeg ffmpeg # odd files, and what they should decode to
    java openjdk-17-jre-headless # TorchServe
    kubectl kubectl # from Kubernetes' or Google's package repository: Debian's kubernetes-client knows no components
    promtool prometheus # alert rules
    sox sox # odd files
)

missing=()
for ((i = 0; i < ${#needed[@]}; i += 2)); do
    command -v "${needed[i]}" >/dev/null || missing+=("${needed[i + 1]}")
done
if ((${#missing[@]} == 0)); then
    exit 0
fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "tests that need ${missing[*]} will be skipped: install them, or run this as root on Debian" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
for package in "${missing[@]}"; do
    # One that cannot be had must not keep the others away: its tests say what they lack.
    apt-get install -qq --yes --no-install-recommends "$package" >/dev/null ||
        echo "cannot install $package: its tests will be skipped" >&2
done
