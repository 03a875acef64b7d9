#!/bin/bash
# Everything end to end in about 90 seconds on one H100: versions, a short training, checks, timings.
# Reads ./smoke (a prepared folder); writes $OUT (default: a new temporary folder). Each phase goes on when one fails.
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-$(mktemp -d)}
work=$(mktemp -d)
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
began=$(date +%s)
phase() { # NAME LIMIT COMMAND...
    local name=$1 limit=$2 start
    shift 2
    start=$(date +%s.%N)
    echo "==== $name"
    timeout "$limit" "$@" 2>&1
    echo "==== $name: exit $?, $(echo "$(date +%s.%N) - $start" | bc 2>/dev/null || echo '?') s, $(($(date +%s) - began)) s in all"
}
{
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
    phase train 45 python3 "$here/train.py" --data "$here/smoke" --out "$work" --seconds "${SECONDS_TRAIN:-20}" --eval-every 0.25
    phase check 45 python3 "$here/check.py" --model "$work/model" --data "$here/smoke"
    phase bench "${SECONDS_BENCH:-35}" python3 "$here/bench.py" --data "$here/smoke" --compile
    phase versions 20 python3 "$here/versions.py"
} 2>&1 | tee "$OUT/log.txt"
cp "$work/train.jsonl" "$OUT/"
tar -C "$work" -cf - model | split -b 15m - "$OUT/model.tar."
ls -l "$OUT"
