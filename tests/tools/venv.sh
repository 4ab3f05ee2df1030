#!/usr/bin/env bash
# Makes the virtual environment target/tools/<name> with exactly what <name>/requirements.txt lists, or with the one
# requirement given.
# usage: venv.sh <name> [requirement]
set -euo pipefail

name=$1
here=$(dirname "$0")
venv=target/tools/$name
if (($# > 1)); then
    what=$2
    wanted=("$2")
else
    what=$(sed '/^#/d' "$here/$name/requirements.txt" | grep -i -E "^$name(-bin)?==")
    wanted=(-r "$here/$name/requirements.txt")
fi

if ! command -v "$PYTHON" >/dev/null; then
    echo "error: $name needs Python 3.11 or newer, and there is no $PYTHON. Install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name another with PYTHON=…" >&2
    exit 1
fi
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $name needs Python 3.11 or newer; $PYTHON is $("$PYTHON" -V 2>&1). Name another with PYTHON=…" >&2
    exit 1
fi
if ! "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "error: this Python cannot make virtual environments. Install that part (Debian, Ubuntu: apt-get install python3-venv) and run make again." >&2
    exit 1
fi

echo "Installing $what from PyPI; this takes about 10 s."
mkdir -p target/tools
"$PYTHON" -m venv --clear "$venv"
# --no-deps: what is not in the list does not come in; `check` says whether the list is complete.
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "${wanted[@]}"
"$venv/bin/pip" --disable-pip-version-check check >/dev/null || {
    "$venv/bin/pip" --disable-pip-version-check check >&2
    exit 1
}
