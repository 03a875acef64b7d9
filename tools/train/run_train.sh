#!/bin/bash
# One training, its checks, and the checkpoint in parts under 16 MiB: cat model.tar.* | tar x
#   DATA     prepared folder (default: ./data beside this file)      SECONDS_TRAIN  of training (default 300)
#   ARGUMENTS  more of train.py's, such as "--rate 1e-3 --init DIR"   OUT            where results go
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-$(mktemp -d)}
DATA=${DATA:-$here/data}
work=$(mktemp -d)
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
{
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
    # shellcheck disable=SC2086
    python3 "$here/train.py" --data "$DATA" --out "$work" --seconds "${SECONDS_TRAIN:-300}" $ARGUMENTS 2>&1
    timeout 90 python3 "$here/check.py" --model "$work/model" --data "$DATA" 2>&1
} 2>&1 | tee "$OUT/log.txt"
cp "$work/train.jsonl" "$OUT/"
tar -C "$work" -cf - model | split -b 15m - "$OUT/model.tar."
ls -l "$OUT"
