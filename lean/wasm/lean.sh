#!/bin/sh
# Starts Lean: takes the arguments of `lean`.
# V8's default stack of 1 MB ends the process on deep terms; it must fit into the stack of the operating system.
here=$(dirname "$(readlink -f "$0")")
if ulimit -S -s 67584 2>/dev/null; then stack=65536; else stack=7168; fi
: "${LEAN_PATH:=$here/lib}"
export LEAN_PATH
exec "$here/node" --stack-size=$stack --wasm-lazy-validation "$here/lean.js" "$@"
