#!/usr/bin/env bash
# An object compiled for a newer instruction set must not offer the linker a function under a common name: the linker may
# hand it to code that has to run anywhere. So an ISA unit defines its tables and nothing else that is global or weak.
# usage: no_leak.sh BUILD_FOLDER
set -euo pipefail
build=$1
command -v nm >/dev/null || { echo "no nm here"; exit 77; }
mapfile -t objects < <(find "$build" -path '*puna_core_objects*/kernels/isa/*' \( -name '*.o' -o -name '*.obj' \))
[ ${#objects[@]} -gt 0 ] || { echo "no ISA object under $build"; exit 1; }
status=0
for object in "${objects[@]}"; do
    unit=$(basename "$object"); unit=${unit%%.*}
    # Defined and not local (local types are lower case; weak ones are w and v also when undefined). Allowed: the table,
    # the units' own xsimd, the reference to the exception personality, what sanitizers add.
    leaked=$(nm --defined-only "$object" | awk '$(NF-1) ~ /^[A-Zuvw]$/ { print $(NF-1), $NF }' |
        grep -vE " _ZN4puna[0-9]+(kernels|encode)_${unit}E$|puna_xsimd_${unit}|DW\.ref\.__gxx_personality_v0|__(asan|ubsan|tsan|odr_asan|sanitizer|gcov|llvm)" || true)
    if [ -n "$leaked" ]; then
        echo "$unit leaks:"; echo "$leaked" | c++filt; status=1
    fi
done
[ $status -eq 0 ] && echo "${#objects[@]} ISA units define their tables alone"
exit $status
