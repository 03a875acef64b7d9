#!/usr/bin/env bash
# From a fresh Debian 12 to a proved theorem: installs what is missing, builds, proves. Safe to run again.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root" || exit 3

theorem='theorem le_of_double (f : Nat → Nat) (h : ∀ n, f (n + 1) = f n + 2) (h0 : f 0 = 0) : ∀ n, f n = 2 * n'

need_packages build-essential cmake ninja-build pkg-config libuv1-dev libjansson-dev libcriterion-dev \
    libsqlite3-dev zlib1g-dev libpcre2-dev libcurl4-openssl-dev bubblewrap curl $(npm_package)
need_lean
build release -DPROVER_TESTS=OFF -DPROVER_BENCHMARKS=OFF

say "build/bin/prover prove --tree '$theorem'"
build/bin/prover prove --tree "$theorem"
code=$?
if ((code == 0)); then
    say "That was a proof that a fresh Lean process checked. Your turn: build/bin/prover prove 'theorem t : 2 + 2 = 4'"
else
    warn "the theorem was not proved (exit code $code). \`build/bin/prover doctor\` says what is wrong."
fi
exit $code
