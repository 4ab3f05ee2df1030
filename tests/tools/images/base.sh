#!/usr/bin/env bash
# Makes the image localhost/backup-target-base: what the operator needs around it, from three Debian packages, for where the
# Dockerfile's own base cannot be pulled. It can be given to the Dockerfile as BASE_IMAGE.
set -euo pipefail
cd "$(dirname "$0")/../../.."
source tests/tools/images/buildah.sh

echo 'Assembling a base image from Debian packages (libc6, libgcc-s1, ca-certificates); this takes about 10 s.'
tests/tools/apt-download.sh "$room/packages" libc6 libgcc-s1 ca-certificates
for package in "$room"/packages/*.deb; do dpkg-deb -x "$package" "$room/unpacked"; done

root=$room/root
mkdir -p "$root"/{etc/ssl/certs,usr/share}
# The libraries and the loader, at the places where programs look for them, but not what converts between character sets.
cp -a "$room"/unpacked/lib* "$root/"
if [[ -d $room/unpacked/usr/lib ]]; then cp -a "$room/unpacked/usr/lib" "$root/usr/"; fi
find "$root" -type d -name gconv -prune -exec rm -rf {} +
# As Debian does it when the package is installed.
cat "$room"/unpacked/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
echo 'nonroot:x:65532:65532:nonroot:/:/nonexistent' >"$root/etc/passwd"
echo 'nonroot:x:65532:' >"$root/etc/group"
install -d -m 1777 "$root/tmp"

printf 'FROM scratch\nCOPY root /\nUSER 65532:65532\n' >"$room/Dockerfile"
build backup-target-base "$room" --file "$room/Dockerfile"
