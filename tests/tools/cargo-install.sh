#!/usr/bin/env bash
# Installs one version of a cargo program into target/tools/bin.
# usage: cargo-install.sh <crate> <version> <how long a first build takes>
set -euo pipefail

crate=$1
version=$2
duration=$3

if [[ -x target/tools/bin/$crate ]] && grep -qF "\"$crate $version " target/tools/.crates.toml; then exit 0; fi

echo "Building $crate $version; the first time this takes about $duration on two cores."
# Its own target folder: it must not wait for a build of the operator, nor push that build's results out of the cache. Not
# optimised: what these programs do takes seconds either way, and to build them so takes a fraction of the time.
CARGO_TARGET_DIR=target/tools/build-$crate CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --locked --root target/tools "$crate" --version "$version" 2>&1 |
    "$(dirname "$0")/progress.sh" "$crate" 20
# Some hundred megabytes that nothing uses again.
rm -rf "target/tools/build-$crate"
echo "Built $crate $version in $SECONDS s."
