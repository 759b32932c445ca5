# What may be in the repository: no file over 1.5 MiB, and no text that names a place on somebody's machine.
set -euo pipefail
cd "$1"
git rev-parse --is-inside-work-tree >/dev/null 2>&1 || {
    echo "not a git checkout"
    [ -z "${PUNA_RUN_DIR:-}" ] || echo "${PUNA_TEST_NAME:-hygiene_tree} - not a git checkout" >>"$PUNA_RUN_DIR/skipped.txt"
    exit 77
}

bad=0
while IFS= read -r -d '' file; do
    [ -f "$file" ] || continue
    size=$(stat -c %s "$file" 2>/dev/null || stat -f %z "$file")
    if [ "$size" -gt 1572864 ]; then echo "$file: $size bytes, more than 1.5 MiB"; bad=1; fi
done < <(git ls-files -z)

# -I skips binary files. Absolute homes and work folders; registries' hosts belong to the machine's configuration.
# The brackets keep this line from finding itself.
if git grep -nIE '(^|[^A-Za-z0-9_.~$}-])/(wor[k]|hom[e]|roo[t]|User[s])/[A-Za-z0-9_.]' -- . ':!tests/fixtures'; then
    echo "the lines above name a folder of somebody's machine"
    bad=1
fi
if git grep -nIE '(pypi|pythonhosted|crates|npmjs|debian|ubuntu|golang)\.(org|io|com)/?(simple|pool|debian|ubuntu|packages|api)|deb\.debian|proxy\.golang' -- . ':!tests/hygiene/tree.sh'; then
    echo "the lines above name a package registry's host"
    bad=1
fi
exit $bad
