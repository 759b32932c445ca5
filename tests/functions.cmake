set(PUNA_SHARED_DATA "${PROJECT_SOURCE_DIR}/../shared/data" CACHE PATH
    "Real models and vectors that are too large for the repository; tests that need them are skipped without")
set(PUNA_RUN_DIR "${PROJECT_BINARY_DIR}/run")  # skips and covered ISAs of the last run, for ./dev test's closing list
file(MAKE_DIRECTORY "${PUNA_RUN_DIR}")
set(PUNA_TEST_ENVIRONMENT
    "PUNA_SHARED_DATA=$ENV{PUNA_SHARED_DATA}" "PUNA_RUN_DIR=${PUNA_RUN_DIR}")
if("$ENV{PUNA_SHARED_DATA}" STREQUAL "")
    set(PUNA_TEST_ENVIRONMENT "PUNA_SHARED_DATA=${PUNA_SHARED_DATA}" "PUNA_RUN_DIR=${PUNA_RUN_DIR}")
endif()
if(PUNA_SANITIZE)
    list(APPEND PUNA_TEST_ENVIRONMENT "PUNA_SANITIZE=${PUNA_SANITIZE}"
        "ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1"
        "UBSAN_OPTIONS=print_stacktrace=1" "TSAN_OPTIONS=halt_on_error=1")
    # For tests that compute for minutes: half of their time would go into looking for returned stack frames.
    set(PUNA_LONG_SUMS "ASAN_OPTIONS=detect_stack_use_after_return=0:allocator_may_return_null=1")
endif()

# doctest's implementation and support.hpp's, compiled once.
if(PUNA_BUILD_TESTS)
    add_library(puna_test_support OBJECT "${CMAKE_CURRENT_LIST_DIR}/support.cpp")
    target_link_libraries(puna_test_support PUBLIC puna_doctest puna_flags)
    target_include_directories(puna_test_support PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
    target_compile_definitions(puna_test_support PRIVATE
        "PUNA_TEST_FIXTURES=\"${PROJECT_SOURCE_DIR}/tests/fixtures\"" "PUNA_TEST_SHARED=\"${PUNA_SHARED_DATA}\"")
endif()

# puna_test(NAME SOURCES a.cpp … [LINK target …] [LABELS …] [ENVIRONMENT A=b …] [TIMEOUT seconds] [LONG])
#   A doctest program, registered with ctest as NAME. It sees the core from inside; with LINK puna::puna it sees the
#   shared library instead, as a user does. LONG: registered with the label long, which only ./dev test --all runs.
function(puna_test name)
    cmake_parse_arguments(arg "LONG" "TIMEOUT" "SOURCES;LINK;LABELS;ENVIRONMENT" ${ARGN})
    if(NOT PUNA_BUILD_TESTS)
        return()
    endif()
    if(NOT arg_LINK)
        set(arg_LINK puna_core)
    endif()
    add_executable(test_${name} ${arg_SOURCES} $<TARGET_OBJECTS:puna_test_support>)
    target_link_libraries(test_${name} PRIVATE ${arg_LINK} puna_doctest puna_flags)
    target_include_directories(test_${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
    set_target_properties(test_${name} PROPERTIES OUTPUT_NAME ${name} CXX_EXTENSIONS OFF
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/bin")
    add_test(NAME ${name} COMMAND test_${name})
    puna_test_properties(${name} LABELS ${arg_LABELS} ENVIRONMENT ${arg_ENVIRONMENT} TIMEOUT ${arg_TIMEOUT})
    if(arg_LONG)
        set_property(TEST ${name} APPEND PROPERTY LABELS long)
    endif()
endfunction()

# puna_test_again(NAME OTHER [ENVIRONMENT …] [TIMEOUT s]): the program of test OTHER, run again in another environment.
function(puna_test_again name other)
    cmake_parse_arguments(arg "" "TIMEOUT" "LABELS;ENVIRONMENT" ${ARGN})
    if(NOT PUNA_BUILD_TESTS)
        return()
    endif()
    add_test(NAME ${name} COMMAND test_${other})
    puna_test_properties(${name} LABELS ${arg_LABELS} ENVIRONMENT ${arg_ENVIRONMENT} TIMEOUT ${arg_TIMEOUT})
endfunction()

# puna_script_test(NAME script.sh [ARGS …] [LABELS …] [ENVIRONMENT …] [TIMEOUT s]): bash; exit 77 means skipped.
function(puna_script_test name script)
    cmake_parse_arguments(arg "" "TIMEOUT" "ARGS;LABELS;ENVIRONMENT" ${ARGN})
    if(NOT PUNA_BUILD_TESTS)
        return()
    endif()
    add_test(NAME ${name} COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/${script}" ${arg_ARGS})
    puna_test_properties(${name} LABELS ${arg_LABELS} ENVIRONMENT ${arg_ENVIRONMENT} TIMEOUT ${arg_TIMEOUT})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
endfunction()

function(puna_test_properties name)
    cmake_parse_arguments(arg "" "TIMEOUT" "LABELS;ENVIRONMENT" ${ARGN})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 300)
    endif()
    if(PUNA_SANITIZE)
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 6")
    endif()
    set(environment ${PUNA_TEST_ENVIRONMENT} "PUNA_TEST_NAME=${name}" ${arg_ENVIRONMENT})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${environment}" LABELS "${arg_LABELS}"
        SKIP_RETURN_CODE 77)  # a program all of whose cases were skipped is no pass
endfunction()
