// An adapter as llama.cpp's GGUF: matrices in f32, B's rows of q and k in the order that a GGUF's weights have, which is ours.
#include <algorithm>

#include "io/gguf_layout.hpp"
#include "puna/io/atomic_file.hpp"
#include "puna/train/save.hpp"

namespace puna {
namespace {

constexpr std::uint64_t apart = 32;

template <class T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

struct Out {
  std::string name;
  std::uint64_t rows, columns;
  const Buffer<float>* values;
};

std::vector<Out> tensors_of(const Adapter& adapter) {
  std::vector<Out> all;
  for (const Adapter::Module& m : adapter.modules()) {
    const std::string name = io::gguf_tensor_name(m.part, m.layer);
    all.push_back({name + ".lora_a", m.rank, m.a.size() / m.rank, &m.a});
    all.push_back({name + ".lora_b", m.b.size() / m.rank, m.rank, &m.b});
  }
  std::ranges::sort(all, {}, &Out::name);  // the same adapter, the same bytes
  return all;
}

// The one alpha that gives every module its scale.
double alpha_of(const Adapter& adapter) {
  const Adapter::Module& first = adapter.modules().front();
  for (const Adapter::Module& m : adapter.modules())
    if (m.m.size() != 0) fail(Code::unsupported, adapter.name() + ": DoRA's magnitudes have no place in a GGUF adapter");
    else if (m.scale * static_cast<float>(m.rank) != first.scale * static_cast<float>(first.rank))
      fail(Code::unsupported, adapter.name() + ": its modules have several alphas, a GGUF adapter has one");
  return static_cast<double>(first.scale) * first.rank;
}

std::string header_of(const Adapter& adapter, const std::vector<Out>& tensors) {
  io::GgufEntries entries;
  entries.set_text("general.architecture", "llama");
  entries.set_text("general.type", "adapter");
  entries.set_text("adapter.type", "lora");
  entries.set_f32("adapter.lora.alpha", alpha_of(adapter));
  std::string out = "GGUF";
  put(out, std::uint32_t{3});
  put(out, static_cast<std::uint64_t>(tensors.size()));
  put(out, entries.count());
  out += entries.take_bytes();
  std::uint64_t offset = 0;
  for (const Out& t : tensors) {
    put(out, static_cast<std::uint64_t>(t.name.size()));
    out += t.name;
    put(out, std::uint32_t{2});
    put(out, t.columns), put(out, t.rows);
    put(out, std::uint32_t{0});  // F32
    put(out, offset);
    offset = round_up(offset + t.values->size() * sizeof(float), apart);
  }
  out.resize(static_cast<std::size_t>(round_up(out.size(), apart)), '\0');
  return out;
}

}  // namespace

void save_gguf_adapter(const Adapter& adapter, const std::string& path) {
  const std::vector<Out> tensors = tensors_of(adapter);
  const std::string header = header_of(adapter, tensors);
  AtomicFile file(path);
  file.write(header.data(), header.size());
  for (const Out& t : tensors) {
    file.write(t.values->data(), t.values->size() * sizeof(float));
    file.pad_to(apart);
  }
  file.commit();
}

}  // namespace puna
