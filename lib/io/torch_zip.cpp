#include "torch_zip.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"

namespace puna::io {
namespace {

constexpr std::uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50;
constexpr std::uint32_t end64_signature = 0x06064b50, locator64_signature = 0x07064b50;
constexpr std::uint64_t local_bytes = 30, central_bytes = 46, end_bytes = 22, end64_bytes = 56, locator64_bytes = 20;
constexpr std::uint64_t max_directory = std::uint64_t{256} << 20;

std::uint64_t number(std::string_view bytes, std::size_t at, std::size_t n) {
  std::uint64_t value = 0;
  for (std::size_t i = n; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[at + i]);
  return value;
}
std::uint16_t u16(std::string_view b, std::size_t at) { return static_cast<std::uint16_t>(number(b, at, 2)); }
std::uint32_t u32(std::string_view b, std::size_t at) { return static_cast<std::uint32_t>(number(b, at, 4)); }
std::uint64_t u64(std::string_view b, std::size_t at) { return number(b, at, 8); }

[[noreturn]] void broken(const File& file, const std::string& what) {
  fail(Code::format, file.name() + ": zip: " + what);
}

struct Directory {
  std::uint64_t offset = 0, size = 0, entries = 0;
};

// The end record closes the file, but for its own comment of up to 64 KiB.
std::uint64_t find_end(const File& file, std::string_view tail, std::uint64_t tail_offset) {
  for (std::size_t at = tail.size() - end_bytes + 1; at-- > 0;)
    if (u32(tail, at) == end_signature && at + end_bytes + u16(tail, at + 20) == tail.size()) return tail_offset + at;
  broken(file, "no end of central directory: the file is cut short, or no zip");
}

// Large archives keep the true values in a second record before the end record; torch always writes one.
std::optional<Directory> find_directory_64(const File& file, std::uint64_t end) {
  if (end < locator64_bytes) return std::nullopt;
  const FileBytes locator(file, end - locator64_bytes, locator64_bytes);
  if (u32(locator.view(), 0) != locator64_signature) return std::nullopt;
  const std::uint64_t at = u64(locator.view(), 8);
  const std::uint64_t limit = end - locator64_bytes;
  if (limit < end64_bytes || at > limit - end64_bytes)
    broken(file, "the zip64 end record's offset " + std::to_string(at) + " lies past " + std::to_string(limit));
  const FileBytes record(file, at, end64_bytes);
  const auto b = record.view();
  if (u32(b, 0) != end64_signature) broken(file, "no zip64 end record at byte " + std::to_string(at));
  if (u32(b, 16) != 0 || u32(b, 20) != 0) fail(Code::unsupported, file.name() + ": zip: spans several disks");
  return Directory{u64(b, 48), u64(b, 40), u64(b, 32)};
}

Directory find_directory(const File& file) {
  if (file.size() < end_bytes) broken(file, std::to_string(file.size()) + " bytes are too few");
  const std::uint64_t tail_size = std::min<std::uint64_t>(file.size(), end_bytes + 65535);
  const FileBytes tail(file, file.size() - tail_size, tail_size);
  const std::uint64_t end = find_end(file, tail.view(), file.size() - tail_size);
  const auto b = tail.view().substr(static_cast<std::size_t>(end - (file.size() - tail_size)));
  Directory d;
  if (const auto large = find_directory_64(file, end)) {
    d = *large;
  } else {
    if (u16(b, 4) != 0 || u16(b, 6) != 0) fail(Code::unsupported, file.name() + ": zip: spans several disks");
    d = {u32(b, 16), u32(b, 12), u16(b, 10)};
  }
  if (d.offset > end || d.size > end - d.offset || d.size > max_directory)
    broken(file, "central directory of " + std::to_string(d.size) + " bytes at " + std::to_string(d.offset) +
                     " does not fit before byte " + std::to_string(end));
  if (d.entries > d.size / central_bytes)
    broken(file, std::to_string(d.entries) + " entries do not fit a central directory of " + std::to_string(d.size) +
                     " bytes");
  return d;
}

struct Record {
  ZipEntry entry;
  std::uint64_t header = 0;  // of the local header
  std::uint64_t end = 0;
};

std::string called(const Record& r) { return "entry " + puna::quoted(r.entry.name); }

// Sizes of 2^32 - 1 are found in the extra field, those alone and in this order.
void read_zip64(const File& file, std::string_view extra, Record& r, std::uint64_t& packed) {
  constexpr std::uint64_t elsewhere = 0xFFFFFFFF;
  const std::array<std::uint64_t*, 3> fields{&r.entry.size, &packed, &r.header};
  while (extra.size() >= 4) {
    const std::size_t n = u16(extra, 2);
    if (n > extra.size() - 4) broken(file, called(r) + ": an extra field longer than its room");
    if (u16(extra, 0) == 1) {
      std::string_view values = extra.substr(4, n);
      for (std::uint64_t* field : fields) {
        if (*field != elsewhere) continue;
        if (values.size() < 8) broken(file, called(r) + ": its zip64 field is too short");
        *field = u64(values, 0);
        values.remove_prefix(8);
      }
      return;
    }
    extra.remove_prefix(4 + n);
  }
}

// One record of the central directory, removed from the front of `rest`.
Record read_central(const File& file, std::string_view& rest) {
  if (rest.size() < central_bytes || u32(rest, 0) != central_signature)
    broken(file, "the central directory is damaged");
  const std::size_t name = u16(rest, 28), extra = u16(rest, 30), comment = u16(rest, 32);
  if (name + extra + comment > rest.size() - central_bytes) broken(file, "the central directory is cut short");
  Record r;
  r.entry.name = rest.substr(central_bytes, name);
  if (r.entry.name.find('\0') != std::string::npos || r.entry.name.find('\\') != std::string::npos)
    broken(file, called(r) + ": a NUL or backslash in its name");
  r.entry.crc = u32(rest, 16);
  r.entry.size = u32(rest, 24);
  r.header = u32(rest, 42);
  std::uint64_t packed = u32(rest, 20);
  const std::string which = file.name() + ": zip: " + called(r);
  if (u16(rest, 8) & 1) fail(Code::unsupported, which + " is encrypted");
  if (u16(rest, 10) != 0)
    fail(Code::unsupported, which + " is compressed (method " + std::to_string(u16(rest, 10)) +
                                "): only stored entries can be read in place");
  if (u16(rest, 34) != 0 && u16(rest, 34) != 0xFFFF) fail(Code::unsupported, which + " is on another disk");
  read_zip64(file, rest.substr(central_bytes + name, extra), r, packed);
  if (packed != r.entry.size)
    broken(file, called(r) + " is stored, but its two sizes " + std::to_string(packed) + " and " +
                     std::to_string(r.entry.size) + " differ");
  rest.remove_prefix(central_bytes + name + extra + comment);
  return r;
}

// The local header says where the bytes begin, and must agree about the name.
void read_local(const File& file, std::uint64_t limit, Record& r) {
  const auto refuse = [&](const std::string& what) { broken(file, called(r) + ": " + what); };
  if (limit < local_bytes || r.header > limit - local_bytes)
    refuse("its header offset " + std::to_string(r.header) + " lies past the entries' end at " + std::to_string(limit));
  const FileBytes header(file, r.header, local_bytes);
  const auto b = header.view();
  if (u32(b, 0) != local_signature) refuse("no local header at byte " + std::to_string(r.header));
  if ((u16(b, 6) & 1) || u16(b, 8) != 0) refuse("its two headers differ about compression or encryption");
  const std::uint64_t name = u16(b, 26), extra = u16(b, 28);
  const std::uint64_t room = limit - r.header - local_bytes;
  if (name + extra > room || r.entry.size > room - name - extra)
    refuse(std::to_string(r.entry.size) + " bytes at " + std::to_string(r.header) + " run past the entries' end at " +
           std::to_string(limit));
  const FileBytes local_name(file, r.header + local_bytes, name);
  if (local_name.view() != r.entry.name) refuse("its local header says " + puna::quoted(local_name.view()));
  const FileBytes extra_bytes(file, r.header + local_bytes + name, extra);
  for (auto rest = extra_bytes.view(); rest.size() >= 4; rest.remove_prefix(4 + u16(rest, 2)))
    if (u16(rest, 2) > rest.size() - 4) refuse("an extra field longer than its room");
  r.entry.offset = r.header + local_bytes + name + extra;
  r.end = r.entry.offset + r.entry.size;
}

}  // namespace

FileBytes::FileBytes(const File& file, std::uint64_t offset, std::uint64_t n) {
  if (offset > file.size() || n > file.size() - offset) fail(Code::format, file.name() + ": the file is cut short");
  if (const std::byte* data = file.data()) {
    view_ = {reinterpret_cast<const char*>(data) + offset, static_cast<std::size_t>(n)};
    return;
  }
  copy_.resize(static_cast<std::size_t>(n));
  file.read(offset, copy_.data(), copy_.size());
  view_ = copy_;
}

Zip::Zip(std::shared_ptr<const File> file) : file_(std::move(file)) {
  const Directory directory = find_directory(*file_);
  const FileBytes bytes(*file_, directory.offset, directory.size);
  std::string_view rest = bytes.view();
  std::vector<Record> records;
  records.reserve(static_cast<std::size_t>(directory.entries));
  for (std::uint64_t i = 0; i < directory.entries; ++i) records.push_back(read_central(*file_, rest));
  if (!rest.empty())
    broken(*file_, std::to_string(rest.size()) + " bytes of the central directory follow its " +
                       std::to_string(directory.entries) + " entries");
  for (Record& r : records) read_local(*file_, directory.offset, r);

  std::sort(records.begin(), records.end(), [](const Record& a, const Record& b) { return a.header < b.header; });
  for (std::size_t i = 1; i < records.size(); ++i)
    if (records[i].header < records[i - 1].end)
      broken(*file_, called(records[i - 1]) + " and " + called(records[i]) + " overlap at byte " +
                         std::to_string(records[i].header));
  entries_.reserve(records.size());
  for (Record& r : records) entries_.push_back(std::move(r.entry));
  std::sort(entries_.begin(), entries_.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < entries_.size(); ++i)
    if (entries_[i].name == entries_[i - 1].name)
      broken(*file_, "entry " + puna::quoted(entries_[i].name) + " stands twice");
}

const ZipEntry* Zip::find(std::string_view name) const {
  const auto less = [](const ZipEntry& e, std::string_view n) { return e.name < n; };
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), name, less);
  return at != entries_.end() && at->name == name ? &*at : nullptr;
}

bool zip_crc_matches(const File& file, const ZipEntry& entry) {
  std::uint32_t crc = ~0u;
  std::array<unsigned char, 65536> buffer;
  for (std::uint64_t done = 0; done < entry.size;) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), entry.size - done));
    file.read(entry.offset + done, buffer.data(), n);
    for (std::size_t i = 0; i < n; ++i) {
      crc ^= buffer[i];
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xEDB88320u & (~(crc & 1) + 1));
    }
    done += n;
  }
  return ~crc == entry.crc;
}

}  // namespace puna::io
