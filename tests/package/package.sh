# package.sh find_package | pkg_config | subdirectory: builds the consumer that way, shared and static, and runs it.
set -euo pipefail
way=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$PUNA_BUILD/package/$way
rm -rf "$work"
mkdir -p "$work"
prefix=$work/prefix

configure=(cmake -G "$PUNA_GENERATOR" -DCMAKE_BUILD_TYPE=Debug -DPUNA_CONSUMER_WAY="$way")
if command -v ccache >/dev/null 2>&1; then
    configure+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
run_all() {
    local program
    for program in c_shared cpp_shared c_static; do
        echo "+ $program"
        "$work/build/$program"
    done
    # The static one needs no libpuna at run time.
    if ldd "$work/build/c_static" | grep -q libpuna; then echo "c_static still needs libpuna.so"; exit 1; fi
}

case $way in
    find_package)
        cmake --install "$PUNA_BUILD" --prefix "$prefix" >"$work/install.log"
        "${configure[@]}" -S "$here/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix"
        cmake --build "$work/build" -j 2
        run_all
        "${configure[@]}" -S "$here/consumer_c" -B "$work/build_c" -DCMAKE_PREFIX_PATH="$prefix"
        cmake --build "$work/build_c" -j 2
        "$work/build_c/c_only_puna"
        "$work/build_c/c_only_static"
        # What was installed names neither the source tree nor the build tree.
        if grep -rlF -e "$PUNA_SOURCE" "$prefix" --include='*.cmake' --include='*.pc' --include='*.h*'; then
            echo "the files above name the source tree"
            exit 1
        fi
        ;;
    pkg_config)
        if ! command -v pkg-config >/dev/null 2>&1; then
            echo "$PUNA_TEST_NAME - no pkg-config" >>"$PUNA_RUN_DIR/skipped.txt"
            exit 77
        fi
        cmake --install "$PUNA_BUILD" --prefix "$prefix" >"$work/install.log"
        pc=$(dirname "$(find "$prefix" -name puna.pc)")
        export PKG_CONFIG_PATH=$pc
        mkdir -p "$work/build"
        cd "$work/build"
        # shellcheck disable=SC2046
        {
            "$CC" -std=c99 -o c_shared "$here/consumer/main.c" $(pkg-config --cflags --libs puna)
            "$CXX" -std=c++17 -o cpp_shared "$here/consumer/main.cpp" $(pkg-config --cflags --libs puna)
            "$CC" -std=c99 -o c_static "$here/consumer/main.c" $(pkg-config --cflags puna) \
                "$(dirname "$pc")/libpuna.a" $(pkg-config --static --libs-only-l puna | sed 's/-lpuna//')
        }
        export LD_LIBRARY_PATH
        LD_LIBRARY_PATH=$(dirname "$pc")
        run_all
        ;;
    subdirectory)
        # The other ISA paths are slow to compile and have nothing to add here.
        "${configure[@]}" -S "$here/consumer" -B "$work/build" -DPUNA_SOURCE="$PUNA_SOURCE" -DPUNA_ISA_ALL=OFF \
            -DFETCHCONTENT_SOURCE_DIR_SENTENCEPIECE="$PUNA_SPM"
        cmake --build "$work/build" -j 2
        run_all
        # A guest brings no tests, tools or examples along.
        if [ -e "$work/build/puna/tests" ] || [ -e "$work/build/puna/bench" ]; then echo "brought its tests along"; exit 1; fi
        ;;
esac
