#!/usr/bin/env bash
# Installs exactly what <name>/package-lock.json lists into target/tools/<name>, and a starter of its program <name>.mjs
# into target/tools/bin.
# usage: npm.sh <name>
set -euo pipefail

name=$1
here=$(dirname "$0")/$name
out=target/tools/$name
needed=20

advice="Install Node.js $needed or newer with npm (Debian 13 and newer: apt-get install nodejs npm; others: https://nodejs.org), or name one with NODE=…"
if ! node=$(command -v "$NODE"); then
    echo "error: $name needs Node.js, and there is no $NODE. $advice" >&2
    exit 1
fi
version=$("$node" -p process.versions.node) || {
    echo "error: $name needs Node.js, and $node does not run. $advice" >&2
    exit 1
}
if ((${version%%.*} < needed)); then
    echo "error: $name needs Node.js $needed or newer; $node is $version. $advice" >&2
    exit 1
fi
node=$(realpath -s "$node")
# npm beside that node, where it brought one.
export PATH=${node%/*}:$PATH
if ! command -v npm >/dev/null; then
    echo "error: $name is installed with npm, and there is none. $advice" >&2
    exit 1
fi

echo "Installing $name and what it needs from the npm registry; this takes about 10 s."
rm -rf "$out"
mkdir -p "$out" target/tools/bin
cp "$here"/* "$out/"
(cd "$out" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
cat >"target/tools/bin/$name" <<EOF
#!/usr/bin/env bash
exec '$node' "\$(dirname "\$0")/../$name/$name.mjs" "\$@"
EOF
chmod +x "target/tools/bin/$name"
