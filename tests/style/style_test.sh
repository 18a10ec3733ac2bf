#!/bin/sh
# Rules of the house that a compiler does not check. usage: style_test.sh SOURCE_DIR
set -eu
cd "$1"
failed=0
complain() {
    echo "style: $*" >&2
    failed=1
}

sources=$(find src include tests bench examples -name '*.[ch]')
product=$(find src include -name '*.[ch]' ! -name '*_test.c')

# 1. A folder includes only folders above it.
floors="base platform tensor kernels graph models formats wire plan protocol store transport runtime cli"
for file in $product; do
    case $file in src/*) ;; *) continue ;; esac
    folder=${file#src/}
    folder=${folder%%/*}
    seen=" "
    for floor in $floors; do
        seen="$seen$floor "
        [ "$floor" = "$folder" ] && break
    done
    for used in $(sed -n 's|^#include "\([a-z]*\)/.*|\1|p' "$file" | sort -u); do
        case "$seen shoal oneapi " in
        *" $used "*) ;;
        *) complain "$file includes $used/, which is not above $folder/" ;;
        esac
    done
done

# 2. Files stay readable.
for file in $sources; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 800 ] || complain "$file has $lines lines; 800 are the most"
    [ "$(awk 'length > 120' "$file" | wc -l)" -eq 0 ] || complain "$file has lines far beyond 100 columns"
done

# 3. All of our memory is counted; nothing ends the process but main and assertions.
for file in $product; do
    case $file in src/base/memory.c) continue ;; esac
    if grep -nE '(^|[^a-z_>.])(malloc|calloc|realloc|strdup|aligned_alloc|posix_memalign)\(' "$file" >&2; then
        complain "$file allocates outside base/memory.h"
    fi
    case $file in src/base/assert.c | src/platform/process.c) continue ;; esac
    if grep -nE '(^|[^a-z_>.])(exit|_exit|abort|assert)\(' "$file" >&2; then
        complain "$file ends the process or asserts outside base/assert.h"
    fi
done

# 4. Nothing unfinished is left behind.
if grep -nwE 'TODO|FIXME|XXX|HACK' $sources >&2; then
    complain "unfinished business is in the sources"
fi

# 5. Every test program is registered.
for test in $(find src tests -name '*_test.c'); do
    name=$(basename "$test" .c)
    grep -rqw --include=CMakeLists.txt "$name" src tests || complain "$test is in no CMakeLists.txt"
done

# 6. Every fuzz target has a corpus.
for target in tests/fuzz/fuzz_*.c; do
    name=$(basename "$target" .c)
    [ -n "$(ls "tests/fuzz/corpus/${name#fuzz_}" 2>/dev/null)" ] || complain "$target has no corpus"
done

# 7. The repository stays small.
size=$(git ls-files -z 2>/dev/null | xargs -0 -r cat 2>/dev/null | wc -c)
[ "$size" -lt 20000000 ] || complain "the repository holds $size bytes; 20 MB are the most"

[ "$failed" -eq 0 ] && echo "style: all rules hold"
exit "$failed"
