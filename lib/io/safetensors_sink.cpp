#include "safetensors_sink.hpp"

#include <algorithm>
#include <numeric>

#include "json_text.hpp"
#include "puna/base/checked.hpp"

namespace puna::io {
namespace {

// Where a type stands in the library's list, which it sorts by from the end.
int rank_of(DType type) { return type == DType::f32 ? 2 : type == DType::bf16 ? 1 : 0; }

}  // namespace

std::string_view safetensors_type(DType type) {
  switch (type) {
    case DType::f32: return "F32";
    case DType::f16: return "F16";
    case DType::bf16: return "BF16";
    default: return {};
  }
}

SafetensorsLayout safetensors_layout(const std::vector<SafetensorsEntry>& entries,
                                     const std::vector<MetadataEntry>& metadata) {
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int x = rank_of(entries[a].type), y = rank_of(entries[b].type);
    return x != y ? x > y : entries[a].name < entries[b].name;
  });

  SafetensorsLayout out;
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (std::size_t i = 0; i < metadata.size(); ++i)
      json += (i ? "," : "") + json_quoted(metadata[i].key) + ":" + json_quoted(metadata[i].value);
    json += '}';
  }
  out.offsets.resize(entries.size());
  std::uint64_t at = 0;
  for (const std::size_t i : order) {
    const SafetensorsEntry& e = entries[i];
    if (json.size() > 1) json += ',';
    json += json_quoted(e.name) + ":{\"dtype\":\"" + std::string(safetensors_type(e.type)) + "\",\"shape\":[";
    for (std::size_t d = 0; d < e.shape.size(); ++d) json += (d ? "," : "") + std::to_string(e.shape[d]);
    const auto end = checked_add(at, e.bytes);
    if (!end) fail(Code::internal, "safetensors: " + e.name + ": more bytes than a file can have");
    json += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(*end) + "]}";
    out.offsets[i] = at;
    at = *end;
  }
  json += '}';
  json.resize(static_cast<std::size_t>(round_up(json.size(), 8)), ' ');
  for (int shift = 0; shift < 64; shift += 8)
    out.header += static_cast<char>(static_cast<std::uint64_t>(json.size()) >> shift & 0xff);
  out.header += json;
  for (std::uint64_t& offset : out.offsets) offset += out.header.size();
  out.size = out.header.size() + at;
  return out;
}

}  // namespace puna::io
