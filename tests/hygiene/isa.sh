# Only symbols of its own leave a unit that is compiled for one ISA. A weak one (an inline function or a template of
# std, xsimd or Eigen that was not inlined) could be picked by the linker for the whole program, and end it with an
# illegal instruction on a smaller CPU. Names that carry the ISA are the unit's own.
set -euo pipefail
nm=$1
bad=0
checked=0
while IFS= read -r object; do
    case $object in */kernels/isa/*) ;; *) continue ;; esac
    isa=$(basename "$object")
    isa=${isa%%.*}
    [ "$isa" != baseline ] || continue  # compiled like everything else
    checked=$((checked + 1))
    # xsimd's names carry the arch tag as a type (xsimd::avx2, fma3<avx2>, avx512bw …), ours the unit's namespace.
    leaks=$("$nm" -C --defined-only "$object" | awk '$2 ~ /^[WVuw]$/' | cut -d' ' -f3- |
        grep -vE "(^|[^A-Za-z0-9])(${isa}|kernels_${isa}|isa_${isa})([^A-Za-z0-9]|$)|puna_eigen_|DW\.ref\.__gxx_personality" |
        grep -vE 'xsimd::(fma3<xsimd::)?(avx|neon|i8mm|sse)' || true)
    if [ -n "$leaks" ]; then
        printf '%s\n' "$leaks" | sed "s/^/$isa leaks: /"
        bad=1
    fi
done <"$2"
echo "$checked units checked"
exit $bad
