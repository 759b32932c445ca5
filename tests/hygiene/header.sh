# puna.h is strict C99 and clean C++ from C++11 on; puna.hpp is C++17. puna.h includes stdint.h and stddef.h, nothing else.
set -euo pipefail
root=$1 cc=$2 cxx=$3
include=$root/capi/include
[ -f "$include/puna.h" ] || { echo "no puna.h"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

bad=0
others=$(grep -nE '^[[:space:]]*#[[:space:]]*include' "$include/puna.h" | grep -vE '<std(int|def)\.h>' || true)
[ -z "$others" ] || { echo "puna.h includes more than stdint.h and stddef.h: $others"; bad=1; }

printf '#include <puna.h>\n#include <puna.h>\nint main(void) { return 0; }\n' >use.c
cp use.c use.cpp
printf '#include <puna.hpp>\n#include <puna.h>\n#include <puna.hpp>\nint main() { return 0; }\n' >use_hpp.cpp
strict="-Wall -Wextra -Wpedantic -pedantic-errors -Werror -Wundef -Wshadow -fsyntax-only"
check() { echo "+ $*"; "$@" || bad=1; }
# shellcheck disable=SC2086
{
    check "$cc" -std=c99 $strict -Wstrict-prototypes -Wc++-compat -I"$include" use.c
    check "$cc" -std=c11 $strict -I"$include" use.c
    for standard in c++11 c++17 c++20; do
        check "$cxx" -std=$standard $strict -Wold-style-cast -I"$include" use.cpp
    done
    if [ -f "$include/puna.hpp" ]; then
        for standard in c++17 c++20; do check "$cxx" -std=$standard $strict -I"$include" use_hpp.cpp; done
    fi
}
exit $bad
