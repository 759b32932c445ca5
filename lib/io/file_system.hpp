// What lib/io/file.cpp needs of the operating system: file_posix.cpp or file_windows.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "puna/io/file.hpp"

namespace puna {

[[noreturn]] void fail_io(const std::string& name, const std::string& what);
// With the operating system's text for the error number.
[[noreturn]] void fail_io(const std::string& name, const std::string& what, int error);

std::shared_ptr<const File> open_path(const std::string& path);
std::shared_ptr<const File> open_descriptor(int descriptor, std::uint64_t offset, std::uint64_t size);

}  // namespace puna
