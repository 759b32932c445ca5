# Every dependency is the system's where it is good enough, else a pinned download. Versions are the ones tried.
include(FetchContent)
find_package(Threads REQUIRED)

# --- Eigen 3.4 -----------------------------------------------------------------------------------------------------
find_package(Eigen3 3.4 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
    FetchContent_Declare(puna_eigen3 URL https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
        URL_HASH SHA256=8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72 SOURCE_SUBDIR not-used)
    FetchContent_MakeAvailable(puna_eigen3)
    set(_eigen_include "${puna_eigen3_SOURCE_DIR}")
else()
    get_target_property(_eigen_include Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
endif()

# --- xsimd 8.1 to 14 -----------------------------------------------------------------------------------------------
# Only the headers are taken: Debian's CMake target links -lxtl, which does not exist.
find_path(PUNA_XSIMD_INCLUDE xsimd/xsimd.hpp)
mark_as_advanced(PUNA_XSIMD_INCLUDE)
set(_xsimd_major 0)
if(PUNA_XSIMD_INCLUDE)
    file(STRINGS "${PUNA_XSIMD_INCLUDE}/xsimd/config/xsimd_config.hpp" _xsimd_major
         REGEX "define XSIMD_VERSION_MAJOR")
    string(REGEX REPLACE "[^0-9]" "" _xsimd_major "${_xsimd_major}")
endif()
if(_xsimd_major GREATER_EQUAL 8)
    set(_xsimd_include "${PUNA_XSIMD_INCLUDE}")
else()
    FetchContent_Declare(puna_xsimd URL https://github.com/xtensor-stack/xsimd/archive/refs/tags/13.0.0.tar.gz
        SOURCE_SUBDIR not-used)
    FetchContent_MakeAvailable(puna_xsimd)
    set(_xsimd_include "${puna_xsimd_SOURCE_DIR}/include")
endif()

# --- fmt and nlohmann-json, headers only -----------------------------------------------------------------------------
find_path(PUNA_FMT_INCLUDE fmt/format-inl.h)
mark_as_advanced(PUNA_FMT_INCLUDE)
if(PUNA_FMT_INCLUDE)
    set(_fmt_include "${PUNA_FMT_INCLUDE}")
else()
    FetchContent_Declare(puna_fmt URL https://github.com/fmtlib/fmt/archive/refs/tags/9.1.0.tar.gz
        SOURCE_SUBDIR not-used)
    FetchContent_MakeAvailable(puna_fmt)
    set(_fmt_include "${puna_fmt_SOURCE_DIR}/include")
endif()

find_path(PUNA_JSON_INCLUDE nlohmann/json.hpp)
mark_as_advanced(PUNA_JSON_INCLUDE)
if(PUNA_JSON_INCLUDE)
    set(_json_include "${PUNA_JSON_INCLUDE}")
else()
    FetchContent_Declare(puna_json URL https://github.com/nlohmann/json/releases/download/v3.11.2/json.tar.xz
        SOURCE_SUBDIR not-used)
    FetchContent_MakeAvailable(puna_json)
    set(_json_include "${puna_json_SOURCE_DIR}/include")
endif()

# --- for the tool and the tests only -------------------------------------------------------------------------------
if(PUNA_BUILD_CLI)
    find_path(PUNA_CLI11_INCLUDE CLI/CLI.hpp)
    mark_as_advanced(PUNA_CLI11_INCLUDE)
    if(PUNA_CLI11_INCLUDE)
        set(_cli11_include "${PUNA_CLI11_INCLUDE}")
    else()
        FetchContent_Declare(puna_cli11 URL https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.1.2.tar.gz
            SOURCE_SUBDIR not-used)
        FetchContent_MakeAvailable(puna_cli11)
        set(_cli11_include "${puna_cli11_SOURCE_DIR}/include")
    endif()
    add_library(puna_cli11 INTERFACE)
    target_include_directories(puna_cli11 SYSTEM INTERFACE "${_cli11_include}")
endif()

if(PUNA_BUILD_TESTS)
    find_path(PUNA_DOCTEST_INCLUDE doctest/doctest.h)
    mark_as_advanced(PUNA_DOCTEST_INCLUDE)
    if(PUNA_DOCTEST_INCLUDE)
        set(_doctest_include "${PUNA_DOCTEST_INCLUDE}")
    else()
        FetchContent_Declare(puna_doctest URL https://github.com/doctest/doctest/archive/refs/tags/v2.4.11.tar.gz
            SOURCE_SUBDIR not-used)
        FetchContent_MakeAvailable(puna_doctest)
        set(_doctest_include "${puna_doctest_SOURCE_DIR}")
    endif()
    add_library(puna_doctest INTERFACE)
    target_include_directories(puna_doctest SYSTEM INTERFACE "${_doctest_include}")
endif()

add_library(puna_headers INTERFACE)
foreach(_include IN ITEMS ${_eigen_include} ${_xsimd_include} ${_fmt_include} ${_json_include})
    # /usr/include as -isystem breaks #include_next of the standard library, and it is searched anyway.
    if(NOT _include STREQUAL "/usr/include")
        target_include_directories(puna_headers SYSTEM INTERFACE "${_include}")
    endif()
endforeach()
target_compile_definitions(puna_headers INTERFACE FMT_HEADER_ONLY=1
    Eigen=puna_eigen)  # ours must never meet a consumer's Eigen, compiled with other flags, at link time
target_link_libraries(puna_headers INTERFACE Threads::Threads)
