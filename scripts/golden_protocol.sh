#!/usr/bin/env bash
# Lean's side of the protocol: sends the golden requests to the real server and compares its replies.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 3
if [[ ! -e lean/wasm/prepared/toolchain.json ]]; then
    echo "skipped: the npm Lean is not prepared (the golden replies are those of its version)"
    exit 77
fi
prepared=$root/lean/wasm/prepared
export LEAN_PATH=$prepared/lib:$prepared/server
exec "$prepared/node" lean/test/golden.mjs -- "$prepared/lean" --run "$root/lean/Main.lean"
