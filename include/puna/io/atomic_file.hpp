// Output that is whole or not there: written beside its name, flushed to the disk, then renamed. Without commit() nothing
// stays, whatever happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace puna {

class OutputFile;  // the operating system's side

class AtomicFile {
 public:
  // Creates "PATH.tmp-…" for itself. Error(io) names the path and the system's reason; a folder, a device or a pipe under
  // the name is refused. A symbolic link stays, and the file that it leads to is replaced.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t n);  // Error(io): a full disk, a failed device
  void pad_to(std::uint64_t multiple);          // zeros up to a multiple
  // The next write goes there; bytes never written read as zeros.
  void seek(std::uint64_t position);
  std::uint64_t position() const { return position_; }
  const std::string& path() const { return path_; }
  // Flushes, renames over `path`, and makes the folder remember it.
  void commit();

 private:
  void flush();

  std::string path_, target_, temporary_;  // target_: path_ with links followed
  std::unique_ptr<OutputFile> file_;
  std::vector<std::byte> buffer_;  // of what stands before position_
  std::uint64_t position_ = 0;
  bool failed_ = false;  // after a failed write nothing may be committed
};

// A folder of files with the same rule: filled beside its name, renamed when it is complete. The name must be free, or an
// empty folder.
class AtomicFolder {
 public:
  explicit AtomicFolder(std::string path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  // The path of a member while the folder is being filled.
  std::string member(const std::string& name) const;
  const std::string& path() const { return path_; }
  void commit();

 private:
  std::string path_, target_, temporary_;
};

}  // namespace puna
