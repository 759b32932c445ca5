#!/usr/bin/env bash
# Is f32 decoding as fast as llama2.c's run.c? Both programs read one file and take the likeliest token each time, in
# interleaved pairs on this machine; the answer is the median ratio of their tokens per second and its spread.
#   bench/compare_run_c.sh RUN [options]
#     RUN                  run.c, built by you: gcc -Ofast -march=native -fopenmp run.c -lm -o run
#     --model F --tokenizer T   a llama2.c .bin with its tokenizer.bin
#     --make SHAPE         instead: random weights of the shape 260k, 15m, 42m or 110m
#     --puna FILE          default build/bin/puna
#     --pairs N            default 12
#     --threads "1 2"      thread counts to try; default 1 and all cores
#     --steps N            tokens per run; default what the model's length allows, up to 1024
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() { printf 'compare_run_c: %s\n' "$*" >&2; exit 2; }

[ $# -ge 1 ] || { sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
peer=$(realpath "$1") || die "no such program: $1"
shift
puna=$root/build/bin/puna model='' tokenizer='' make='' pairs=12 steps=''
cores=$(getconf _NPROCESSORS_ONLN)
threads=1
[ "$cores" -eq 1 ] || threads="1 $cores"
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
        --model) model=$2 ;;
        --tokenizer) tokenizer=$2 ;;
        --make) make=$2 ;;
        --puna) puna=$2 ;;
        --pairs) pairs=$2 ;;
        --threads) threads=$2 ;;
        --steps) steps=$2 ;;
        *) die "what is $1?" ;;
    esac
    shift 2
done
[ -x "$peer" ] || die "$peer cannot be run"
[ -x "$puna" ] || die "no $puna: ./dev build, or --puna FILE"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$make" ]; then
    "${CXX:-c++}" -O2 -std=c++17 "$root/bench/make_llama2c.cpp" -o "$work/make"
    model=$work/model.bin tokenizer=$work/model.tok
    "$work/make" "$make" "$model" "$tokenizer" 1024
fi
[ -n "$model" ] && [ -n "$tokenizer" ] || die "give --model with --tokenizer, or --make"
length=$(od -An -t d4 -j 24 -N 4 "$model" | tr -d ' ')
[ -n "$steps" ] || steps=$((length < 1024 ? length : 1024))
[ "$steps" -le "$length" ] || die "--steps $steps: the model's length is $length"

# "stolen all": jiffies that other guests of the machine took, and all; nothing where the system does not tell.
jiffies() { awk '/^cpu / { for (i = 2; i <= 9; ++i) all += $i; print $9 + 0, all; exit }' /proc/stat 2>/dev/null || true; }
disturbed() { # before after: did others take more than 2%?
    awk -v b="$1" -v a="$2" 'BEGIN { split(b, x, " "); split(a, y, " "); exit !(y[1] - x[1] > 0.02 * (y[2] - x[2])) }'
}

# Tokens per second by the program's own clock, without loading. run.c's has a grain of a millisecond.
run_peer() { # threads
    OMP_NUM_THREADS=$1 "$peer" "$model" -z "$tokenizer" -t 0 -n "$steps" >"$work/peer.txt" 2>"$work/peer.log"
    awk '/achieved tok\/s/ { print $3 }' "$work/peer.log"
}
run_puna() {
    "$puna" generate -m "$model" --tokenizer "$tokenizer" --threads "$1" --cache f32 --context "$length" \
        -n "$steps" --ignore-eos --json --quiet >"$work/puna.json"
    awk -v n="$steps" 'match($0, /"decode_ms":[0-9.e+-]+/) {
        print n * 1000 / substr($0, RSTART + 12, RLENGTH - 12) }' "$work/puna.json"
}

# quantile FILE PART: of numbers, one a line.
quantile() {
    sort -g "$1" | awk -v p="$2" '
        { v[NR] = $1 }
        END { h = 1 + (NR - 1) * p; i = int(h); j = i < NR ? i + 1 : i; print v[i] + (h - i) * (v[j] - v[i]) }'
}

printf '%s, %s steps, %s pairs\n' "${make:-$(basename "$model")}" "$steps" "$pairs"
for count in $threads; do
    : >"$work/ratio"; : >"$work/peer"; : >"$work/puna"
    run_peer "$count" >/dev/null
    run_puna "$count" >/dev/null
    kept=0 tried=0
    while [ "$kept" -lt "$pairs" ] && [ "$tried" -lt $((pairs * 3)) ]; do
        before=$(jiffies)
        if [ $((tried % 2)) -eq 0 ]; then a=$(run_peer "$count"); b=$(run_puna "$count")
        else b=$(run_puna "$count"); a=$(run_peer "$count"); fi
        tried=$((tried + 1))
        if disturbed "$before" "$(jiffies)"; then continue; fi
        [ -n "$a" ] && [ -n "$b" ] || die "no speed in the output of $peer or $puna"
        echo "$a" >>"$work/peer"
        echo "$b" >>"$work/puna"
        awk -v a="$a" -v b="$b" 'BEGIN { print b / a }' >>"$work/ratio"
        kept=$((kept + 1))
    done
    [ "$kept" -gt 0 ] || die "every pair lost time to other guests of this machine: try again later"
    printf '%s thread(s): run.c %.1f tok/s, puna %.1f tok/s (medians); ' "$count" "$(quantile "$work/peer" 0.5)" \
        "$(quantile "$work/puna" 0.5)"
    printf 'puna/run.c median %.3f, quartiles %.3f to %.3f, all %.3f to %.3f; ' "$(quantile "$work/ratio" 0.5)" \
        "$(quantile "$work/ratio" 0.25)" "$(quantile "$work/ratio" 0.75)" "$(quantile "$work/ratio" 0)" \
        "$(quantile "$work/ratio" 1)"
    printf '%s of %s pairs kept\n' "$kept" "$tried"
done
