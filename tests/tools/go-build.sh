#!/usr/bin/env bash
# Builds programs of one of the Go modules here into target/tools/<module>/.
# usage: go-build.sh <module> <how long a first build takes> <package>…
set -euo pipefail

module=$1
duration=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
out=$PWD/target/tools/$module
go=$(cat target/tools/go/path)
if [[ ! -x $go ]]; then
    echo "error: the Go found earlier, $go, is gone. Remove target/tools/go and run make again." >&2
    exit 1
fi
mkdir -p "$out"
cd "$here/$module"

# The programs run here and now: nothing of the caller's settings for another machine or workspace belongs to them.
# Without cgo no C compiler is needed.
export GOOS='' GOARCH='' GOROOT='' GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0

version() { "$go" list -mod=readonly -m -f '{{.Version}}' "$1"; }
progress() { "$here/progress.sh" "$@"; }

# What the release builds of these programs stamp into them, so that they say which version they are.
case $module in
kubernetes)
    name="Kubernetes $(version k8s.io/kubernetes) ($(printf '%s ' "${@##*/}" | sed 's/ $//; s/ /, /g'))"
    v=$(version k8s.io/kubernetes)
    IFS=. read -r major minor _ <<<"${v#v}"
    stamps=
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        stamps+=" -X $package.gitVersion=$v -X $package.gitMajor=$major -X $package.gitMinor=$minor"
    done
    ;;
helm)
    v=$(version helm.sh/helm/v4)
    name="Helm $v"
    stamps="-X helm.sh/helm/v4/internal/version.version=$v"
    ;;
gitops-health)
    name="gitops-health (kstatus $(version github.com/fluxcd/cli-utils), gopher-lua $(version github.com/yuin/gopher-lua))"
    stamps=
    ;;
rclone-*)
    v=$(version github.com/rclone/rclone)
    name="rclone $v"
    stamps="-X github.com/rclone/rclone/fs.Version=$v"
    ;;
esac

echo "Building $name; the first time this takes about $duration on two cores."
"$go" list -mod=readonly -deps "$@" 2>&1 >"$out/.packages" | progress "$module" 100
# -s -w: no debug information, which would double the size.
"$go" build -v -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w $stamps" -o "$out/" "$@" 2>&1 |
    progress "$module" 100 "$(wc -l <"$out/.packages" | tr -d ' ')"
echo "Built $name in $SECONDS s."
