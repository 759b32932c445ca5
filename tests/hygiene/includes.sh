# Who may include whom: base ← tensor ← {kernels, io} ← text ← nn ← infer ← {chat, eval} ← train ← slim, each all to
# its left, over #include "puna/…" in include/puna and lib. Nothing includes capi; the core's sources reach its headers
# and their own folder only; examples use puna.h or puna.hpp.
set -euo pipefail
cd "$1"

# A folder's rank; equal rank means siblings, which may not meet. core.hpp, the umbrella, is above all.
rank() {
    case $1 in
        base) echo 0 ;; tensor) echo 1 ;; kernels | io) echo 2 ;; text) echo 3 ;; nn) echo 4 ;; infer) echo 5 ;;
        chat | eval) echo 6 ;; train) echo 7 ;; slim) echo 8 ;; *) echo 99 ;;
    esac
}

bad=0
complain() { echo "$*"; bad=1; }

shopt -s globstar nullglob
for file in include/puna/**/*.hpp lib/**/*.cpp lib/**/*.hpp; do
    inside=${file#include/puna/}
    inside=${inside#lib/}
    from=${inside%%/*}
    [ "$from" != "$inside" ] || continue  # include/puna/core.hpp
    [ "$(rank "$from")" != 99 ] || complain "$file: the folder $from is not in the plan"
    while IFS=: read -r line path; do
        path=${path#puna/}
        to=${path%%/*}
        if [ "$to" = "$path" ]; then complain "$file:$line: includes the umbrella header"; continue; fi
        [ "$to" = "$from" ] || [ "$(rank "$to")" -lt "$(rank "$from")" ] ||
            complain "$file:$line: $from may not include $to (puna/$path)"
    done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"puna/' "$file" |
        sed -E 's/^([0-9]+):[^"]*"([^"]*)".*/\1:\2/' || true)
    # Headers private to lib/: "folder/name.hpp" or, beside the source, "name.hpp".
    while IFS=: read -r line path; do
        to=$from
        case $path in */*) to=${path%%/*} ;; esac
        [ "$(rank "$to")" != 99 ] || continue
        [ "$to" = "$from" ] || [ "$(rank "$to")" -lt "$(rank "$from")" ] ||
            complain "$file:$line: $from may not include $to ($path)"
    done < <(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file" | grep -v '"puna/' |
        sed -E 's/^([0-9]+):[^"]*"([^"]*)".*/\1:\2/' || true)
done

while IFS= read -r hit; do complain "the core includes the C ABI: $hit"; done < <(
    grep -rnE '#[[:space:]]*include[[:space:]]*["<](capi/|puna\.hp?p?)' include lib || true)
while IFS= read -r hit; do complain "an example looks behind puna.h: $hit"; done < <(
    grep -rnE '#[[:space:]]*include[[:space:]]*["<](puna/|capi/|\.\./)' examples --include='*.c' --include='*.h' \
        --include='*.cpp' --include='*.hpp' --include='*.go' || true)

exit $bad
