#include "puna/io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "puna/base/checked.hpp"
#include "puna/io/json.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

constexpr std::uint64_t max_header = 100'000'000;
constexpr std::size_t max_rank = 64;

struct Type {
  std::string_view name;
  std::uint32_t bits;
  std::optional<DType> dtype;
};

const Type* find_type(std::string_view name) {
  static constexpr std::array types{
      Type{"F32", 32, DType::f32}, Type{"F16", 16, DType::f16}, Type{"BF16", 16, DType::bf16}, Type{"F64", 64, {}},
      Type{"BOOL", 8, {}},         Type{"U8", 8, {}},           Type{"I8", 8, {}},             Type{"U16", 16, {}},
      Type{"I16", 16, {}},         Type{"U32", 32, {}},         Type{"I32", 32, {}},           Type{"U64", 64, {}},
      Type{"I64", 64, {}},         Type{"C64", 64, {}},         Type{"F8_E5M2", 8, {}},        Type{"F8_E4M3", 8, {}},
      Type{"F8_E8M0", 8, {}},      Type{"F8_E4M3FNUZ", 8, {}},  Type{"F8_E5M2FNUZ", 8, {}},    Type{"F6_E2M3", 6, {}},
      Type{"F6_E3M2", 6, {}},      Type{"F4", 4, {}},
  };
  for (const Type& type : types)
    if (type.name == name) return &type;
  return nullptr;
}

std::uint64_t little_endian_64(const std::array<std::uint8_t, 8>& bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | bytes[static_cast<std::size_t>(i)];
  return value;
}

// Reads the header as it streams by, without a tree, so that what it costs is what its tensors cost.
class Header final : public JsonEvents {
 public:
  Header(const std::string& file, std::vector<StoredTensor>& tensors, std::vector<MetadataEntry>& metadata)
      : file_(file), tensors_(tensors), metadata_(metadata) {}

  void null() override { unexpected("null"); }
  void boolean(bool) override { unexpected("a boolean"); }
  void negative(std::int64_t v) override { unexpected(std::to_string(v)); }
  void number(double v) override { unexpected(Json(v).dump()); }

  void whole(std::uint64_t v) override {
    if (state_ == State::shape) {
      if (tensor_.shape.size() == max_rank) unexpected("dimension number " + std::to_string(max_rank + 1));
      tensor_.shape.push_back(v);
    } else if (state_ == State::offsets && offsets_ < 2) {
      (offsets_++ == 0 ? begin_ : end_) = v;
    } else {
      unexpected(std::to_string(v));
    }
  }

  void string(std::string&& v) override {
    if (state_ == State::metadata_value) {
      metadata_.push_back({std::move(key_), std::move(v)});
      state_ = State::metadata;
    } else if (state_ == State::type) {
      const Type* type = find_type(v);
      if (!type) fail(Code::unsupported, where() + "dtype " + puna::quoted(v) + " is not known");
      bits_ = type->bits;
      tensor_.type = type->name;
      tensor_.dtype = type->dtype;
      state_ = State::tensor;
    } else {
      unexpected("the string " + puna::quoted(v));
    }
  }

  void begin_object() override {
    if (state_ == State::start) {
      state_ = State::top;
    } else if (state_ == State::top_value && key_ == "__metadata__") {
      state_ = State::metadata;
    } else if (state_ == State::top_value) {
      tensor_ = {};
      tensor_.name = std::move(key_);
      seen_ = 0;
      offsets_ = 0;
      state_ = State::tensor;
    } else {
      unexpected("an object");
    }
  }

  void key(std::string&& v) override {
    if (state_ == State::top) {
      if (v == "__metadata__" && std::exchange(metadata_seen_, true)) unexpected("a second __metadata__");
      key_ = std::move(v);
      state_ = State::top_value;
    } else if (state_ == State::metadata) {
      key_ = std::move(v);
      state_ = State::metadata_value;
    } else {
      const unsigned bit = v == "dtype" ? 1 : v == "shape" ? 2 : v == "data_offsets" ? 4 : 0;
      if (bit == 0) unexpected("the key " + puna::quoted(v));
      if (seen_ & bit) unexpected("a second " + v);
      seen_ |= bit;
      state_ = bit == 1 ? State::type : bit == 2 ? State::shape_start : State::offsets_start;
    }
  }

  void begin_array() override {
    if (state_ == State::shape_start)
      state_ = State::shape;
    else if (state_ == State::offsets_start)
      state_ = State::offsets;
    else
      unexpected("an array");
  }

  void end_array() override {
    if (state_ == State::offsets && offsets_ != 2) unexpected("one number in data_offsets, not two");
    state_ = State::tensor;
  }

  void end_object() override {
    if (state_ == State::tensor) {
      finish_tensor();
      state_ = State::top;
    } else if (state_ == State::metadata) {
      state_ = State::top;
    } else {
      state_ = State::end;
    }
  }

  bool complete() const { return state_ == State::end; }

 private:
  enum class State {
    start, top, top_value, metadata, metadata_value, tensor, type, shape_start, shape, offsets_start, offsets, end
  };

  std::string where() const {
    const bool inside = state_ >= State::tensor && state_ < State::end;
    return file_ + ": " + (inside ? "tensor " + puna::quoted(tensor_.name) + ": " : "header: ");
  }
  [[noreturn]] void unexpected(const std::string& what) const {
    fail(Code::format, where() + what + " where it must not be");
  }

  void finish_tensor() {
    if (seen_ != 7) {
      const char* what = !(seen_ & 1) ? "dtype" : !(seen_ & 2) ? "shape" : "data_offsets";
      fail(Code::format, where() + what + " is missing");
    }
    std::optional<std::uint64_t> bits = bits_;
    for (const std::uint64_t d : tensor_.shape)
      if (bits) bits = checked_mul(*bits, d);
    if (!bits) fail(Code::format, where() + "shape " + shape_text(tensor_.shape) + " overflows");
    if (*bits % 8 != 0) fail(Code::format, where() + "shape " + shape_text(tensor_.shape) + " ends inside a byte");
    if (begin_ > end_ || end_ - begin_ != *bits / 8)
      fail(Code::format, where() + "data_offsets [" + std::to_string(begin_) + ", " + std::to_string(end_) +
                             "] do not hold " + tensor_.type + " " + shape_text(tensor_.shape) + ", which is " +
                             std::to_string(*bits / 8) + " bytes");
    tensor_.offset = begin_;
    tensor_.bytes = *bits / 8;
    tensors_.push_back(std::move(tensor_));
  }

  const std::string& file_;
  std::vector<StoredTensor>& tensors_;
  std::vector<MetadataEntry>& metadata_;
  State state_ = State::start;
  std::string key_;
  StoredTensor tensor_;
  unsigned seen_ = 0;
  int offsets_ = 0;
  bool metadata_seen_ = false;
  std::uint32_t bits_ = 0;
  std::uint64_t begin_ = 0, end_ = 0;
};

// The tensors' bytes follow one another from 0 to the end of the file.
void check_layout(const std::string& file, std::vector<StoredTensor>& tensors, std::uint64_t data_bytes) {
  const auto before = [](const StoredTensor& a, const StoredTensor& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  };
  std::stable_sort(tensors.begin(), tensors.end(), before);
  std::uint64_t at = 0;
  for (const StoredTensor& t : tensors) {
    if (t.offset != at)
      fail(Code::format, file + ": tensor " + puna::quoted(t.name) + ": data_offsets begin at " +
                             std::to_string(t.offset) +
                             (t.offset < at ? ", inside the tensor before it, which ends at "
                                            : ", leaving a hole after the tensor before it, which ends at ") +
                             std::to_string(at));
    at += t.bytes;  // cannot wrap: begin + bytes is the end offset that the header gave
  }
  if (at != data_bytes)
    fail(Code::format, file + ": the tensors take " + std::to_string(at) + " bytes, but the file has " +
                           std::to_string(data_bytes) + " after its header");
}

void check_unique(const std::string& file, const std::vector<StoredTensor>& tensors) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto less = [&](std::uint32_t a, std::uint32_t b) { return tensors[a].name < tensors[b].name; };
  std::sort(order.begin(), order.end(), less);
  for (std::size_t i = 1; i < order.size(); ++i)
    if (tensors[order[i]].name == tensors[order[i - 1]].name)
      fail(Code::format, file + ": tensor " + puna::quoted(tensors[order[i]].name) + " stands twice");
}

std::uint64_t header_bytes(const File& file) {
  std::array<std::uint8_t, 8> length{};
  if (file.size() < 8)
    fail(Code::format, file.name() + ": " + std::to_string(file.size()) + " bytes are too few for a safetensors file");
  file.read(0, length.data(), 8);
  const std::uint64_t n = little_endian_64(length);
  const std::uint64_t limit = std::min(max_header, file.size() - 8);
  if (n > limit)
    fail(Code::format, file.name() + ": header length " + std::to_string(n) + " exceeds " + std::to_string(limit) +
                           ", what a header may have in a file of " + std::to_string(file.size()) + " bytes");
  return n;
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::shared_ptr<const File> file) : file_(std::move(file)) {
  const std::string& name = file_->name();
  const std::uint64_t n = header_bytes(*file_);
  std::string copy;  // only where the file is not in memory
  std::string_view text;
  if (const std::byte* data = file_->data()) {
    text = {reinterpret_cast<const char*>(data) + 8, static_cast<std::size_t>(n)};
  } else {
    copy.resize(static_cast<std::size_t>(n));
    file_->read(8, copy.data(), copy.size());
    text = copy;
  }
  if (text.empty() || text[0] != '{') fail(Code::format, name + ": the header does not begin with {");
  JsonLimits limits;
  limits.bytes = max_header;
  limits.depth = 4;
  limits.values = max_header;
  Header header(name, tensors_, metadata_);
  parse_json(text, name, limits, header);
  check_layout(name, tensors_, file_->size() - 8 - n);
  check_unique(name, tensors_);
  for (StoredTensor& t : tensors_) {
    t.offset += 8 + n;
    t.file = file_;
  }
}

bool looks_like_safetensors(const File& file) {
  std::array<std::uint8_t, 9> start{};
  if (file.size() < 10) return false;
  file.read(0, start.data(), start.size());
  std::array<std::uint8_t, 8> length{};
  std::copy_n(start.begin(), 8, length.begin());
  return start[8] == '{' && little_endian_64(length) <= max_header;
}

Listing inspect_safetensors(std::shared_ptr<const File> file) {
  const SafetensorsFile parsed(std::move(file));
  Listing out;
  out.format = "safetensors";
  out.metadata = parsed.metadata();
  for (const StoredTensor& t : parsed.tensors()) out.tensors.push_back({t.name, t.type, t.shape, t.bytes});
  return out;
}

}  // namespace puna
