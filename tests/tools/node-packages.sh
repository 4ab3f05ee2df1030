#!/usr/bin/env bash
# What a node needs and is not built here: looks for it, and installs what is missing where that is possible.
set -euo pipefail

if [[ $EUID != 0 ]]; then
    echo 'error: the end-to-end suite starts a node and builds images, for which it has to be root. Run it as root; all other tests do without.' >&2
    exit 1
fi

# What is looked for, and the Debian package that has it.
wanted=(
    containerd=containerd ctr=containerd runc=runc buildah=buildah iptables=iptables ip=iproute2 gcc=gcc
    unshare=util-linux setpriv=util-linux mount=mount dpkg-deb=dpkg
    /usr/lib/cni/bridge=containernetworking-plugins /usr/lib/cni/host-local=containernetworking-plugins
    /usr/lib/cni/loopback=containernetworking-plugins
)
# Where these are; not every user's PATH has it.
PATH=$PATH:/usr/sbin:/sbin

missing() {
    local entry
    for entry in "${wanted[@]}"; do
        command -v "${entry%=*}" >/dev/null || echo "${entry#*=}"
    done | sort -u
}

mapfile -t packages < <(missing)
if ((${#packages[@]} == 0)); then exit 0; fi
if ! command -v apt-get >/dev/null; then
    echo "error: the end-to-end suite needs ${packages[*]} (Debian's names) on this machine. Install them; where there is apt, make does it." >&2
    exit 1
fi
echo "Installing ${packages[*]} with apt; this takes about 20 s."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A list that is a little old is no reason to fail: what it names may still be there.
apt-get -qq update >"$log" 2>&1 || true
if ! DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${packages[@]}" >>"$log" 2>&1; then
    echo "error: apt could not install ${packages[*]}; it says:" >&2
    cat "$log" >&2
    exit 1
fi
mapfile -t packages < <(missing)
if ((${#packages[@]} > 0)); then
    echo "error: ${packages[*]} are installed, but not everything that they should bring was found: see the list in $0." >&2
    exit 1
fi
