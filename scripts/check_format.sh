#!/usr/bin/env bash
# Every C and CUDA file as clang-format would have it.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror || exit 1
bad=0
while read -r file; do # clang-format takes a header's name for C++ that the style file speaks of
    diff -q "$file" <(clang-format --assume-filename=x.h "$file") >/dev/null || { echo "$file is not formatted"; bad=1; }
done < <(git ls-files '*.cu' '*.cuh')
exit $bad
