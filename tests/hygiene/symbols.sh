# What libpuna.so shows and takes: it exports exactly capi/exports.txt (all puna_*), imports none of the ways to end,
# to print or to take over signals, and is under 3 MB when stripped. What libpuna.a brings into a static consumer's link
# is ours by name, or the standard library's.
set -euo pipefail
library=$1 exports=$2 nm=$3 strip=$4 archive=${5:-}
skip() {
    echo "skipped: $1"
    [ -z "${PUNA_RUN_DIR:-}" ] || echo "${PUNA_TEST_NAME:-hygiene_symbols} - $1" >>"$PUNA_RUN_DIR/skipped.txt"
    exit 77
}
[ -z "${PUNA_SANITIZE:-}" ] || skip "a sanitizer adds symbols of its own"

bad=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Type A is the version node itself.
"$nm" -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"
foreign=$(grep -v '^puna_' "$work/exported" || true)
[ -z "$foreign" ] || { printf 'exports a foreign symbol: %s\n' $foreign; bad=1; }
if [ -f "$exports" ]; then
    sed -e 's/#.*//' -e 's/[[:space:]]*$//' "$exports" | grep -v '^$' | sort -u >"$work/listed" || true
    if ! diff "$work/listed" "$work/exported" >"$work/diff"; then
        sed -n -e 's/^< /in exports.txt, not in the library: /p' -e 's/^> /in the library, not in exports.txt: /p' "$work/diff"
        bad=1
    fi
elif [ -s "$work/exported" ]; then
    echo "the library exports symbols, but there is no $exports"
    bad=1
fi

imported=$("$nm" -D --undefined-only "$library" | awk '{ sub(/@.*/, "", $NF); print $NF }' |
    grep -xE 'abort|_?_?exit|_Exit|quick_exit|printf|__printf_chk|vprintf|__vprintf_chk|puts|putchar|perror|signal|sigaction|raise|__assert_fail' || true)
[ -z "$imported" ] || { printf 'imports %s\n' $imported; bad=1; }

if [ -n "$archive" ]; then
    strangers=$("$nm" -C --defined-only "$archive" 2>/dev/null | awk '$2 ~ /^[ABDGRTVWu]$/' | cut -d' ' -f3- |
        grep -vE 'puna|std::|__gnu_cxx|^DW\.ref|^operator|xsimd::' | sort -u || true)
    [ -z "$strangers" ] || { printf '%s\n' "$strangers" | sed 's/^/libpuna.a shows a foreign symbol: /'; bad=1; }
fi

"$strip" -o "$work/stripped" "$library"
size=$(wc -c <"$work/stripped")
echo "$(wc -l <"$work/exported") exports, $size bytes stripped"
[ "$size" -lt 3000000 ] || { echo "3 MB or more when stripped"; bad=1; }
exit $bad
