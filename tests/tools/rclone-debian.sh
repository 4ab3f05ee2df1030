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

# apt with folders of its own: it reads and writes nothing of the machine's state, only the machine's list of sources.
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
mkdir -p "$room"/{state/lists/partial,cache/archives/partial,package}
private_apt() {
    (cd "$room/package" && apt-get -qq -o Dir::State="$room/state" -o Dir::Cache="$room/cache" \
        -o Dir::State::status=/dev/null -o APT::Sandbox::User= -o Debug::NoLocking=true "$@")
}

from_debian() {
    [[ $(dpkg --print-architecture 2>/dev/null) == amd64 ]] || return
    echo "Fetching rclone $release as Debian 12 packs it; this takes about 10 s."
    # What apt says about other sources of this machine that do not answer is of no interest here.
    private_apt update >"$room/log" 2>&1 || true
    private_apt download "$package" >>"$room/log" 2>&1 || return
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
# Starts here: Debian's is linked dynamically.
"$out/bin/rclone" version | grep -q "^rclone v$release" || {
    echo "error: $out/bin/rclone does not run as rclone $release. Remove $out and run make tools again." >&2
    rm -f "$out/bin/rclone"
    exit 1
}
