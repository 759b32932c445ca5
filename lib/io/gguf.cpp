#include "puna/io/gguf.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "puna/base/checked.hpp"
#include "puna/io/printable.hpp"
#include "puna/io/reader.hpp"

namespace puna {
namespace {

constexpr std::uint32_t magic = 0x46554747;  // "GGUF"
constexpr std::uint64_t max_key_bytes = 65535;
constexpr std::uint64_t max_name_bytes = 63;  // ggml keeps 64 with the NUL
constexpr int max_array_depth = 4;
constexpr std::uint64_t max_walked = std::uint64_t{1} << 24;  // elements of an array that have no fixed size
// Of tensors and of entries: a hundred times what models have.
constexpr std::uint64_t max_count = std::uint64_t{1} << 18;

// The least bytes that one can take: a one-byte key with a one-byte value; a one-byte name with no dimension.
constexpr std::uint64_t min_entry_bytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t min_tensor_bytes = 8 + 1 + 4 + 4 + 8;

// Bytes of a value of fixed size, 0 for strings and arrays.
std::uint32_t fixed_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8: case GgufType::i8: case GgufType::boolean: return 1;
    case GgufType::u16: case GgufType::i16: return 2;
    case GgufType::u32: case GgufType::i32: case GgufType::f32: return 4;
    case GgufType::u64: case GgufType::i64: case GgufType::f64: return 8;
    default: return 0;
  }
}

}  // namespace

class GgufParser {
 public:
  explicit GgufParser(Gguf& gguf) : g_(gguf), r_(*gguf.file_) {}

  void run() {
    header();
    for (std::uint64_t i = 0; i < entries_; ++i) entry(i);
    r_.set_context({});
    index_entries();
    read_alignment();
    for (std::uint64_t i = 0; i < tensors_; ++i) tensor(i);
    r_.set_context({});
    index_tensors();
    place_tensors();
  }

 private:
  void header() {
    if (r_.get<std::uint32_t>("magic") != magic) r_.refuse("magic", "not \"GGUF\"", 0);
    g_.version_ = r_.get<std::uint32_t>("version");
    const std::string& name = g_.file_->name();
    if (g_.version_ == 1)
      fail(Code::unsupported, name + ": version 1: GGUF v1 is not read here; convert the file to v3");
    if (g_.version_ != 0 && (g_.version_ & 0xffff) == 0)
      fail(Code::unsupported,
           name + ": version " + std::to_string(g_.version_) + ": a big-endian GGUF is not read here");
    if (g_.version_ != 2 && g_.version_ != 3)
      fail(Code::unsupported, name + ": version " + std::to_string(g_.version_) + ": only GGUF v2 and v3 are known");
    tensors_ = r_.get<std::uint64_t>("tensor_count");
    entries_ = r_.get<std::uint64_t>("metadata_kv_count");
    limit("metadata_kv_count", entries_, 16, r_.remaining() / min_entry_bytes);
    limit("tensor_count", tensors_, 8, (r_.remaining() - entries_ * min_entry_bytes) / min_tensor_bytes);
  }

  // A count is never more than the bytes behind it can hold, before anything is allocated for it.
  void limit(const char* field, std::uint64_t count, std::uint64_t offset, std::uint64_t room) {
    if (count > room)
      r_.refuse(field,
                std::to_string(count) + " cannot fit the " + std::to_string(r_.remaining()) + " bytes that follow",
                offset);
    if (count > max_count)
      r_.refuse(field, std::to_string(count) + " is more than " + std::to_string(max_count), offset);
  }

  void entry(std::uint64_t i) {
    r_.set_context("metadata entry " + std::to_string(i));
    const auto length = r_.get<std::uint64_t>("key length");
    if (length == 0 || length > max_key_bytes)
      r_.refuse("key length", std::to_string(length) + " is not 1 to " + std::to_string(max_key_bytes),
                r_.position() - 8);
    GgufEntry e;
    e.key = r_.text(length, "key");
    r_.set_context("metadata key " + quoted(e.key));
    e.type = type("value type");
    switch (e.type) {
      case GgufType::u8: e.value = std::uint64_t{r_.get<std::uint8_t>("value")}; break;
      case GgufType::u16: e.value = std::uint64_t{r_.get<std::uint16_t>("value")}; break;
      case GgufType::u32: e.value = std::uint64_t{r_.get<std::uint32_t>("value")}; break;
      case GgufType::u64: e.value = r_.get<std::uint64_t>("value"); break;
      case GgufType::i8: e.value = std::int64_t{r_.get<std::int8_t>("value")}; break;
      case GgufType::i16: e.value = std::int64_t{r_.get<std::int16_t>("value")}; break;
      case GgufType::i32: e.value = std::int64_t{r_.get<std::int32_t>("value")}; break;
      case GgufType::i64: e.value = r_.get<std::int64_t>("value"); break;
      case GgufType::f32: e.value = double{r_.get<float>("value")}; break;
      case GgufType::f64: e.value = r_.get<double>("value"); break;
      case GgufType::boolean: e.value = boolean(); break;
      case GgufType::string: e.value = r_.text(r_.get<std::uint64_t>("string length"), "string"); break;
      case GgufType::array: e.value = array(1); break;
    }
    g_.entries_.push_back(std::move(e));
  }

  GgufType type(const char* field) {
    const auto number = r_.get<std::uint32_t>(field);
    if (number >= gguf_type_count) r_.refuse(field, std::to_string(number) + " is no GGUF type", r_.position() - 4);
    return static_cast<GgufType>(number);
  }

  bool boolean() {
    const auto byte = r_.get<std::uint8_t>("boolean");
    if (byte > 1) r_.refuse("boolean", std::to_string(byte) + " is neither 0 nor 1", r_.position() - 1);
    return byte == 1;
  }

  // Walks over the elements once, so that every later reader may trust them.
  GgufArray array(int depth) {
    GgufArray a;
    a.element = type("array element type");
    a.count = r_.get<std::uint64_t>("array length");
    a.offset = r_.position();
    const std::uint32_t fixed = fixed_bytes(a.element);
    const std::uint64_t least = fixed != 0 ? fixed : a.element == GgufType::string ? 8 : 12;
    if (a.count > r_.remaining() / least)
      r_.refuse("array length",
                std::to_string(a.count) + " cannot fit the " + std::to_string(r_.remaining()) + " bytes that follow",
                a.offset - 8);
    if (fixed == 0 && a.count > max_walked)
      r_.refuse("array length", std::to_string(a.count) + " is more than " + std::to_string(max_walked), a.offset - 8);
    if (a.element == GgufType::string) {
      for (std::uint64_t i = 0; i < a.count; ++i) r_.skip(r_.get<std::uint64_t>("string length"), "string");
    } else if (a.element == GgufType::array) {
      if (depth >= max_array_depth)
        r_.refuse("array element type", "arrays nest deeper than " + std::to_string(max_array_depth), a.offset - 12);
      for (std::uint64_t i = 0; i < a.count; ++i) array(depth + 1);
    } else if (a.element == GgufType::boolean) {
      for (std::uint64_t i = 0; i < a.count; ++i) boolean();
    } else {
      r_.skip(a.count * fixed, "array");
    }
    a.bytes = r_.position() - a.offset;
    return a;
  }

  void index_entries() {
    g_.entry_order_.resize(g_.entries_.size());
    std::iota(g_.entry_order_.begin(), g_.entry_order_.end(), std::size_t{0});
    const auto key = [&](std::size_t i) -> const std::string& { return g_.entries_[i].key; };
    std::sort(g_.entry_order_.begin(), g_.entry_order_.end(), [&](auto a, auto b) { return key(a) < key(b); });
    for (std::size_t i = 1; i < g_.entry_order_.size(); ++i)
      if (key(g_.entry_order_[i - 1]) == key(g_.entry_order_[i]))
        g_.refuse(key(g_.entry_order_[i]), "the key is there twice");
  }

  void read_alignment() {
    static constexpr std::string_view key = "general.alignment";
    const GgufEntry* e = g_.find(key);
    if (!e) return;
    if (e->type != GgufType::u32) g_.refuse(key, "is a " + std::string(gguf_type_name(e->type)) + ", not a u32");
    g_.alignment_ = std::get<std::uint64_t>(e->value);
    if (g_.alignment_ == 0 || (g_.alignment_ & (g_.alignment_ - 1)) != 0)
      g_.refuse(key, std::to_string(g_.alignment_) + " is no power of two");
  }

  void tensor(std::uint64_t i) {
    r_.set_context("tensor " + std::to_string(i));
    const auto length = r_.get<std::uint64_t>("name length");
    if (length == 0 || length > max_name_bytes)
      r_.refuse("name length", std::to_string(length) + " is not 1 to " + std::to_string(max_name_bytes),
                r_.position() - 8);
    GgufTensor t;
    t.name = r_.text(length, "name");
    r_.set_context("tensor " + quoted(t.name));
    t.n_dims = r_.get<std::uint32_t>("n_dims");
    if (t.n_dims > t.dims.size())
      r_.refuse("n_dims", std::to_string(t.n_dims) + " is more than " + std::to_string(t.dims.size()),
                r_.position() - 4);
    std::uint64_t elements = 1;
    for (std::uint32_t d = 0; d < t.n_dims; ++d) {
      t.dims[d] = r_.get<std::uint64_t>("dimension");
      const auto product = checked_mul(elements, t.dims[d]);
      if (t.dims[d] == 0 || !product || *product > std::numeric_limits<std::int64_t>::max())
        r_.refuse("dimension",
                  std::to_string(t.dims[d]) + (t.dims[d] == 0 ? "" : " makes more elements than 63 bits count"),
                  r_.position() - 8);
      elements = *product;
    }
    t.type = r_.get<std::uint32_t>("type");
    t.offset = r_.get<std::uint64_t>("offset");
    size_tensor(t, elements);
    if (t.offset % g_.alignment_ != 0)
      r_.refuse("offset",
                std::to_string(t.offset) + " is no multiple of the alignment " + std::to_string(g_.alignment_),
                r_.position() - 8);
    g_.tensors_.push_back(std::move(t));
  }

  void size_tensor(GgufTensor& t, std::uint64_t elements) {
    const GgmlType* type = find_ggml_type(t.type);
    if (!type) return;
    if (t.columns() % type->block != 0)
      r_.refuse("dimension", std::to_string(t.columns()) + " is no multiple of the " + std::to_string(type->block) +
                                 " elements in a block of " + std::string(type->name));
    const auto bytes = checked_mul(elements / type->block, type->block_bytes);
    if (!bytes || *bytes > g_.file_->size())
      r_.refuse("dimensions", std::to_string(elements) + " elements of " + std::string(type->name) +
                                  " are more than the file's " + std::to_string(g_.file_->size()) + " bytes");
    t.bytes = *bytes;
  }

  void index_tensors() {
    g_.tensor_order_.resize(g_.tensors_.size());
    std::iota(g_.tensor_order_.begin(), g_.tensor_order_.end(), std::size_t{0});
    const auto name = [&](std::size_t i) -> const std::string& { return g_.tensors_[i].name; };
    std::sort(g_.tensor_order_.begin(), g_.tensor_order_.end(), [&](auto a, auto b) { return name(a) < name(b); });
    for (std::size_t i = 1; i < g_.tensor_order_.size(); ++i)
      if (name(g_.tensor_order_[i - 1]) == name(g_.tensor_order_[i]))
        g_.refuse(name(g_.tensor_order_[i]), "the tensor is there twice");
  }

  // From offsets in the data section to offsets in the file: inside it, and no two share a byte.
  void place_tensors() {
    if (g_.tensors_.empty()) return;
    const std::uint64_t size = g_.file_->size();
    const std::uint64_t behind = r_.position() % g_.alignment_;
    const auto data = checked_add(r_.position(), behind == 0 ? 0 : g_.alignment_ - behind);
    if (!data || *data > size)
      r_.refuse("tensor data", "would start past the end of the file (" + std::to_string(size) + " bytes)");
    std::vector<std::size_t> order(g_.tensors_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](auto a, auto b) { return g_.tensors_[a].offset < g_.tensors_[b].offset; });
    const GgufTensor* before = nullptr;
    for (const std::size_t i : order) {
      GgufTensor& t = g_.tensors_[i];
      const std::uint64_t room = size - *data;
      // A type without a known size takes at least one byte.
      if (t.offset > room || std::max<std::uint64_t>(t.bytes, 1) > room - t.offset)
        g_.refuse(t.name, "offset " + std::to_string(t.offset) + " and " + std::to_string(t.bytes) +
                              " bytes lie past the " + std::to_string(room) + " bytes of tensor data");
      t.offset += *data;
      if (before && before->offset + std::max<std::uint64_t>(before->bytes, 1) > t.offset)
        g_.refuse(t.name, "offset " + std::to_string(t.offset - *data) + " lies inside tensor " + quoted(before->name));
      before = &t;
    }
  }

  Gguf& g_;
  Reader r_;
  std::uint64_t tensors_ = 0;
  std::uint64_t entries_ = 0;
};

Gguf::Gguf(std::shared_ptr<const File> file) : file_(std::move(file)) { GgufParser(*this).run(); }

bool looks_like_gguf(const File& file) {
  if (file.size() < 4) return false;
  std::byte bytes[4];
  file.read(0, bytes, 4);
  return load_le<std::uint32_t>(bytes) == magic;
}

}  // namespace puna
