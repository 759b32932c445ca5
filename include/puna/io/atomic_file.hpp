// Output that is whole or not there: written beside its name, flushed to the disk, then renamed. Without commit() nothing
// stays, whatever happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace puna {

class AtomicFile {
 public:
  // Creates "PATH.tmp-…" for itself. Error(io) names the path and the system's reason.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t n);  // Error(io): a full disk, a failed device
  void pad_to(std::uint64_t multiple);          // zeros up to a multiple
  std::uint64_t position() const { return position_; }
  const std::string& path() const { return path_; }
  // Flushes, renames over `path`, and makes the folder remember it.
  void commit();

 private:
  std::string path_, temporary_;
  int descriptor_ = -1;
  std::uint64_t position_ = 0;
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
  std::string path_, temporary_;
};

}  // namespace puna
