# guest.sh rust | go: the other languages' own suites over libpuna.so, against the library of this build.
# They look in build/lib by themselves; PUNA_LIB_DIR and the linker's own variables point them here instead.
set -euo pipefail
guest=$1
skip() {
    echo "skipped: $1"
    echo "$PUNA_TEST_NAME - $1" >>"$PUNA_RUN_DIR/skipped.txt"
    exit 77
}
export PUNA_LIB_DIR=$PUNA_LIBRARY_DIR
export PUNA_INCLUDE_DIR=$PUNA_SOURCE/capi/include
export LD_LIBRARY_PATH=$PUNA_LIB_DIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export DYLD_LIBRARY_PATH=$PUNA_LIB_DIR

cd "$PUNA_SOURCE/examples/$guest" 2>/dev/null || skip "no examples/$guest yet"
case $guest in
    rust)
        [ -f Cargo.toml ] || skip "no examples/rust/Cargo.toml yet"
        command -v cargo >/dev/null 2>&1 || skip "no cargo on this machine, and none could be installed"
        export CARGO_TARGET_DIR=$PUNA_BUILD/rust RUSTFLAGS="-L native=$PUNA_LIB_DIR ${RUSTFLAGS:-}"
        cargo test --offline
        ;;
    go)
        [ -f go.mod ] || skip "no examples/go/go.mod yet"
        command -v go >/dev/null 2>&1 || skip "no go on this machine, and none could be installed"
        export CGO_ENABLED=1 CGO_CFLAGS="-I$PUNA_INCLUDE_DIR -O2" CGO_LDFLAGS="-L$PUNA_LIB_DIR"
        # No other toolchain is fetched, and results are not taken from a cache that cannot see libpuna.so change.
        export GOTOOLCHAIN=local GOFLAGS=-mod=mod
        [ -n "${HOME:-}" ] || export GOCACHE=$PUNA_BUILD/go
        go test -count=1 ./...
        ;;
esac
