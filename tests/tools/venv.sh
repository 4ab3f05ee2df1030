#!/usr/bin/env bash
# Makes the virtual environment target/tools/<name> with exactly what <name>/requirements.txt lists.
# usage: venv.sh <name>
set -euo pipefail

name=$1
here=$(dirname "$0")
requirements=$here/$name/requirements.txt
venv=target/tools/$name

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

echo "Installing $(sed '/^#/d' "$requirements" | grep -i -E "^$name(-bin)?==" | tr -d '\n') from PyPI; this takes about 10 s."
mkdir -p target/tools
"$PYTHON" -m venv --clear "$venv"
# --no-deps: what is not in the list does not come in; `check` says whether the list is complete.
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$requirements"
"$venv/bin/pip" --disable-pip-version-check check >/dev/null || {
    "$venv/bin/pip" --disable-pip-version-check check >&2
    exit 1
}
