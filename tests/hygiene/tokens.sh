# The core and the C ABI never print, never exit, never abort, never install a handler: not even in a corner that no
# test reaches. Comments and string literals may say the words. snprintf into a buffer is not printing.
set -euo pipefail
cd "$1"

words='abort|exit|_exit|quick_exit|terminate|printf|puts|putchar|perror|vprintf|signal|sigaction|raise|assert|system|atexit|at_quick_exit'
bad=0
while IFS= read -r -d '' file; do
    # Strips // comments, /* */ comments and literals, keeping line numbers.
    hits=$(perl -0777 -pe '
        s{/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"}{my $m=$&; $m =~ s/[^\n]//g; $m}gse;' "$file" |
        grep -nE "(^|[^A-Za-z0-9_.>])((std|::)?::)?($words)[[:space:]]*\(|(^|[^A-Za-z0-9_])(std::)?(cout|cerr|clog)([^A-Za-z0-9_]|$)|(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)|<(cassert|assert\.h|iostream|csignal)>" |
        grep -vE 'static_assert' || true)
    if [ -n "$hits" ]; then
        printf '%s\n' "$hits" | sed "s|^|$file:|"
        bad=1
    fi
done < <(find include lib capi -type f \( -name '*.hpp' -o -name '*.cpp' -o -name '*.h' \) -print0 | sort -z)
exit $bad
