#include "puna/slim/imatrix.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "io/gguf_layout.hpp"
#include "puna/base/checked.hpp"
#include "puna/io/atomic_file.hpp"
#include "puna/io/gguf.hpp"
#include "puna/io/reader.hpp"

namespace puna {
namespace {

constexpr std::uint32_t max_entries = 1u << 20;
constexpr std::uint32_t max_name = 512;
constexpr std::string_view sums_suffix = ".in_sum2", counts_suffix = ".counts";

[[noreturn]] void refuse(const File& file, const std::string& what) { fail(Code::format, file.name() + ": " + what); }

void check_values(const File& file, const std::string& name, const std::vector<float>& values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]) || values[i] < 0.0f)
      refuse(file, "entry " + name + " has " + std::to_string(values[i]) + " in column " + std::to_string(i) + ", no mean of squares");
}

std::uint32_t positive(const File& file, const char* field, std::int32_t value, std::uint32_t most) {
  if (value <= 0 || static_cast<std::uint32_t>(value) > most)
    refuse(file, std::string(field) + " is " + std::to_string(value) + ", not in 1 to " + std::to_string(most));
  return static_cast<std::uint32_t>(value);
}

// llama.cpp's first format: i32 n; n times {i32 length, name, i32 calls, i32 values, f32[values]}; i32 last call; i32 length, dataset.
// A value is the mean of squares times the calls.
Imatrix read_dat(const File& file) {
  Imatrix m;
  Reader in(file);
  const std::uint32_t n = positive(file, "the number of entries", in.get<std::int32_t>("entries"), max_entries);
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint32_t length = positive(file, "the length of a name", in.get<std::int32_t>("name length"), max_name);
    const std::string name = in.text(length, "name");
    const std::int32_t calls = in.get<std::int32_t>("calls");
    if (calls < 0) refuse(file, "entry " + name + " has " + std::to_string(calls) + " calls");
    const std::uint32_t columns = positive(file, "the number of values", in.get<std::int32_t>("values"), 1u << 24);
    if (in.remaining() / sizeof(float) < columns) refuse(file, "entry " + name + " claims " + std::to_string(columns) + " values, past the end of the file");
    Imatrix::Entry entry;
    entry.count = static_cast<std::uint64_t>(calls);
    entry.mean_square.resize(columns);
    for (float& v : entry.mean_square) v = in.get<float>("value");
    if (calls > 0)
      for (float& v : entry.mean_square) v /= static_cast<float>(calls);
    check_values(file, name, entry.mean_square);
    if (!m.entries.emplace(name, std::move(entry)).second) refuse(file, "entry " + name + " is there twice");
  }
  if (in.remaining() >= 8) {  // older files end here
    const std::int32_t last = in.get<std::int32_t>("last call");
    m.chunks = last > 0 ? static_cast<std::uint32_t>(last) : 0;
    const std::int32_t length = in.get<std::int32_t>("dataset length");
    if (length > 0) m.datasets.push_back(in.text(static_cast<std::uint32_t>(length), "dataset"));
  }
  return m;
}

std::vector<float> tensor_floats(const Gguf& g, const GgufTensor& t) {
  if (t.type != 0) g.refuse(t.name, "is of type " + std::to_string(t.type) + ", not F32");
  std::vector<float> values(static_cast<std::size_t>(t.bytes / sizeof(float)));
  g.file()->read(t.offset, values.data(), values.size() * sizeof(float));
  return values;
}

// llama.cpp's newer format: a GGUF with NAME.in_sum2 [columns] and NAME.counts [1] per tensor.
Imatrix read_gguf_imatrix(const std::shared_ptr<const File>& file) {
  const Gguf g(file);
  if (g.text("general.type").value_or("") != "imatrix") g.refuse("general.type", "is not \"imatrix\"");
  Imatrix m;
  m.datasets = g.texts("imatrix.datasets").value_or(std::vector<std::string>{});
  m.chunks = static_cast<std::uint32_t>(std::min<std::uint64_t>(g.whole("imatrix.chunk_count").value_or(0), std::numeric_limits<std::uint32_t>::max()));
  m.chunk_tokens = static_cast<std::uint32_t>(std::min<std::uint64_t>(g.whole("imatrix.chunk_size").value_or(0), std::numeric_limits<std::uint32_t>::max()));
  for (const GgufTensor& t : g.tensors()) {
    if (!t.name.ends_with(sums_suffix)) continue;
    const std::string name = t.name.substr(0, t.name.size() - sums_suffix.size());
    const GgufTensor* counts = g.find_tensor(name + std::string(counts_suffix));
    if (!counts) g.refuse(t.name, "has no counts beside it");
    if (t.rows() != 1) g.refuse(t.name, "has " + std::to_string(t.rows()) + " matrices: experts are no part of Llama 2");
    const std::vector<float> count = tensor_floats(g, *counts);
    Imatrix::Entry entry;
    entry.mean_square = tensor_floats(g, t);
    if (count.size() != 1 || !(count[0] >= 0.0f && count[0] < 1e18f)) g.refuse(counts->name, "is not one count");
    entry.count = static_cast<std::uint64_t>(count[0]);
    for (float& v : entry.mean_square) v = count[0] > 0.0f ? v / count[0] : 1.0f;
    check_values(*file, name, entry.mean_square);
    m.entries.emplace(name, std::move(entry));
  }
  if (m.entries.empty()) g.refuse("tensors", "hold no " + std::string(sums_suffix));
  return m;
}

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);  // little-endian, as the machine is
}

std::string dat_bytes(const Imatrix& m) {
  std::string out;
  put(out, static_cast<std::int32_t>(m.entries.size()));
  // llama.cpp divides by the calls again; one call a chunk.
  const auto calls = static_cast<std::int32_t>(std::max(1u, m.chunks));
  for (const auto& [name, entry] : m.entries) {
    put(out, static_cast<std::int32_t>(name.size()));
    out += name;
    put(out, calls);
    put(out, static_cast<std::int32_t>(entry.mean_square.size()));
    for (float v : entry.mean_square) put(out, v * static_cast<float>(calls));
  }
  const std::string dataset = m.datasets.empty() ? "" : m.datasets[0];
  put(out, calls);
  put(out, static_cast<std::int32_t>(dataset.size()));
  return out + dataset;
}

struct OutTensor {
  std::string name;
  std::vector<float> values;
};

void put_tensor_info(std::string& out, const OutTensor& t, std::uint64_t offset) {
  put(out, static_cast<std::uint64_t>(t.name.size()));
  out += t.name;
  put(out, std::uint32_t{2});
  put(out, static_cast<std::uint64_t>(t.values.size()));
  put(out, std::uint64_t{1});
  put(out, std::uint32_t{0});  // F32
  put(out, offset);
}

std::string gguf_bytes(const Imatrix& m) {
  io::GgufEntries entries;
  entries.set_text("general.type", "imatrix");
  entries.set_texts("imatrix.datasets", m.datasets);
  entries.set_u32("imatrix.chunk_count", m.chunks);
  entries.set_u32("imatrix.chunk_size", m.chunk_tokens);
  std::vector<OutTensor> tensors;
  for (const auto& [name, entry] : m.entries) {
    const auto count = static_cast<float>(entry.count);
    std::vector<float> sums = entry.mean_square;
    for (float& v : sums) v *= count;
    tensors.push_back({name + std::string(sums_suffix), std::move(sums)});
    tensors.push_back({name + std::string(counts_suffix), {count}});
  }
  constexpr std::uint64_t alignment = 32;
  std::string out = "GGUF";
  put(out, std::uint32_t{3});
  put(out, static_cast<std::uint64_t>(tensors.size()));
  put(out, entries.count());
  out += entries.take_bytes();
  std::uint64_t offset = 0;
  for (const OutTensor& t : tensors) {
    put_tensor_info(out, t, offset);
    offset = round_up(offset + t.values.size() * sizeof(float), alignment);
  }
  out.resize(round_up(out.size(), alignment));
  for (const OutTensor& t : tensors) {
    out.append(reinterpret_cast<const char*>(t.values.data()), t.values.size() * sizeof(float));
    out.resize(round_up(out.size(), alignment));
  }
  return out;
}

}  // namespace

void write_imatrix(const Imatrix& m, const std::string& path) {
  AtomicFile file(path);
  const std::string bytes = path.ends_with(".dat") ? dat_bytes(m) : gguf_bytes(m);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

const float* Imatrix::find(const std::string& tensor, std::uint64_t columns, const std::string& file) const {
  const auto found = entries.find(tensor);
  if (found == entries.end()) return nullptr;
  if (found->second.mean_square.size() != columns)
    fail(Code::format, file + ": entry " + tensor + " has " + std::to_string(found->second.mean_square.size()) +
                           " columns, the model's tensor has " + std::to_string(columns));
  return found->second.mean_square.data();
}

Imatrix read_imatrix(const std::shared_ptr<const File>& file) { return looks_like_gguf(*file) ? read_gguf_imatrix(file) : read_dat(*file); }

}  // namespace puna
