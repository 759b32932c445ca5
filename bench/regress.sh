#!/usr/bin/env bash
# Is head slower than base? Two programs, built from two commits on this machine, take turns; a median ratio below the limit
# whose upper quartile is below 1 as well is a regression: exit 1.
#   bench/regress.sh BASE_PUNA HEAD_PUNA [options]
#     --cases "SHAPE:TYPE ..."  default "110m:q4_0 110m:q8_0 110m:q4_k 110m:q6_k 110m:f16 15m:f32"
#     --pairs N                 default 10
#     --threads N               default 2
#     -p N / -n N               prompt and decoded tokens, default 128 and 32
#     --limit X                 default 0.97
set -euo pipefail

die() { printf 'regress: %s\n' "$*" >&2; exit 2; }

[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
base=$1 head=$2
shift 2
cases="110m:q4_0 110m:q8_0 110m:q4_k 110m:q6_k 110m:f16 15m:f32" pairs=10 threads=2 prompt=128 decode=32 limit=0.97
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
        --cases) cases=$2 ;;
        --pairs) pairs=$2 ;;
        --threads) threads=$2 ;;
        -p) prompt=$2 ;;
        -n) decode=$2 ;;
        --limit) limit=$2 ;;
        *) die "what is $1?" ;;
    esac
    shift 2
done
[ -x "$base" ] || die "$base cannot be run"
[ -x "$head" ] || die "$head cannot be run"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run() { # program shape type: "prompt decode"
    "$1" bench --synthetic "$2" --type "$3" -p "$prompt" -n "$decode" --threads "$threads" --reps 1 --json --quiet | awk '
        function key(k) { return match($0, "\"" k "\":[0-9.e+-]+") ? substr($0, RSTART + length(k) + 3, RLENGTH - length(k) - 3) : "" }
        { print key("prompt_tps"), key("decode_tps") }'
}

slower=0
for spec in $cases; do
    : >"$work/pairs"
    for ((i = 0; i < pairs; ++i)); do
        if [ $((i % 2)) -eq 0 ]; then a=$(run "$base" "${spec%%:*}" "${spec#*:}"); b=$(run "$head" "${spec%%:*}" "${spec#*:}")
        else b=$(run "$head" "${spec%%:*}" "${spec#*:}"); a=$(run "$base" "${spec%%:*}" "${spec#*:}"); fi
        [ "$(echo "$a $b" | wc -w)" -eq 4 ] || die "no speeds in the output for $spec: '$a' and '$b'"
        echo "$a $b" | awk '{ print $3 / $1, $4 / $2 }' >>"$work/pairs"
    done
    for phase in 1 2; do
        awk -v c=$phase '{ print $c }' "$work/pairs" | sort -g | awk -v limit="$limit" -v what="$spec $([ $phase = 1 ] && echo prompt || echo decode)" '
            function at(p, h, i, j) { h = 1 + (NR - 1) * p; i = int(h); j = i < NR ? i + 1 : i; return v[i] + (h - i) * (v[j] - v[i]) }
            { v[NR] = $1 }
            END {
                bad = at(0.5) < limit && at(0.75) < 1
                printf "%-20s head/base %.3f, quartiles %.3f to %.3f%s\n", what, at(0.5), at(0.25), at(0.75), bad ? "  SLOWER" : ""
                exit bad
            }' || slower=1
    done
done
exit $slower
