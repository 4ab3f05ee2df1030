# For the scripts here to source: buildah with its storage under target/, so that it neither sees nor leaves anything in the
# machine's own. Needs root.

images=$PWD/target/images
mkdir -p "$images"
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# usage: build <name of the image> <context> <further arguments of buildah>…
# chroot isolation and the host's network: a build needs nothing set up for it, and no container runtime.
build() {
    local name=$1 context=$2
    shift 2
    run_buildah build --layers --isolation chroot --network host --tag "localhost/$name" "$@" "$context"
}

# Writes an image into a file that containerd can import, under the name that it has here.
export_image() {
    rm -f "$images/$2"
    run_buildah push --quiet --format oci "localhost/$1" "oci-archive:$images/$2:localhost/$1"
}

# What it says is of interest only when it fails. The mounts that it leaves go with their namespace.
run_buildah() {
    if ! unshare --mount buildah --root "$images/storage" --runroot "$room/run" "$@" >"$room/log" 2>&1; then
        echo "error: buildah failed; the end of what it says:" >&2
        tail -n 40 "$room/log" >&2
        exit 1
    fi
}
