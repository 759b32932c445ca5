// Typed reading of a parsed GGUF: what a caller asks for is exactly what the file says, or an error names the key.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "puna/io/gguf.hpp"
#include "puna/io/printable.hpp"
#include "puna/io/reader.hpp"

namespace puna {
namespace {

constexpr std::string_view type_names[gguf_type_count] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                          "bool", "string", "array", "u64", "i64", "f64"};

constexpr GgmlType ggml_types[] = {
    {0, "F32", 1, 4},        {1, "F16", 1, 2},        {2, "Q4_0", 32, 18},     {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},     {7, "Q5_1", 32, 24},     {8, "Q8_0", 32, 34},     {9, "Q8_1", 32, 40},
    {10, "Q2_K", 256, 84},   {11, "Q3_K", 256, 110},  {12, "Q4_K", 256, 144},  {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},  {15, "Q8_K", 256, 292},  {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50}, {20, "IQ4_NL", 32, 18},  {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},  {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},       {25, "I16", 1, 2},
    {26, "I32", 1, 4},       {27, "I64", 1, 8},       {28, "F64", 1, 8},       {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},      {34, "TQ1_0", 256, 54},  {35, "TQ2_0", 256, 66},  {39, "MXFP4", 32, 17}};

template <class T>
std::string shortest(T value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return {buffer, end};
}

// Text inside a JSON string.
std::string json_string(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text = "\"";
  for (const char c : as_utf8(bytes)) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (u < 0x20) {
      text += "\\u00";
      text += digits[u >> 4];
      text += digits[u & 15];
    } else {
      text += c;
    }
  }
  return text + '"';
}

constexpr std::uint64_t shown_elements = 64;
constexpr std::uint64_t shown_bytes = 256;  // of a string inside an array

std::string array_text(Reader& r, GgufType element, std::uint64_t count, bool& cut);

std::string element_text(Reader& r, GgufType type, bool& cut) {
  switch (type) {
    case GgufType::u8: return std::to_string(r.get<std::uint8_t>("element"));
    case GgufType::i8: return std::to_string(r.get<std::int8_t>("element"));
    case GgufType::u16: return std::to_string(r.get<std::uint16_t>("element"));
    case GgufType::i16: return std::to_string(r.get<std::int16_t>("element"));
    case GgufType::u32: return std::to_string(r.get<std::uint32_t>("element"));
    case GgufType::i32: return std::to_string(r.get<std::int32_t>("element"));
    case GgufType::u64: return std::to_string(r.get<std::uint64_t>("element"));
    case GgufType::i64: return std::to_string(r.get<std::int64_t>("element"));
    case GgufType::f32: return shortest(r.get<float>("element"));
    case GgufType::f64: return shortest(r.get<double>("element"));
    case GgufType::boolean: return r.get<std::uint8_t>("element") ? "true" : "false";
    case GgufType::string: {
      const auto n = r.get<std::uint64_t>("string length");
      const std::string text = json_string(r.text(std::min(n, shown_bytes), "string"));
      r.skip(n - std::min(n, shown_bytes), "string");
      return text;
    }
    case GgufType::array: {
      const auto inner = static_cast<GgufType>(r.get<std::uint32_t>("element type"));
      return array_text(r, inner, r.get<std::uint64_t>("array length"), cut);
    }
  }
  return {};
}

// `cut` is set when not all was shown; the reader then stands inside the array, and the callers stop as well.
std::string array_text(Reader& r, GgufType element, std::uint64_t count, bool& cut) {
  std::string text = "[";
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i != 0) text += ", ";
    if (i == shown_elements) {
      cut = true;
      return text + "... " + std::to_string(count) + " in all]";
    }
    text += element_text(r, element, cut);
    if (cut) return text + (i + 1 < count ? ", ... " + std::to_string(count) + " in all]" : "]");
  }
  return text + "]";
}

bool is_integer(GgufType t) {
  return t != GgufType::f32 && t != GgufType::f64 && t != GgufType::boolean && t != GgufType::string &&
         t != GgufType::array;
}

std::string a_type(const GgufEntry& e) {
  std::string text = "is of type " + std::string(gguf_type_name(e.type));
  if (const auto* a = std::get_if<GgufArray>(&e.value)) text += " of " + std::string(gguf_type_name(a->element));
  return text;
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  const auto number = static_cast<std::uint32_t>(type);
  return number < gguf_type_count ? type_names[number] : "unknown";
}

const GgmlType* find_ggml_type(std::uint32_t number) {
  const auto* end = std::end(ggml_types);
  const auto* it = std::find_if(std::begin(ggml_types), end, [&](const GgmlType& t) { return t.number == number; });
  return it == end ? nullptr : it;
}

const GgufEntry* Gguf::find(std::string_view key) const {
  const auto it = std::lower_bound(entry_order_.begin(), entry_order_.end(), key,
                                   [&](std::size_t i, std::string_view k) { return entries_[i].key < k; });
  return it != entry_order_.end() && entries_[*it].key == key ? &entries_[*it] : nullptr;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto it = std::lower_bound(tensor_order_.begin(), tensor_order_.end(), name,
                                   [&](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
  return it != tensor_order_.end() && tensors_[*it].name == name ? &tensors_[*it] : nullptr;
}

void Gguf::refuse(std::string_view key, const std::string& why) const {
  fail(Code::format, file_->name() + ": " + quoted(key) + ": " + why);
}

void Gguf::unsupported(std::string_view key, const std::string& why) const {
  fail(Code::unsupported, file_->name() + ": " + quoted(key) + ": " + why);
}

std::optional<std::uint64_t> Gguf::whole(std::string_view key) const {
  const GgufEntry* e = find(key);
  if (!e) return std::nullopt;
  if (const auto* u = std::get_if<std::uint64_t>(&e->value)) return *u;
  const auto* i = std::get_if<std::int64_t>(&e->value);
  if (!i) refuse(key, a_type(*e) + ", not an integer");
  if (*i < 0) refuse(key, std::to_string(*i) + " is negative");
  return static_cast<std::uint64_t>(*i);
}

std::optional<double> Gguf::number(std::string_view key) const {
  const GgufEntry* e = find(key);
  if (!e) return std::nullopt;
  if (const auto* u = std::get_if<std::uint64_t>(&e->value)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<std::int64_t>(&e->value)) return static_cast<double>(*i);
  const auto* d = std::get_if<double>(&e->value);
  if (!d) refuse(key, a_type(*e) + ", not a number");
  if (!std::isfinite(*d)) refuse(key, shortest(*d) + " is not finite");
  return *d;
}

std::optional<bool> Gguf::boolean(std::string_view key) const {
  const GgufEntry* e = find(key);
  if (!e) return std::nullopt;
  const auto* b = std::get_if<bool>(&e->value);
  if (!b) refuse(key, a_type(*e) + ", not a bool");
  return *b;
}

std::optional<std::string> Gguf::text(std::string_view key) const {
  const GgufEntry* e = find(key);
  if (!e) return std::nullopt;
  const auto* s = std::get_if<std::string>(&e->value);
  if (!s) refuse(key, a_type(*e) + ", not a string");
  return *s;
}

const GgufArray* Gguf::array(std::string_view key, std::string_view wanted) const {
  const GgufEntry* e = find(key);
  if (!e) return nullptr;
  const auto* a = std::get_if<GgufArray>(&e->value);
  const bool fits = a && (gguf_type_name(a->element) == wanted || (wanted == "integers" && is_integer(a->element)));
  if (!fits) refuse(key, a_type(*e) + ", not an array of " + std::string(wanted));
  if (a->count > max_array_elements)
    refuse(key, std::to_string(a->count) + " elements are more than " + std::to_string(max_array_elements));
  return a;
}

std::optional<std::vector<std::string>> Gguf::texts(std::string_view key) const {
  const GgufArray* a = array(key, "string");
  if (!a) return std::nullopt;
  std::vector<std::string> all;
  all.reserve(static_cast<std::size_t>(a->count));
  Reader r(*file_, a->offset);
  for (std::uint64_t i = 0; i < a->count; ++i) all.push_back(r.text(r.get<std::uint64_t>("string length"), "string"));
  return all;
}

std::optional<std::vector<float>> Gguf::floats(std::string_view key) const {
  const GgufArray* a = array(key, "f32");
  if (!a) return std::nullopt;
  std::vector<float> all(static_cast<std::size_t>(a->count));
  file_->read(a->offset, all.data(), all.size() * sizeof(float));
  return all;
}

std::optional<std::vector<std::int64_t>> Gguf::integers(std::string_view key) const {
  const GgufArray* a = array(key, "integers");
  if (!a) return std::nullopt;
  std::vector<std::int64_t> all;
  all.reserve(static_cast<std::size_t>(a->count));
  Reader r(*file_, a->offset);
  for (std::uint64_t i = 0; i < a->count; ++i) {
    switch (a->element) {
      case GgufType::u8: all.push_back(r.get<std::uint8_t>("element")); break;
      case GgufType::i8: all.push_back(r.get<std::int8_t>("element")); break;
      case GgufType::u16: all.push_back(r.get<std::uint16_t>("element")); break;
      case GgufType::i16: all.push_back(r.get<std::int16_t>("element")); break;
      case GgufType::u32: all.push_back(r.get<std::uint32_t>("element")); break;
      case GgufType::i32: all.push_back(r.get<std::int32_t>("element")); break;
      case GgufType::i64: all.push_back(r.get<std::int64_t>("element")); break;
      default: {
        const auto u = r.get<std::uint64_t>("element");
        if (u > std::numeric_limits<std::int64_t>::max())
          refuse(key, "element " + std::to_string(i) + " is " + std::to_string(u));
        all.push_back(static_cast<std::int64_t>(u));
      }
    }
  }
  return all;
}

std::string Gguf::value_text(const GgufEntry& e) const {
  if (const auto* u = std::get_if<std::uint64_t>(&e.value)) return std::to_string(*u);
  if (const auto* i = std::get_if<std::int64_t>(&e.value)) return std::to_string(*i);
  if (const auto* b = std::get_if<bool>(&e.value)) return *b ? "true" : "false";
  if (const auto* s = std::get_if<std::string>(&e.value)) return as_utf8(*s);
  if (const auto* d = std::get_if<double>(&e.value))
    return e.type == GgufType::f32 ? shortest(static_cast<float>(*d)) : shortest(*d);
  const auto& a = std::get<GgufArray>(e.value);
  Reader r(*file_, a.offset);
  bool cut = false;
  return array_text(r, a.element, a.count, cut);
}

}  // namespace puna
