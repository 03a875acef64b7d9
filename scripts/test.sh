#!/usr/bin/env bash
# Installs what the tests need, builds, and runs all tests: release, then address+undefined and thread sanitizers.
# Ends with a line "N passed, N failed, N skipped".   --quick: the release tests alone.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root" || exit 3
quick=false
[[ ${1:-} == --quick ]] && quick=true

export LSAN_OPTIONS=suppressions=$root/tests/lsan.supp
passed=0 failed=0 skipped=0 failures=()

# try_test LOG COMMAND...: output to LOG, exit code and seconds to LOG.end.
try_test() {
    local log=$1 start=$SECONDS
    shift
    timeout -k 5 900 "$@" >"$log" 2>&1
    echo "$? $((SECONDS - start))" >"$log.end"
}

# report_test NAME LOG: says and counts how it ended; exit code 77 means skipped.
report_test() {
    local name=$1 log=$2 code=1 took=0
    read -r code took <"$log.end"
    if ((code == 0)) && grep -q 'SKIPPED:' "$log" && grep -q 'Tested:.* 0 .*Passing:.* 0 ' "$log"; then
        code=77 # every test of the program was skipped
    fi
    if ((code == 0)); then
        ((passed++))
        printf '  pass  %-46s %6s\n' "$name" "$took s"
        grep -iE '(^| )skip(ped)?:' "$log" | sed 's/^/        /'
    elif ((code == 77)); then
        ((skipped++))
        printf '  SKIP  %-46s %s\n' "$name" "$(grep 'SKIPPED:' "$log" | head -n 1 || tail -n 1 "$log")"
    else
        ((failed++))
        failures+=("$name")
        printf '  FAIL  %-46s %6s (exit code %d)\n' "$name" "$took s" "$code"
        tail -n 60 "$log" | sed 's/^/        /'
    fi
    rm -f "$log" "$log.end"
}

# run_test NAME COMMAND...: one test program.
run_test() {
    local name=$1 log
    shift
    log=$(mktemp)
    try_test "$log" "$@"
    report_test "$name" "$log"
}

# run_tests FOLDER PATTERN ARGUMENT...: the test programs of a build, two at a time: most have one thread, or wait for one Lean.
run_tests() {
    local folder=$1 pattern=$2 program log names=() logs=() i
    shift 2
    for program in "$folder"/bin/$pattern; do
        [[ -x $program ]] || continue
        while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
        log=$(mktemp)
        names+=("$(basename "$folder")/$(basename "$program")") logs+=("$log")
        try_test "$log" "$program" "$@" &
    done
    wait
    for i in "${!names[@]}"; do report_test "${names[i]}" "${logs[i]}"; done
}

need_packages build-essential cmake ninja-build pkg-config libuv1-dev libjansson-dev libcriterion-dev \
    libsqlite3-dev zlib1g-dev libpcre2-dev libcurl4-openssl-dev bubblewrap chromium clang libclang-rt-14-dev clang-format git xz-utils $(npm_package)
need_lean
need_tokenizers

build release -DPROVER_TESTS=ON -DPROVER_BENCHMARKS=ON
say "format"
git rev-parse --git-dir >/dev/null 2>&1 && run_test "clang-format" scripts/check_format.sh
say "unit tests"
run_tests build 'test_[!ic]*' -j1
run_tests build 'test_i[!n]*' -j1
if nvidia-smi -L 2>/dev/null | grep -q GPU && ninja -C build -t query gpu >/dev/null 2>&1; then
    say "kernels of the GPU, one by one"
    cmake --build build --target gpu || failures+=("build of the GPU's checks")
    for program in build/bin/test_cuda_*; do
        run_test "$(basename "$program")" sh tests/gpu_check.sh "$program" tests/golden/models
    done
else
    echo "  SKIP  the GPU's kernels one by one: no GPU, or no CUDA Toolkit"
fi
say "Lean's side of the protocol"
run_test "golden protocol" scripts/golden_protocol.sh
say "integration tests on real Lean"
run_tests build 'test_integration_*' -j1

if ! $quick; then
    for preset in asan tsan; do
        build $preset -DPROVER_BENCHMARKS=OFF
        say "unit tests under $preset"
        if [[ $preset == tsan ]]; then # what has threads
            for name in base_\* engine_cpu_\* engine_golden engine_invariance engine_thread lean_bridge_\* prover_\*; do
                run_tests build/$preset "test_$name" -j1
            done
        else
            run_tests build/$preset 'test_[!i]*' -j1
            run_tests build/$preset 'test_i[!n]*' -j1
        fi
        run_tests build/$preset 'test_integration_sanitized*' -j1
    done
    build fuzz
    say "fuzz targets, a few seconds each (longer: build/fuzz/bin/fuzz_NAME -max_total_time=600)"
    run_tests build/fuzz 'fuzz_*' -max_total_time=5 -print_final_stats=0 -verbosity=0
fi

((${#failures[@]})) && printf 'failed: %s\n' "${failures[@]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0 && passed > 0))
