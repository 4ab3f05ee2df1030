#!/usr/bin/env bash
# Downloads Debian packages into a folder, as any user. apt gets folders of its own: it reads and writes nothing of the
# machine's state, only the machine's list of sources.
# usage: apt-download.sh <folder> <package[=version]>…
set -euo pipefail

folder=$1
shift
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
mkdir -p "$folder" "$room"/{state/lists/partial,cache/archives/partial}
private_apt() {
    (cd "$folder" && apt-get -qq -o Dir::State="$room/state" -o Dir::Cache="$room/cache" \
        -o Dir::State::status=/dev/null -o APT::Sandbox::User= -o Debug::NoLocking=true "$@")
}
# What apt says about other sources of this machine that do not answer is of no interest, as long as the packages come.
private_apt update >"$room/log" 2>&1 || true
if ! private_apt download "$@" >>"$room/log" 2>&1; then
    echo "error: apt could not download $*; it says:" >&2
    cat "$room/log" >&2
    exit 1
fi
