# For the scripts here to source: buildah with its storage under target/, so that it neither sees nor leaves anything in the
# machine's own. Needs root.

images=$PWD/target/images
mkdir -p "$images"
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# usage: build <name of the image> <context> <further arguments of buildah>…
# chroot isolation and the host's network: a build needs nothing set up for it, and no container runtime. What the name meant
# before goes, with all layers that nothing else has; `rmi --prune` would take the layers that the next build begins with, too.
build() {
    local name=$1 context=$2 before
    shift 2
    before=$(image_id "$name")
    run_buildah build --layers --isolation chroot --network host --cni-config-dir "$room/cni" --tag "localhost/$name" "$@" "$context"
    if [[ -n $before && $before != "$(image_id "$name")" ]]; then run_buildah rmi "$before"; fi
}

# Nothing when there is no such image.
image_id() {
    in_own_mounts images --quiet --no-trunc --filter "reference=localhost/$1"
}

# Writes an image into a file that containerd can import, under the name that it has here.
export_image() {
    rm -f "$images/$2"
    run_buildah push --quiet --format oci "localhost/$1" "oci-archive:$images/$2:localhost/$1"
}

# What it says is of interest only when it fails.
run_buildah() {
    if ! in_own_mounts "$@" >"$room/log" 2>&1; then
        echo "error: buildah failed; the end of what it says:" >&2
        tail -n 40 "$room/log" >&2
        exit 1
    fi
}

# The mounts that it leaves go with their namespace.
in_own_mounts() {
    unshare --mount buildah --root "$images/storage" --runroot "$room/run" "$@"
}
