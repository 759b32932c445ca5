#!/usr/bin/env bash
# How fast is `puna quantize` beside llama.cpp's quantizer, and beside the disk? Both read one GGUF and write another,
# in interleaved pairs on this machine; the answer is the median ratio of their times and its spread. For q8_0 each pair
# also writes the same bytes with dd and fsync.
#   bench/compare_quantize.sh PEER [options]
#     PEER                 llama-quantize, or a libllama.so (called through Python's ctypes; what it needs beside it)
#     --model F            a GGUF of f32 or f16
#     --make SHAPE         instead: random weights of the shape 15m, 42m or 110m (default 42m)
#     --puna FILE          default build/bin/puna
#     --pairs N            default 12
#     --threads N          default 2
#     --types "T ..."      default "q4_k_s q6_k q8_0"
#     --work FOLDER        where the files go: the disk that is measured; default a temporary folder
# PEER_PRELOAD is LD_PRELOAD for the peer alone. The peer's time is by its own clock, without start-up; puna's is the
# whole process, its fsync included (the peer has none). cpu: user and system time of both processes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() { printf 'compare_quantize: %s\n' "$*" >&2; exit 2; }

[ $# -ge 1 ] || { sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
peer=$(realpath "$1") || die "no such file: $1"
shift
puna=$root/build/bin/puna model='' make=42m pairs=12 threads=2 types="q4_k_s q6_k q8_0" folder=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
        --model) model=$2 ;;
        --make) make=$2 ;;
        --puna) puna=$2 ;;
        --pairs) pairs=$2 ;;
        --threads) threads=$2 ;;
        --types) types=$2 ;;
        --work) folder=$2 ;;
        *) die "what is $1?" ;;
    esac
    shift 2
done
[ -x "$puna" ] || die "no $puna: ./dev build, or --puna FILE"
[ -n "$folder" ] || folder=${TMPDIR:-/tmp}
work=$(mktemp -d -p "$folder")
trap 'rm -rf "$work"' EXIT

file_type() { # llama.cpp's number of a mix
    case $1 in
        f16) echo 1 ;; q4_0) echo 2 ;; q4_1) echo 3 ;; q8_0) echo 7 ;; q5_0) echo 8 ;; q5_1) echo 9 ;; q2_k) echo 10 ;;
        q3_k_s) echo 11 ;; q3_k_m) echo 12 ;; q3_k_l) echo 13 ;; q4_k_s) echo 14 ;; q4_k_m) echo 15 ;; q5_k_s) echo 16 ;;
        q5_k_m) echo 17 ;; q6_k) echo 18 ;; iq4_nl) echo 25 ;; iq4_xs) echo 30 ;;
        *) die "no number known for $1" ;;
    esac
}

cat >"$work/peer.py" <<'PY'
import ctypes, sys, time
class Parameters(ctypes.Structure):  # the first two fields of llama_model_quantize_params, and room for the rest
    _fields_ = [("threads", ctypes.c_int), ("file_type", ctypes.c_int), ("rest", ctypes.c_byte * 504)]
library = ctypes.CDLL(sys.argv[1])
library.llama_model_quantize_default_params.restype = Parameters
library.llama_model_quantize.restype = ctypes.c_uint32
library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
p = library.llama_model_quantize_default_params()
p.threads, p.file_type = int(sys.argv[5]), int(sys.argv[4])
start = time.monotonic()
failed = library.llama_model_quantize(sys.argv[2].encode(), sys.argv[3].encode(), ctypes.byref(p))
print("quantize time = %.3f ms" % ((time.monotonic() - start) * 1e3))
sys.exit(failed)
PY

TIMEFORMAT='%R %U %S'
# Both print "seconds cpu-seconds".
run_peer() { # type
    local command=("$peer" "$model" "$work/peer.gguf" "$(file_type "$1")" "$threads")
    case $peer in *.so*) command=(python3 "$work/peer.py" "${command[@]}") ;; esac
    { time env ${PEER_PRELOAD:+LD_PRELOAD="$PEER_PRELOAD"} "${command[@]}" >"$work/peer.log" 2>&1; } \
        2>"$work/peer.time" ||
        { tail -5 "$work/peer.log" >&2; die "$peer failed"; }
    awk 'FNR == NR { cpu = $2 + $3; next }
        match($0, /quantize time *= *[0-9.]+ ms/) {
            split(substr($0, RSTART, RLENGTH), part, "="); print part[2] / 1000, cpu }' \
        "$work/peer.time" "$work/peer.log"
}
run_puna() {
    rm -f "$work/puna.gguf"  # as dd's: freeing the blocks of the file before is not writing
    { time "$puna" quantize "$model" "$work/puna.gguf" --type "$1" --threads "$threads" --quiet >/dev/null; } \
        2>"$work/puna.time"
    awk '{ print $1, $2 + $3 }' "$work/puna.time"
}
run_dd() {
    { time dd if="$work/puna.gguf" of="$work/dd.gguf" bs=4M conv=fsync status=none; } 2>"$work/dd.time"
    awk '{ print $1, $2 + $3 }' "$work/dd.time"
    rm -f "$work/dd.gguf"
}

if [ -z "$model" ]; then
    "${CXX:-c++}" -O2 -std=c++17 "$root/bench/make_llama2c.cpp" -o "$work/make"
    "$work/make" "$make" "$work/model.bin" "$work/model.tok" 1024
    "$puna" convert "$work/model.bin" "$work/model.gguf" --quiet >/dev/null
    rm "$work/model.bin"
    model=$work/model.gguf
fi

quartiles() { # of numbers, one a line
    sort -g "$1" | awk '
        function at(p, h, i, j) {
            h = 1 + (NR - 1) * p; i = int(h); j = i < NR ? i + 1 : i
            return v[i] + (h - i) * (v[j] - v[i])
        }
        { v[NR] = $1 }
        END { printf "median %.2f, quartiles %.2f to %.2f", at(0.5), at(0.25), at(0.75) }'
}

printf '%s, %s bytes, %s thread(s), %s pairs\n' "$(basename "$model")" "$(wc -c <"$model")" "$threads" "$pairs"
for type in $types; do
    : >"$work/wall"; : >"$work/cpu"; : >"$work/disk"; : >"$work/seconds"
    run_peer "$type" >/dev/null  # both files come from the page cache from here on
    for ((i = 0; i < pairs; ++i)); do
        if [ $((i % 2)) -eq 0 ]; then a=$(run_peer "$type"); b=$(run_puna "$type")
        else b=$(run_puna "$type"); a=$(run_peer "$type"); fi
        [ -n "$a" ] || die "no time in the peer's output"
        echo "$a $b" | awk '{ print $1 / $3 }' >>"$work/wall"
        echo "$a $b" | awk '{ print $2 / $4 }' >>"$work/cpu"
        echo "$b" >>"$work/seconds"
        if [ "$type" = q8_0 ]; then echo "$(run_dd) $b" | awk '{ print $1 / $3 }' >>"$work/disk"; fi
    done
    printf '%s: puna %s s; rate over the peer: %s; by cpu: %s\n' "$type" "$(quartiles "$work/seconds")" \
        "$(quartiles "$work/wall")" "$(quartiles "$work/cpu")"
    if [ "$type" = q8_0 ]; then printf '%s: rate over dd with fsync: %s\n' "$type" "$(quartiles "$work/disk")"; fi
done
