#!/usr/bin/env bash
# How fast is puna beside its peers? Both sides read one GGUF and take turns on this machine; the answer is the median of
# the ratios of a pair, with quartiles, as a table, JSON and SVG.
#   bench/peers.sh PEER [PEER ...] -- [options]
#     PEER                 NAME=COMMAND: a llama-bench of llama.cpp or ik_llama.cpp, with settings to try, for example
#                          ik='/ik/llama-bench -rtr 1'
#     --models "F ..."     GGUF files; or
#     --make "SPEC ..."    random weights, such as "1.1b:q4_0 1.1b:q8_0" (bench/make_gguf.cpp); the default is 110m:q8_0
#     --puna FILE          default build/bin/puna
#     --pairs N            default 10
#     --threads N          default 2
#     -p N / -n N          prompt and decoded tokens, default 512 and 64
#     --out NAME           writes NAME.json and NAME.svg
# llama2.c's run has a script of its own: bench/compare_run_c.sh. A pair during which other guests of the machine took more
# than 2% of the time is not counted. Nothing of a peer is needed but its program.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() { printf 'peers: %s\n' "$*" >&2; exit 2; }

[ $# -ge 1 ] || { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
peers=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in *=*) peers+=("$1") ;; *) die "$1 is not NAME=COMMAND" ;; esac
    shift
done
[ $# -eq 0 ] || shift
puna=$root/build/bin/puna models='' make='' pairs=10 threads=2 prompt=512 decode=64 out=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
        --models) models=$2 ;;
        --make) make=$2 ;;
        --puna) puna=$2 ;;
        --pairs) pairs=$2 ;;
        --threads) threads=$2 ;;
        -p) prompt=$2 ;;
        -n) decode=$2 ;;
        --out) out=$2 ;;
        *) die "what is $1?" ;;
    esac
    shift 2
done
[ ${#peers[@]} -gt 0 ] || die "no peer"
[ -x "$puna" ] || die "no $puna: ./dev build, or --puna FILE"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$models" ]; then
    "${CXX:-c++}" -O2 -std=c++17 "$root/bench/make_gguf.cpp" -o "$work/make"
    for spec in ${make:-110m:q8_0}; do
        "$work/make" "$spec" "$work/${spec/:/_}.gguf"
        models="$models $work/${spec/:/_}.gguf"
    done
fi

jiffies() { awk '/^cpu / { for (i = 2; i <= 9; ++i) all += $i; print $9 + 0, all; exit }' /proc/stat 2>/dev/null || true; }
disturbed() { # before after
    awk -v b="$1" -v a="$2" 'BEGIN { split(b, x, " "); split(a, y, " "); exit !(y[1] - x[1] > 0.02 * (y[2] - x[2])) }'
}

# Both print "prompt decode" in tokens per second: of one run after one that does not count.
run_peer() { # command model
    # shellcheck disable=SC2086 # a command with its settings
    $1 -m "$2" -p "$prompt" -n "$decode" -t "$threads" -r 1 -o json 2>"$work/log" >"$work/peer.json" ||
        { tail -3 "$work/log" >&2; die "failed: $1"; }
    tr -d ' \n' <"$work/peer.json" | awk '{
        n = split($0, part, "}")
        for (i = 1; i <= n; ++i) {
            if (!match(part[i], /"avg_ts":[0-9.e+-]+/)) continue
            speed = substr(part[i], RSTART + 9, RLENGTH - 9)
            if (part[i] ~ /"n_gen":0[,}]/ || part[i] ~ /"n_gen":0$/) prompt = speed
            else decode = speed
        }
        print prompt, decode }'
}
run_puna() { # model
    "$puna" bench -m "$1" -p "$prompt" -n "$decode" --threads "$threads" --reps 1 --probe-ms 0 --json --quiet | awk '
        function key(k) { return match($0, "\"" k "\":[0-9.e+-]+") ? substr($0, RSTART + length(k) + 3, RLENGTH - length(k) - 3) : "" }
        { print key("prompt_tps"), key("decode_tps") }'
}

quartiles() { # of column $2 in file $1: "median low high"
    awk -v c="$2" '{ print $c }' "$1" | sort -g | awk '
        function at(p, h, i, j) { h = 1 + (NR - 1) * p; i = int(h); j = i < NR ? i + 1 : i; return v[i] + (h - i) * (v[j] - v[i]) }
        { v[NR] = $1 } END { printf "%.4g %.4g %.4g\n", at(0.5), at(0.25), at(0.75) }'
}

cpu=$(awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo 2>/dev/null || uname -m)
isa=$("$puna" version --json | awk 'match($0, /"isa":"[^"]*"/) { print substr($0, RSTART + 7, RLENGTH - 8) }')
printf '%s, %s kernels, %s thread(s), prompt %s, decode %s, up to %s pairs\n' "$cpu" "$isa" "$threads" "$prompt" "$decode" "$pairs"
printf '%-18s %-10s %-7s %9s %9s   %s\n' model peer '' peer/s puna/s 'puna/peer, quartiles, pairs'
: >"$work/rows"
for model in $models; do
    for peer in "${peers[@]}"; do
        name=${peer%%=*} command=${peer#*=}
        : >"$work/pairs"
        kept=0 tried=0
        while [ "$kept" -lt "$pairs" ] && [ "$tried" -lt $((pairs * 3)) ]; do
            before=$(jiffies)
            if [ $((tried % 2)) -eq 0 ]; then a=$(run_peer "$command" "$model"); b=$(run_puna "$model")
            else b=$(run_puna "$model"); a=$(run_peer "$command" "$model"); fi
            tried=$((tried + 1))
            if disturbed "$before" "$(jiffies)"; then continue; fi
            [ "$(echo "$a $b" | wc -w)" -eq 4 ] || die "no speeds in the output of $name or puna: '$a' and '$b'"
            echo "$a $b" | awk '{ print $1, $2, $3, $4, $3 / $1, $4 / $2 }' >>"$work/pairs"
            kept=$((kept + 1))
        done
        [ "$kept" -gt 0 ] || die "every pair lost time to other guests of this machine: try again later"
        for phase in prompt decode; do
            c=1
            [ "$phase" = prompt ] || c=2
            read -r ratio low high < <(quartiles "$work/pairs" $((c + 4)))
            theirs=$(quartiles "$work/pairs" $c) ours=$(quartiles "$work/pairs" $((c + 2)))
            label=$(basename "$model" .gguf)
            printf '%-18s %-10s %-7s %9.2f %9.2f   %.3f, %.3f to %.3f, %s of %s\n' "$label" "$name" "$phase" "${theirs%% *}" \
                "${ours%% *}" "$ratio" "$low" "$high" "$kept" "$tried"
            echo "$label $name $phase ${theirs%% *} ${ours%% *} $ratio $low $high $kept" >>"$work/rows"
        done
    done
done

[ -n "$out" ] || exit 0
awk -v cpu="$cpu" -v isa="$isa" -v threads="$threads" -v p="$prompt" -v n="$decode" '
    BEGIN { printf "{\"cpu\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"prompt\":%d,\"decode\":%d,\"rows\":[", cpu, isa, threads, p, n }
    { printf "%s{\"model\":\"%s\",\"peer\":\"%s\",\"phase\":\"%s\",\"peer_tps\":%s,\"puna_tps\":%s,\"ratio\":%s,\"ratio_q1\":%s,\"ratio_q3\":%s,\"pairs\":%s}",
        (NR > 1 ? "," : ""), $1, $2, $3, $4, $5, $6, $7, $8, $9 }
    END { print "]}" }' "$work/rows" >"$out.json"
# A bar per row up to the ratio, a line over its quartiles, and the peer's own speed as the line at 1.
awk -v title="puna beside its peers: $cpu, $isa, $threads thread(s), medians and quartiles of pairs" '
    { row[NR] = $0; if ($8 > most) most = $8 }
    END {
        if (most < 1.2) most = 1.2
        scale = 420 / most; left = 250; height = 50 + NR * 22
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n", height
        printf "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/><text x=\"10\" y=\"18\">%s</text>\n", title
        for (i = 1; i <= NR; ++i) {
            split(row[i], f, " "); y = 30 + (i - 1) * 22
            printf "<text x=\"10\" y=\"%d\">%s, %s, %s</text>", y + 13, f[1], f[2], f[3]
            printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"14\" fill=\"%s\"/>", left, y + 2, f[6] * scale, (f[6] >= 1 ? "#3a7" : "#c75")
            printf "<path d=\"M%.1f %d H%.1f\" stroke=\"black\"/>", left + f[7] * scale, y + 9, left + f[8] * scale
            printf "<text x=\"%.1f\" y=\"%d\">%.2fx</text>\n", left + (f[8] > f[6] ? f[8] : f[6]) * scale + 6, y + 13, f[6]
        }
        printf "<path d=\"M%.1f 26 V%d\" stroke=\"#555\" stroke-dasharray=\"4 3\"/></svg>\n", left + scale, height - 16
    }' "$work/rows" >"$out.svg"
