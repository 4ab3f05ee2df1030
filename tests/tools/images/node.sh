#!/usr/bin/env bash
# Writes the two small images that a node needs besides the operator's: the real `pause`, which holds a pod's namespaces, built
# from the source of the pinned Kubernetes, and the pinned rclone. A file each in target/images/.
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/tools/images/buildah.sh

export_program() {
    local image=$1 program=$2 user=$3
    mkdir "$room/$image"
    cp "$program" "$room/$image/$image"
    printf 'FROM scratch\nCOPY %s /\nUSER %s\nENTRYPOINT ["/%s"]\n' "$image" "$user" "$image" >"$room/$image/Dockerfile"
    build "$image:e2e" "$room/$image"
    export_image "$image:e2e" "$image.tar"
}

go=$(cat target/tools/go/path)
kubernetes=$(cd tests/tools/kubernetes && GOWORK=off GOTOOLCHAIN=local "$go" list -mod=readonly -m -f '{{.Dir}}' k8s.io/kubernetes)
gcc -static -Os -o "$room/pause-program" "$kubernetes/build/pause/linux/pause.c"
export_program pause "$room/pause-program" 65535:65535
export_program rclone target/tools/bin/rclone 65532:65532
