# tests/claims.md is true at least in this: every test, bench or file that it names exists. Its rows are
#   | issue | claim | shown by |
# and the names stand in backticks in the last column: a doctest case title, a ctest name, or the path of a file (a
# bench, a script) from the top of the repository. A path may be followed by arguments: `bench/run.sh --peer PATH`.
set -euo pipefail
cd "$1"
build=$2
claims=tests/claims.md
if [ ! -f "$claims" ]; then
    echo "no $claims yet"
    [ -z "${PUNA_RUN_DIR:-}" ] || echo "${PUNA_TEST_NAME:-hygiene_claims} - no $claims" >>"$PUNA_RUN_DIR/skipped.txt"
    exit 77
fi

names=$(mktemp)
trap 'rm -f "$names"' EXIT
# Titles of doctest cases (also of templates and of cases whose title is on the next line), then ctest's names.
find tests -name '*.cpp' -print0 | xargs -0 perl -0777 -ne '
    while (/(?:TEST_CASE|TEST_CASE_TEMPLATE|SUBCASE|TEST_CASE_FIXTURE)\s*\(\s*(?:\w+\s*,\s*)?((?:"(?:\\.|[^"\\])*"\s*)+)/g) {
        my $t = join "", map { s/^"|"$//gr } $1 =~ /"(?:\\.|[^"\\])*"/g; $t =~ s/\\(.)/$1/g; print "$t\n";
    }' >"$names"
(cd "$build" && ctest -N) | sed -nE 's/^ *Test +#[0-9]+: (.*)$/\1/p' >>"$names"

bad=0
rows=0
number=0
while IFS= read -r line; do
    number=$((number + 1))
    case $line in '|'*) ;; *) continue ;; esac
    if [[ $line =~ ^\|[-:\ |]+\|$ ]] || [[ $line =~ ^\|\ *issue\ *\| ]]; then continue; fi
    rows=$((rows + 1))
    columns=$(printf '%s' "$line" | sed 's/`[^`]*`//g' | tr -cd '|' | wc -c)
    if [ "$columns" -ne 4 ]; then echo "$claims:$number: a row has three columns: | issue | claim | shown by |"; bad=1; continue; fi
    # The last column, where '|' inside backticks is text.
    shown=$(printf '%s' "$line" | perl -ne 's/\s*\|\s*$//; my @c; my $s = $_; $s =~ s/(`[^`]*`)/my $x=$1; $x =~ tr{|}{\x01}; $x/ge; @c = split /\|/, $s; $_ = $c[-1]; tr{\x01}{|}; print')
    quoted=$(printf '%s\n' "$shown" | grep -oE '`[^`]+`' | tr -d '`' || true)
    if [ -z "$quoted" ]; then echo "$claims:$number: names no test or bench in backticks"; bad=1; continue; fi
    while IFS= read -r name; do
        path=${name%% *}
        # `file.cpp: "case"` names a case and says where it stands.
        if [[ $name =~ ^([^:]+):\ \"(.*)\"$ ]]; then
            [ -e "${BASH_REMATCH[1]}" ] || [ -e "tests/${BASH_REMATCH[1]}" ] || { echo "$claims:$number: no file ${BASH_REMATCH[1]}"; bad=1; }
            name=${BASH_REMATCH[2]}
            path=
        fi
        grep -qxF -- "$name" "$names" || { [ -n "$path" ] && [ -e "$path" ]; } ||
            { echo "$claims:$number: no test, bench or file is called '$name'"; bad=1; }
    done <<<"$quoted"
done <"$claims"
[ "$rows" -gt 0 ] || { echo "$claims has no rows"; bad=1; }
echo "$rows claims checked"
exit $bad
