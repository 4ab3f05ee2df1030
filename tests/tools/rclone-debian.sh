#!/usr/bin/env bash
# Brings the rclone of Debian 12 into target/tools/rclone-<release>/bin/: Debian's own package where apt has it, which
# takes seconds, and otherwise that release built from its Go module, which takes minutes. No root is needed.
# usage: rclone-debian.sh <release>
set -euo pipefail

release=$1
here=$(dirname "$0")
out=$PWD/target/tools/rclone-$release
package=rclone=$release+dfsg-2+b5
checksum=703722dcab0c487322690fe68c7f8d6787e54e1ecd1297800d1382687ddbd81a # of amd64

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

from_debian() {
    [[ $(dpkg --print-architecture 2>/dev/null) == amd64 ]] || return
    echo "Fetching rclone $release as Debian 12 packs it; this takes about 10 s."
    "$here/apt-download.sh" "$room/package" "$package" 2>/dev/null || return
    echo "$checksum  $(echo "$room"/package/*.deb)" | sha256sum --check --quiet || exit 1
    dpkg-deb -x "$room"/package/*.deb "$room/unpacked"
    cp "$room/unpacked/usr/bin/rclone" "$out/bin/rclone"
}

from_go() {
    echo "apt does not offer Debian 12's package here, so this release is built from its source."
    "$here/go-build.sh" "rclone-$release" '5 to 6 min' github.com/rclone/rclone
    mv "$out/rclone" "$out/bin/rclone"
}

mkdir -p "$out/bin"
from_debian || from_go
# Debian's is linked dynamically: that it is here does not mean that it runs.
if ! says=$("$out/bin/rclone" version 2>&1) || [[ $says != *"rclone v$release"* ]]; then
    echo "error: $out/bin/rclone does not run as rclone $release: $says" >&2
    rm -f "$out/bin/rclone"
    exit 1
fi
