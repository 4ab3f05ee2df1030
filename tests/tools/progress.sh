#!/usr/bin/env bash
# Reads what `go build -v` or `cargo install` prints and says now and then how far it is.
# Everything that is not routine, errors above all, is passed on.
# usage: … 2>&1 | progress.sh <of what> <say it every this many packages> [packages to expect]

# Two builds may run at once.
what=$1
every=$2
of=${3:+ of $3}
packages=0
modules=0

package() {
    packages=$((packages + 1))
    if ((packages % every == 0)); then echo "  $what: $packages$of packages compiled, $SECONDS s"; fi
}

while IFS= read -r line; do
    case $line in
    'go: downloading '*)
        modules=$((modules + 1))
        if ((modules % 50 == 0)); then echo "  $what: $modules modules fetched, $SECONDS s"; fi
        ;;
    *' Compiling '*) package ;;
    *' Downloading '* | *' Downloaded '* | *' Updating '* | *' Installing '* | *' Installed '* | *' Finished '* | *' Replac'* | *' Ignored '* | *' Blocking '*) ;;
    # True, and of no use: nobody needs these programs in the PATH.
    'warning: be sure to add '*) ;;
    # What go names without a space is the import path of a package that it compiles; "# path" and "file:line:" head an error.
    *' '* | *:*) echo "$line" ;;
    ?*) package ;;
    esac
done
