# sentencepiece, always from source and always private. The system's shared library exports the symbols of a bundled
# protobuf and crashes a host that has its own; it also prints and exits.
#
# Makes two targets:
#   puna_sentencepiece      an object library: its objects go into libpuna.so, libpuna.a and the tests' core
#   puna_sentencepiece_api  an interface: what a unit needs to include sentencepiece_processor.h
include(FetchContent)

set(PUNA_SENTENCEPIECE_DIR "" CACHE PATH "An unpacked source tree of sentencepiece (0.1.97, or 0.2.0 and 0.2.1)")

if(PUNA_SYSTEM_SENTENCEPIECE)
    message(WARNING "PUNA_SYSTEM_SENTENCEPIECE: the system's sentencepiece brings its protobuf's symbols into every "
                    "program that loads libpuna, and may print or exit. Use it for experiments only.")
    find_library(PUNA_SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
    find_path(PUNA_SENTENCEPIECE_INCLUDE sentencepiece_processor.h REQUIRED)
    file(WRITE "${PROJECT_BINARY_DIR}/sentencepiece/empty.cpp" "")
    add_library(puna_sentencepiece OBJECT "${PROJECT_BINARY_DIR}/sentencepiece/empty.cpp")
    set_target_properties(puna_sentencepiece PROPERTIES POSITION_INDEPENDENT_CODE ON)
    add_library(puna_sentencepiece_api INTERFACE)
    target_include_directories(puna_sentencepiece_api SYSTEM INTERFACE "${PUNA_SENTENCEPIECE_INCLUDE}")
    set(PUNA_SENTENCEPIECE_LINK "${PUNA_SENTENCEPIECE_LIBRARY}")
    return()
endif()
set(PUNA_SENTENCEPIECE_LINK "")

# --- where the sources come from ---------------------------------------------------------------------------------
if(FETCHCONTENT_SOURCE_DIR_SENTENCEPIECE)
    set(_spm_origin "${FETCHCONTENT_SOURCE_DIR_SENTENCEPIECE}")
elseif(PUNA_SENTENCEPIECE_DIR)
    set(_spm_origin "${PUNA_SENTENCEPIECE_DIR}")
elseif(EXISTS "${PROJECT_SOURCE_DIR}/build/deps/sentencepiece/src/sentencepiece_processor.h")
    set(_spm_origin "${PROJECT_SOURCE_DIR}/build/deps/sentencepiece")  # what ./dev obtained
else()
    FetchContent_Declare(sentencepiece
        URL https://github.com/google/sentencepiece/releases/download/v0.2.1/sentencepiece-0.2.1.tar.gz
        URL_HASH SHA256=8138cec27c2f2282f4a34d9a016e3374cd40e5c6e9cb335063db66a0a3b71fad
        SOURCE_SUBDIR not-built)  # its own build is not ours: no trainer, no shared library, no tools
    FetchContent_MakeAvailable(sentencepiece)
    set(_spm_origin "${sentencepiece_SOURCE_DIR}/sentencepiece")
endif()
if(NOT EXISTS "${_spm_origin}/src/sentencepiece_processor.h" OR NOT EXISTS "${_spm_origin}/third_party/protobuf-lite")
    message(FATAL_ERROR "No sentencepiece sources with a bundled protobuf-lite in '${_spm_origin}'. "
                        "Run ./dev build, or set FETCHCONTENT_SOURCE_DIR_SENTENCEPIECE to a 0.1.97, 0.2.0 or 0.2.1 tree.")
endif()
file(STRINGS "${_spm_origin}/VERSION.txt" _spm_version LIMIT_COUNT 1)
message(STATUS "puna: sentencepiece ${_spm_version} from ${_spm_origin}")
if(_spm_version VERSION_LESS 0.2.1)
    message(STATUS "puna: sentencepiece ${_spm_version} is older than 0.2.1 and open to CVE-2026-1260; "
                   "puna never shows it a foreign model, but prefer a newer one")
endif()

# --- a patched copy in the build tree ----------------------------------------------------------------------------
set(_spm "${PROJECT_BINARY_DIR}/sentencepiece")
set(_spm_stamp "8 ${_spm_version} ${_spm_origin}")  # the number counts changes of the patches below
set(_spm_old "")
if(EXISTS "${_spm}/stamp")
    file(READ "${_spm}/stamp" _spm_old)
endif()

function(puna_patch file before after)
    file(READ "${file}" text)
    string(FIND "${text}" "${before}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "puna: ${file} is not as expected; check cmake/sentencepiece.cmake against this version. "
                            "Missing: ${before}")
    endif()
    string(REPLACE "${before}" "${after}" text "${text}")
    file(WRITE "${file}" "${text}")
endfunction()

if(NOT _spm_old STREQUAL _spm_stamp)
    file(REMOVE_RECURSE "${_spm}")
    file(COPY "${_spm_origin}/src" "${_spm_origin}/third_party" DESTINATION "${_spm}"
         FILES_MATCHING PATTERN "*.h" PATTERN "*.cc" PATTERN "*.inc")
    # config.h names the version only; the original comes from the project's own CMake.
    file(WRITE "${_spm}/config.h" "#define VERSION \"${_spm_version}\"\n#define PACKAGE \"sentencepiece\"\n"
                                  "#define PACKAGE_STRING \"sentencepiece\"\n#define INSTALL_DATADIR \"\"\n")
    # protobuf-lite counts an element before it has allocated it: after bad_alloc the destructor frees a wild pointer.
    set(_repeated "${_spm}/third_party/protobuf-lite/google/protobuf/repeated_field.h")
    puna_patch("${_repeated}"
"  ++rep_->allocated_size;
  typename TypeHandler::Type* result =
      TypeHandler::NewFromPrototype(prototype, arena_);
"
"  typename TypeHandler::Type* result =
      TypeHandler::NewFromPrototype(prototype, arena_);
  ++rep_->allocated_size;
")
    puna_patch("${_repeated}"
"  ++rep_->allocated_size;
  typename TypeHandler::Type* result =
      TypeHandler::New(arena_, std::move(value));
"
"  typename TypeHandler::Type* result =
      TypeHandler::New(arena_, std::move(value));
  ++rep_->allocated_size;
")
    # The list of chunks grows before the chunk is made: a failure in between leaked it (tests/unit/text_allocations.cpp).
    puna_patch("${_spm}/src/freelist.h" "      T* chunk = new T[chunk_size_];" "      freelist_.push_back(nullptr);
      T* chunk = new T[chunk_size_];")
    puna_patch("${_spm}/src/freelist.h" "freelist_.push_back(chunk)" "freelist_.back() = chunk")
    # The last two ways to end the process, and the only line printed on the way.
    puna_patch("${_spm}/src/error.cc"
        "std::cerr << \"Program terminated with an unrecoverable error.\" << std::endl" "(void)0")
    puna_patch("${_spm}/src/error.cc" "exit(-1)" "throw std::runtime_error(\"sentencepiece: unrecoverable error\")")
    puna_patch("${_spm}/src/error.cc" "exit(code)" "throw std::runtime_error(\"sentencepiece: unrecoverable error\")")
    # … and the reference to the command line flags that goes with them (not in a plain 0.1.97).
    file(READ "${_spm}/src/error.cc" _error_cc)
    string(REPLACE "ShutdownLibrary();" "" _error_cc "${_error_cc}")
    file(WRITE "${_spm}/src/error.cc" "${_error_cc}")
    # Tables of the generated code that stand outside any namespace.
    foreach(_proto IN ITEMS sentencepiece sentencepiece_model)
        puna_patch("${_spm}/src/builtin_pb/${_proto}.pb.cc" "scc_info_" "puna_scc_info_")
    endforeach()
    file(WRITE "${_spm}/stamp" "${_spm_stamp}")
endif()

# --- the library ---------------------------------------------------------------------------------------------------
set(_spm_sources
    bpe_model.cc char_model.cc error.cc filesystem.cc model_factory.cc model_interface.cc normalizer.cc
    sentencepiece_processor.cc unigram_model.cc util.cc word_model.cc
    builtin_pb/sentencepiece.pb.cc builtin_pb/sentencepiece_model.pb.cc)
list(TRANSFORM _spm_sources PREPEND "${_spm}/src/")
set(_spm_protobuf
    arena.cc arenastring.cc bytestream.cc coded_stream.cc common.cc extension_set.cc generated_enum_util.cc
    generated_message_table_driven_lite.cc generated_message_util.cc implicit_weak_message.cc int128.cc io_win32.cc
    message_lite.cc parse_context.cc repeated_field.cc status.cc statusor.cc stringpiece.cc stringprintf.cc
    structurally_valid.cc strutil.cc time.cc wire_format_lite.cc zero_copy_stream.cc zero_copy_stream_impl.cc
    zero_copy_stream_impl_lite.cc)
list(TRANSFORM _spm_protobuf PREPEND "${_spm}/third_party/protobuf-lite/")
if(EXISTS "${_spm}/third_party/absl/strings/string_view.cc")  # 0.1.97 has its own
    list(APPEND _spm_sources "${_spm}/third_party/absl/strings/string_view.cc")
endif()

add_library(puna_sentencepiece OBJECT ${_spm_sources} ${_spm_protobuf})
if(NOT MSVC)  # read once per model: small rather than fast
    set_source_files_properties(${_spm_protobuf} "${_spm}/src/builtin_pb/sentencepiece.pb.cc"
        "${_spm}/src/builtin_pb/sentencepiece_model.pb.cc" PROPERTIES COMPILE_OPTIONS -Os)
endif()
# Other namespaces, so that even a static consumer with its own protobuf, abseil or sentencepiece links.
set(_spm_names google=puna_google absl=puna_absl sentencepiece=puna_sentencepiece Darts=puna_darts
    _USE_INTERNAL_STRING_VIEW)
target_compile_definitions(puna_sentencepiece PRIVATE ${_spm_names} NDEBUG HAVE_PTHREAD=1
    "GOOGLE_PROTOBUF_MIN_LOG_LEVEL=(1L+level)")  # a level below every level: protobuf prints nothing
target_include_directories(puna_sentencepiece PRIVATE
    "${_spm}" "${_spm}/src" "${_spm}/src/builtin_pb" "${_spm}/third_party" "${_spm}/third_party/protobuf-lite")
set_target_properties(puna_sentencepiece PROPERTIES
    CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
if(MSVC)
    target_compile_options(puna_sentencepiece PRIVATE /w "/FI${PROJECT_SOURCE_DIR}/cmake/sentencepiece/throwing_common.h")
else()
    target_compile_options(puna_sentencepiece PRIVATE -w -ffunction-sections -fdata-sections
        "SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/sentencepiece/throwing_common.h")
endif()
target_link_libraries(puna_sentencepiece PRIVATE puna_codegen)

add_library(puna_sentencepiece_api INTERFACE)
target_compile_definitions(puna_sentencepiece_api INTERFACE ${_spm_names})
target_include_directories(puna_sentencepiece_api SYSTEM INTERFACE "${_spm}/src" "${_spm}")
