#!/usr/bin/env bash
# promtool, which Debian packs with Prometheus, into target/tools/bin. It tries the chart's alerts, so any version does that
# the machine's Debian has.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$PWD/target/tools/bin
if found=$(command -v promtool); then
    ln -sfn "$found" "$out/promtool"
    exit 0
fi
echo 'Fetching promtool as Debian packs it with Prometheus; this takes about 10 s.'
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
if ! "$here/apt-download.sh" "$room/package" prometheus; then
    echo 'error: put promtool, which comes with Prometheus, into the PATH and run make again.' >&2
    exit 1
fi
dpkg-deb -x "$room"/package/*.deb "$room/unpacked"
cp --remove-destination "$room/unpacked/usr/bin/promtool" "$out/promtool"
if ! says=$("$out/promtool" --version 2>&1); then
    echo "error: $out/promtool does not run: $says" >&2
    rm -f "$out/promtool"
    exit 1
fi
