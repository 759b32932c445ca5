# Every dependency is the system's where there is one, else a pinned download. All of them are headers to us:
# CMake targets are left alone, since they bring link lines that we do not want (Debian's xsimd asks for -lxtl,
# which does not exist; fmt's for a shared library).
include(FetchContent)
find_package(Threads REQUIRED)

# puna_find_headers(NAME header FILE url URL sha256 HASH [subdir DIR] [suffixes DIR …])
#   PUNA_<NAME>_DIR is where the headers are: the system's (PUNA_<NAME>_INCLUDE can be set by hand), or downloaded.
function(puna_find_headers name)
    cmake_parse_arguments(arg "" "header;url;sha256;subdir" "suffixes" ${ARGN})
    find_path(PUNA_${name}_INCLUDE "${arg_header}" PATH_SUFFIXES ${arg_suffixes})
    mark_as_advanced(PUNA_${name}_INCLUDE)
    if(PUNA_${name}_INCLUDE)
        set(PUNA_${name}_DIR "${PUNA_${name}_INCLUDE}" PARENT_SCOPE)
        return()
    endif()
    string(TOLOWER "puna_${name}" content)
    message(STATUS "puna: no ${arg_header} on this system, fetching ${arg_url}")
    # The subdirectory does not exist: nothing of the dependency's own build is run.
    FetchContent_Declare(${content} URL "${arg_url}" URL_HASH SHA256=${arg_sha256} SOURCE_SUBDIR not-built)
    FetchContent_MakeAvailable(${content})
    set(PUNA_${name}_DIR "${${content}_SOURCE_DIR}/${arg_subdir}" PARENT_SCOPE)
endfunction()

puna_find_headers(EIGEN header Eigen/Core suffixes eigen3
    url https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2
    sha256 b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626)

# xsimd 8.1 to 14; an older one is as good as none.
find_path(PUNA_XSIMD_INCLUDE xsimd/xsimd.hpp)
if(PUNA_XSIMD_INCLUDE)
    file(STRINGS "${PUNA_XSIMD_INCLUDE}/xsimd/config/xsimd_config.hpp" _xsimd REGEX "define XSIMD_VERSION_M[AI][JN]OR")
    string(REGEX REPLACE "[^0-9]+" "." _xsimd "${_xsimd}")  # ".8.1."
    string(REGEX MATCH "[0-9]+\\.[0-9]+" _xsimd "${_xsimd}")
    if(_xsimd VERSION_LESS 8.1)
        message(STATUS "puna: xsimd ${_xsimd} is too old")
        set(PUNA_XSIMD_INCLUDE PUNA_XSIMD_INCLUDE-NOTFOUND CACHE PATH "" FORCE)
        set(_xsimd_header no-such-header/xsimd.hpp)
    endif()
endif()
if(NOT DEFINED _xsimd_header)
    set(_xsimd_header xsimd/xsimd.hpp)
endif()
puna_find_headers(XSIMD header ${_xsimd_header} subdir include
    url https://github.com/xtensor-stack/xsimd/archive/13.2.0.tar.gz
    sha256 edd8cd3d548c185adc70321c53c36df41abe64c1fe2c67bc6d93c3ecda82447a)

puna_find_headers(FMT header fmt/format-inl.h subdir include
    url https://github.com/fmtlib/fmt/archive/9.1.0.tar.gz
    sha256 5dea48d1fcddc3ec571ce2058e13910a0d4a6bab4cc09a809d8b1dd1c88ae6f2)
puna_find_headers(JSON header nlohmann/json.hpp subdir include
    url https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    sha256 d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
if(PUNA_BUILD_CLI)
    puna_find_headers(CLI11 header CLI/CLI.hpp subdir include
        url https://github.com/CLIUtils/CLI11/archive/v2.3.2.tar.gz
        sha256 aac0ab42108131ac5d3344a9db0fdf25c4db652296641955720a4fbe52334e22)
endif()
if(PUNA_BUILD_TESTS)
    puna_find_headers(DOCTEST header doctest/doctest.h
        url https://github.com/doctest/doctest/archive/refs/tags/v2.4.11.tar.gz
        sha256 632ed2c05a7f53fa961381497bf8069093f0d6628c5f26286161fbd32a560186)
endif()

# puna_system_headers(target DIR…): as system headers, but never /usr/include itself, which is searched anyway and
# breaks the standard library's #include_next when it comes early.
function(puna_system_headers target)
    foreach(dir IN LISTS ARGN)
        if(NOT dir STREQUAL "/usr/include")
            target_include_directories(${target} SYSTEM INTERFACE "${dir}")
        endif()
    endforeach()
endfunction()

add_library(puna_headers INTERFACE)
puna_system_headers(puna_headers ${PUNA_EIGEN_DIR} ${PUNA_XSIMD_DIR} ${PUNA_FMT_DIR} ${PUNA_JSON_DIR})
target_compile_definitions(puna_headers INTERFACE
    NDEBUG  # our own code has no assert; those in other people's headers may not end the host in a debug build either
    FMT_HEADER_ONLY=1
    # Ours must never meet a consumer's, compiled with other flags or of another version, at link time.
    Eigen=puna_eigen fmt=puna_fmt nlohmann=puna_nlohmann)
target_link_libraries(puna_headers INTERFACE Threads::Threads)

add_library(puna_cli11 INTERFACE)
puna_system_headers(puna_cli11 ${PUNA_CLI11_DIR})
add_library(puna_doctest INTERFACE)
puna_system_headers(puna_doctest ${PUNA_DOCTEST_DIR})
