#!/bin/sh
# Runs a program that needs a GPU, or says that there is none and exits with 77.
if ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo "SKIPPED: nvidia-smi lists no GPU"
    exit 77
fi
exec "$@"
