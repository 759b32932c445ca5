# What the library cannot do without, however it is built and by whomever.

# Code generation, for everything that ends up in libpuna (sentencepiece too).
add_library(puna_codegen INTERFACE)
if(MSVC)
    target_compile_options(puna_codegen INTERFACE /utf-8 /EHsc /bigobj /fp:precise)
    target_compile_definitions(puna_codegen INTERFACE NOMINMAX _CRT_SECURE_NO_WARNINGS)
else()
    target_compile_options(puna_codegen INTERFACE
        -ffp-contract=off     # quantizers stay bit-identical to ggml's; kernels that want an FMA write one
        -ffunction-sections -fdata-sections  # what is not used is dropped at link time
        "-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=")  # no builder's folder in messages or debug data
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # A unique symbol pins the library in memory for ever: dlclose would do nothing.
        target_compile_options(puna_codegen INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-gnu-unique>)
    endif()
endif()

# Our own sources on top of that. Private to this build: nothing of it reaches a consumer.
add_library(puna_flags INTERFACE)
target_compile_features(puna_flags INTERFACE cxx_std_20)
target_include_directories(puna_flags INTERFACE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/lib")
target_link_libraries(puna_flags INTERFACE puna_codegen puna_headers puna_warnings)

# Objects of the core and of the C ABI: PIC, hidden, C++20 without extensions.
function(puna_library_object target)
    target_link_libraries(${target} PRIVATE puna_flags)
    set_target_properties(${target} PROPERTIES
        POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF C_EXTENSIONS OFF
        C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
endfunction()
