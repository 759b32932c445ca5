// Writes zips of stored entries, right or with entries that lie.
#pragma once

#include <cstdint>
#include <string>

namespace puna_test {

inline void put_number(std::string& out, std::uint64_t n, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(n >> (8 * i));
}

// Stored entries alone; a CRC of 0 is what torch writes when told not to compute it.
class ZipWriter {
 public:
  // Returns where the entry's own bytes begin.
  std::size_t add(const std::string& name, const std::string& bytes) {
    const std::size_t header = out_.size();
    local(out_, name, bytes);
    list(name, bytes.size(), header);
    return header + 30 + name.size();
  }
  // An entry in the central directory alone, its local header at `header`.
  void list(const std::string& name, std::size_t size, std::size_t header) {
    put_number(central_, 0x02014b50, 4);
    for (int i = 0; i < 8; ++i) put_number(central_, 0, 2);
    put_number(central_, size, 4);
    put_number(central_, size, 4);
    put_number(central_, name.size(), 2);
    for (int i = 0; i < 4; ++i) put_number(central_, 0, 2);
    put_number(central_, 0, 4);
    put_number(central_, header, 4);
    central_ += name;
    ++entries_;
  }
  static void local(std::string& out, const std::string& name, const std::string& bytes) {
    put_number(out, 0x04034b50, 4);
    for (int i = 0; i < 7; ++i) put_number(out, 0, 2);
    put_number(out, bytes.size(), 4);
    put_number(out, bytes.size(), 4);
    put_number(out, name.size(), 2);
    put_number(out, 0, 2);
    out += name + bytes;
  }
  std::string finish() {
    const std::size_t at = out_.size();
    out_ += central_;
    put_number(out_, 0x06054b50, 4);
    put_number(out_, 0, 4);
    put_number(out_, entries_, 2);
    put_number(out_, entries_, 2);
    put_number(out_, central_.size(), 4);
    put_number(out_, at, 4);
    put_number(out_, 0, 2);
    return out_;
  }

 private:
  std::string out_, central_;
  std::uint64_t entries_ = 0;
};

}  // namespace puna_test
