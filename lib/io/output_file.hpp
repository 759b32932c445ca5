// What lib/io/atomic_file.cpp needs of the operating system: output_posix.cpp or output_windows.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace puna {

class OutputFile {
 public:
  virtual ~OutputFile() = default;  // closes; what stands on the disk is removed by name
  // All of it, or Error(io) naming `shown`.
  virtual void write(std::uint64_t offset, const std::byte* data, std::size_t n) = 0;
  virtual void sync() = 0;   // on the disk
  virtual void close() = 0;  // before a rename, with the last of the errors
};

// What stands under a name, the end of a chain of links included.
enum class Standing { nothing, file, empty_folder, folder, other };
Standing standing(const std::string& path, std::string& kind);  // kind: for messages, "a folder"
std::string follow_links(const std::string& path);              // the path itself where there is nothing to follow

// A new file or folder, null or false when the name is taken. `shown` is what messages call it.
std::unique_ptr<OutputFile> create_output(const std::string& path, const std::string& shown);
bool create_folder(const std::string& path, const std::string& shown);
// Over a file, or over an empty folder.
void rename_output(const std::string& from, const std::string& to, const std::string& shown);
// The names in a folder are on the disk, where the system has such a notion.
void sync_folder(const std::string& path, const std::string& shown);
// Best effort, never throws.
void remove_output(const std::string& path) noexcept;
void remove_tree(const std::string& path) noexcept;
std::uint64_t process_number();

}  // namespace puna
