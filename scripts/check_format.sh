#!/usr/bin/env bash
# Every C file as clang-format would have it.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror
