#include "puna/io/torch_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "puna/base/checked.hpp"
#include "puna/io/json.hpp"
#include "puna/io/printable.hpp"
#include "torch_pickle.hpp"
#include "torch_zip.hpp"

namespace puna {
namespace {

using io::FileBytes;
using io::Pickle;
using io::PickleKind;
using io::PickleTensor;
using io::PickleValue;
using io::Zip;
using io::ZipEntry;

constexpr std::size_t max_depth = 24;
constexpr std::size_t max_scalars = 10'000;
constexpr std::size_t max_name = 1024;

// The first bytes of a file of torch before 1.6: a pickle of its magic number.
constexpr std::string_view legacy_start{"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8P\x19", 14};

std::string_view start_of(const File& file, std::string& buffer) {
  buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 16)));
  file.read(0, buffer.data(), buffer.size());
  return buffer;
}

// "<root>/data.pkl" tells the root.
std::string find_root(const Zip& zip) {
  constexpr std::string_view tail = "/data.pkl";
  const std::string* found = nullptr;
  for (const ZipEntry& e : zip.entries()) {
    if (e.name.size() <= tail.size() || !e.name.ends_with(tail)) continue;
    if (e.name.find('/') != e.name.size() - tail.size()) continue;
    if (found) fail(Code::format, zip.file()->name() + ": two entries named data.pkl");
    found = &e.name;
  }
  if (!found) fail(Code::format, zip.file()->name() + ": a zip, but no torch checkpoint: it holds no <name>/data.pkl");
  return found->substr(0, found->size() - tail.size());
}

void check_byte_order(const Zip& zip, const std::string& root) {
  const ZipEntry* entry = zip.find(root + "/byteorder");
  if (!entry) return;  // before torch 2.1 there was none
  const FileBytes bytes(*zip.file(), entry->offset, std::min<std::uint64_t>(entry->size, 16));
  if (bytes.view() != "little")
    fail(Code::unsupported,
         zip.file()->name() + ": byte order " + puna::quoted(bytes.view()) + ", but only little is read");
}

// Where a tensor's elements lie in the file, with every one of them inside its storage.
class Placer {
 public:
  Placer(const Zip& zip, const std::string& root, const Pickle& pickle) : zip_(zip), root_(root), pickle_(pickle) {}

  StoredTensor place(const PickleTensor& t, std::string name) const {
    const auto& storage = pickle_.storages[t.storage];
    const auto& type = io::torch_type(t.type);
    const std::string where = zip_.file()->name() + ": tensor " + puna::quoted(name) + ": ";
    const ZipEntry* entry = zip_.find(root_ + "/data/" + std::string(storage.key));
    if (!entry) fail(Code::format, where + "there is no entry for storage " + puna::quoted(storage.key));
    const std::uint64_t unit = storage.type == io::untyped_storage ? 1 : io::torch_type(storage.type).bytes;
    const auto storage_bytes = checked_mul(storage.elements, unit);
    if (!storage_bytes || *storage_bytes != entry->size)
      fail(Code::format, where + "storage " + puna::quoted(storage.key) + " claims " +
                             std::to_string(storage.elements) + " elements of " + std::to_string(unit) + " bytes, but its entry " +
                             "has " + std::to_string(entry->size) + " bytes");
    StoredTensor out;
    out.type = "torch." + std::string(type.dtype);
    out.dtype = type.weight;
    out.shape = t.shape;
    out.file = zip_.file();
    lay_out(t, *storage_bytes / type.bytes, where, out);
    out.offset = entry->offset + t.offset * type.bytes;
    out.name = std::move(name);
    return out;
  }

 private:
  // Checks the last element against the storage and sets bytes and strides.
  void lay_out(const PickleTensor& t, std::uint64_t available, const std::string& where,
               StoredTensor& out) const {
    std::optional<std::uint64_t> last = t.offset, count = 1, packed = 1;
    bool gapless = true;
    for (std::size_t i = t.shape.size(); i-- > 0;) {
      if (t.shape[i] > 1 && packed != t.strides[i]) gapless = false;
      if (packed) packed = checked_mul(*packed, std::max<std::uint64_t>(t.shape[i], 1));
      if (count) count = checked_mul(*count, t.shape[i]);
      if (t.shape[i] <= 1) continue;
      const auto reach = checked_mul(t.shape[i] - 1, t.strides[i]);
      last = last && reach ? checked_add(*last, *reach) : std::nullopt;
    }
    const bool empty = std::find(t.shape.begin(), t.shape.end(), 0u) != t.shape.end();
    if (empty) count = 0;
    const auto bytes = count ? checked_mul(*count, io::torch_type(t.type).bytes) : std::nullopt;
    if (!bytes) fail(Code::format, where + "size " + shape_text(t.shape) + " overflows");
    if (empty ? t.offset > available : !last || *last >= available)
      fail(Code::format, where + "size " + shape_text(t.shape) + " with stride " + shape_text(t.strides) +
                             " from offset " + std::to_string(t.offset) + " passes the end of its storage of " +
                             std::to_string(available) + " elements");
    // Expanded tensors repeat what is stored; a file does not justify more memory than its own size.
    if (*bytes > zip_.file()->size())
      fail(Code::format, where + "size " + shape_text(t.shape) + " is " + std::to_string(*bytes) +
                             " bytes, more than the file's " + std::to_string(zip_.file()->size()));
    out.bytes = *bytes;
    if (!gapless && !empty) out.strides = t.strides;
  }

  const Zip& zip_;
  const std::string& root_;
  const Pickle& pickle_;
};

enum class Seen : std::uint8_t { no, open, done };

// Visits what hangs below the root, each container once, so that neither cycles nor sharing multiply the work.
class Walk {
 public:
  Walk(const Pickle& pickle, const Placer& placer, const std::string& file, std::size_t name_budget,
       std::vector<StoredTensor>& tensors, std::vector<TorchCheckpoint::Scalar>& scalars)
      : pickle_(pickle), placer_(placer), file_(file), budget_(name_budget), tensors_(tensors), scalars_(scalars),
        seen_dicts_(pickle.dicts.size()), seen_sequences_(pickle.sequences.size()) {}

  void visit(const PickleValue& v, const std::string& path, std::size_t depth) {
    switch (v.kind) {
      case PickleKind::tensor:
        spend(path);
        return tensors_.push_back(placer_.place(pickle_.tensors[v.index], path));
      case PickleKind::dict: return visit_dict(v.index, path, depth);
      case PickleKind::tuple:
      case PickleKind::list: return visit_sequence(v.index, path, depth);
      case PickleKind::boolean: return scalar(path, v.whole != 0);
      case PickleKind::whole: return scalar(path, v.whole);
      case PickleKind::number: return scalar(path, v.number);
      case PickleKind::string:
        if (pickle_.strings[v.index].size() <= 4096) scalar(path, std::string(pickle_.strings[v.index]));
        return;
      default: return;
    }
  }

 private:
  void visit_dict(std::uint32_t index, const std::string& path, std::size_t depth) {
    if (!enter(seen_dicts_, index, path, depth)) return;
    for (const auto& [key, value] : pickle_.dicts[index]) {
      if (key.kind == PickleKind::string)
        visit(value, join(path, pickle_.strings[key.index]), depth + 1);
      else if (key.kind == PickleKind::whole)
        visit(value, join(path, std::to_string(key.whole)), depth + 1);
      else
        fail(Code::unsupported, file_ + ": " + puna::quoted(path) + " has a key that is neither text nor a number");
    }
    seen_dicts_[index] = Seen::done;
  }
  void visit_sequence(std::uint32_t index, const std::string& path, std::size_t depth) {
    if (!enter(seen_sequences_, index, path, depth)) return;
    std::size_t i = 0;
    for (const PickleValue& value : pickle_.sequences[index]) {
      const std::size_t n = i++;
      const bool plain = value.kind != PickleKind::tensor && value.kind != PickleKind::dict &&
                         value.kind != PickleKind::tuple && value.kind != PickleKind::list;
      if (!plain) visit(value, join(path, std::to_string(n)), depth + 1);
    }
    seen_sequences_[index] = Seen::done;
  }
  // False for what was visited before, under its other name.
  bool enter(std::vector<Seen>& seen, std::uint32_t index, const std::string& path, std::size_t depth) {
    if (seen[index] == Seen::open) fail(Code::format, file_ + ": " + puna::quoted(path) + " holds itself");
    if (depth >= max_depth)
      fail(Code::format,
           file_ + ": " + puna::quoted(path) + " is nested more than " + std::to_string(max_depth) + " deep");
    return std::exchange(seen[index], Seen::open) == Seen::no;
  }
  std::string join(const std::string& path, std::string_view key) {
    if (path.size() + key.size() >= max_name)
      fail(Code::format, file_ + ": a name that begins with " + puna::quoted(path.empty() ? key : path) +
                             " is longer than " + std::to_string(max_name) + " bytes");
    for (std::size_t i = 0; i < key.size();) {
      const std::size_t n = key[i] == '\0' ? 0 : utf8_length(key.substr(i));
      if (n == 0) fail(Code::format, file_ + ": the key " + puna::quoted(key) + " is no UTF-8 text");
      i += n;
    }
    std::string out = path.empty() ? std::string(key) : path + "." + std::string(key);
    spend(out);
    return out;
  }
  void spend(const std::string& name) {
    if (name.size() > budget_) fail(Code::format, file_ + ": names of tensors are longer than the file justifies");
    budget_ -= name.size();
  }
  template <class T>
  void scalar(const std::string& path, T value) {
    if (scalars_.size() >= max_scalars) return;
    if constexpr (std::is_same_v<T, std::string>) spend(value);
    scalars_.push_back({path, std::move(value)});
  }

  const Pickle& pickle_;
  const Placer& placer_;
  const std::string& file_;
  std::size_t budget_;
  std::vector<StoredTensor>& tensors_;
  std::vector<TorchCheckpoint::Scalar>& scalars_;
  std::vector<Seen> seen_dicts_, seen_sequences_;
};

void check_unique(const std::string& file, const std::vector<StoredTensor>& tensors) {
  std::vector<const std::string*> names;
  names.reserve(tensors.size());
  for (const StoredTensor& t : tensors) names.push_back(&t.name);
  std::sort(names.begin(), names.end(), [](const auto* a, const auto* b) { return *a < *b; });
  for (std::size_t i = 1; i < names.size(); ++i)
    if (*names[i] == *names[i - 1]) fail(Code::format, file + ": tensor " + puna::quoted(*names[i]) + " stands twice");
}

std::string scalar_text(const TorchCheckpoint::Scalar& s) {
  if (const auto* b = std::get_if<bool>(&s.value)) return *b ? "true" : "false";
  if (const auto* n = std::get_if<std::int64_t>(&s.value)) return std::to_string(*n);
  if (const auto* d = std::get_if<double>(&s.value)) return Json(*d).dump();
  return as_utf8(std::get<std::string>(s.value));
}

}  // namespace

TorchCheckpoint::TorchCheckpoint(std::shared_ptr<const File> file) : file_(std::move(file)) {
  const std::string& name = file_->name();
  std::string buffer;
  const auto start = start_of(*file_, buffer);
  if (start.starts_with(legacy_start))
    fail(Code::unsupported, name + ": written by torch before 1.6 (no zip); load and torch.save it again");
  if (!start.starts_with("PK")) fail(Code::format, name + ": no torch checkpoint: it does not begin with PK");
  const Zip zip(file_);
  const std::string root = find_root(zip);
  check_byte_order(zip, root);
  const ZipEntry* entry = zip.find(root + "/data.pkl");
  // torch leaves 0 where it is told not to compute it. The weights' own CRCs would cost reading them all.
  if (entry->crc != 0 && !zip_crc_matches(*file_, *entry))
    fail(Code::format, name + ": the CRC-32 of data.pkl is wrong");
  const FileBytes text(*file_, entry->offset, entry->size);
  const Pickle pickle = io::read_pickle(text.view(), name);
  const Placer placer(zip, root, pickle);
  const std::size_t name_budget = (std::size_t{1} << 20) + 16 * text.view().size();
  Walk(pickle, placer, name, name_budget, tensors_, scalars_).visit(pickle.root, "", 0);
  if (tensors_.empty()) fail(Code::format, name + ": it holds no tensors");
  check_unique(name, tensors_);
}

const TorchCheckpoint::Scalar* TorchCheckpoint::scalar(std::string_view name) const {
  for (const Scalar& s : scalars_)
    if (s.name == name) return &s;
  return nullptr;
}

bool looks_like_torch(const File& file) {
  std::string buffer;
  const auto start = start_of(file, buffer);
  return start.starts_with("PK\x03\x04") || start.starts_with(legacy_start);
}

Listing inspect_torch(std::shared_ptr<const File> file) {
  const TorchCheckpoint checkpoint(std::move(file));
  Listing out;
  out.format = "torch";
  for (const auto& s : checkpoint.scalars()) out.metadata.push_back({as_utf8(s.name), scalar_text(s)});
  for (const StoredTensor& t : checkpoint.tensors()) out.tensors.push_back({as_utf8(t.name), t.type, t.shape, t.bytes});
  return out;
}

}  // namespace puna
