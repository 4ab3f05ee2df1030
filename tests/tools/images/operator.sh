#!/usr/bin/env bash
# Builds the operator's image with the project's Dockerfile and writes it to target/images/operator.tar, where no image can be
# pulled: the base is the one that base.sh made, and the build stage starts from an empty image into which this machine's
# toolchain is mounted. The steps of the Dockerfile, its dependency layer and what it copies are those of every other build.
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/tools/images/buildah.sh

sysroot=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$cargo_home" "$room/tmp"

# A new toolchain is a new image, so that no layer of the old one is used again.
cat >"$room/toolchain.Dockerfile" <<EOF
FROM scratch
ENV PATH=$sysroot/bin:/usr/local/bin:/usr/bin:/bin CARGO_HOME=$cargo_home RUST="$(rustc -vV | tr '\n' ' ')"
EOF
build backup-target-toolchain "$room" --file "$room/toolchain.Dockerfile"

# cargo's folder can be written to: it is where crates that are missing are fetched to.
mounts=(--volume "$room/tmp:/tmp" --volume "$cargo_home:$cargo_home" --volume "$sysroot:$sysroot:ro")
for folder in /bin /etc /lib /lib64 /usr; do
    if [[ -d $folder ]]; then mounts+=(--volume "$folder:$folder:ro"); fi
done
arguments=(
    --build-arg BUILD_IMAGE=localhost/backup-target-toolchain
    --build-arg BASE_IMAGE=localhost/backup-target-base
    --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    --build-arg "VERSION=$(sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)"
)

echo "Building the operator's image; the first time this takes 10 to 15 min on two cores, after a change of the source 2 to 3 min."
# The build stage gets a name of its own, by which its layers, the dependencies above all, are kept.
build backup-target-operator:build . "${mounts[@]}" "${arguments[@]}" --target build
build backup-target-operator:e2e . "${mounts[@]}" "${arguments[@]}"
export_image backup-target-operator:e2e operator.tar
echo "Built the operator's image in $SECONDS s: $(($(stat -c %s "$images/operator.tar") / 1024)) KiB packed."
