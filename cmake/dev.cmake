# For developers: warnings, sanitizers, fuzzers. As a guest in another build all of it is off.
add_library(puna_warnings INTERFACE)
if(PUNA_TOP_LEVEL)
    if(MSVC)
        target_compile_options(puna_warnings INTERFACE /W4)
    else()
        target_compile_options(puna_warnings INTERFACE
            -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wvla
            $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
            -Wconversion -Wno-sign-conversion)  # sign conversions: indices drown the rest
    endif()
    if(PUNA_WERROR)
        target_compile_options(puna_warnings INTERFACE $<IF:$<CXX_COMPILER_ID:MSVC>,/WX,-Werror>)
    endif()
endif()

if(PUNA_SANITIZE AND PUNA_TOP_LEVEL)
    add_compile_options(-fsanitize=${PUNA_SANITIZE} -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${PUNA_SANITIZE})
    if(PUNA_SANITIZE MATCHES "undefined")
        add_compile_options(-fno-sanitize-recover=undefined)
    endif()
endif()

# puna_fuzzer(NAME SOURCES a.cpp … CORPUS folder)
#   A libFuzzer program fuzz_NAME over the core, listed in fuzzers.txt for ./dev fuzz. CORPUS is relative to the caller.
function(puna_fuzzer name)
    cmake_parse_arguments(arg "" "CORPUS" "SOURCES" ${ARGN})
    if(NOT PUNA_BUILD_FUZZERS)
        return()
    endif()
    add_executable(fuzz_${name} ${arg_SOURCES})
    target_link_libraries(fuzz_${name} PRIVATE puna_core puna_flags)
    target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    set_property(GLOBAL APPEND PROPERTY PUNA_FUZZERS "${name} ${CMAKE_CURRENT_SOURCE_DIR}/${arg_CORPUS}")
endfunction()

# The whole core is instrumented for coverage, or the fuzzer would be blind to what it runs.
if(PUNA_BUILD_FUZZERS)
    if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "PUNA_BUILD_FUZZERS needs clang's libFuzzer: cmake --preset fuzz")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
