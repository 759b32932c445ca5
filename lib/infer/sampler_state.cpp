// A sampler's state as bytes: little-endian, the same on every platform, readable by every later version.
//   "PUNASAMP" | u32 version = 1 | u32 has mu (0, 1) | u64 seed | u64 stream | u64 position | f64 mu | u32 n | i32 id x n
#include <algorithm>
#include <bit>
#include <string>

#include "puna/base/status.hpp"
#include "puna/infer/sampler.hpp"

namespace puna {
namespace {

constexpr std::uint64_t magic = 0x504d4153414e5550;  // "PUNASAMP", first byte lowest
constexpr std::uint32_t version = 1;
constexpr std::size_t head = 8 + 4 + 4 + 8 + 8 + 8 + 8 + 4;

void put(std::vector<std::uint8_t>& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint64_t take(std::span<const std::uint8_t>& in, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value |= static_cast<std::uint64_t>(in[i]) << (8 * i);
  in = in.subspan(bytes);
  return value;
}

}  // namespace

std::vector<std::uint8_t> Sampler::save() const {
  const MirostatStep* m = mirostat();
  const History tokens = history();
  std::vector<std::uint8_t> out;
  out.reserve(head + 4 * tokens.size());
  put(out, magic, 8);
  put(out, version, 4);
  put(out, m ? 1 : 0, 4);
  put(out, rng_.seed(), 8);
  put(out, rng_.stream(), 8);
  put(out, rng_.position(), 8);
  put(out, std::bit_cast<std::uint64_t>(m ? m->mu : 0.0), 8);
  put(out, tokens.size(), 4);
  for (const std::int32_t id : tokens) put(out, static_cast<std::uint32_t>(id), 4);
  return out;
}

void Sampler::restore(std::span<const std::uint8_t> bytes) {
  auto in = bytes;
  if (bytes.size() < head || take(in, 8) != magic)
    fail(Code::format, "sampler state: " + std::to_string(bytes.size()) + " bytes that do not begin with PUNASAMP");
  const std::uint64_t file_version = take(in, 4);
  if (file_version == 0) fail(Code::format, "sampler state: version is 0");
  if (file_version > version)
    fail(Code::unsupported, "sampler state: version is " + std::to_string(file_version) + "; this library reads up to " +
                                std::to_string(version));
  const std::uint64_t has_mu = take(in, 4);
  if (has_mu > 1) fail(Code::format, "sampler state: has_mu is " + std::to_string(has_mu) + ", not 0 or 1");
  const std::uint64_t seed = take(in, 8);
  const std::uint64_t stream = take(in, 8);
  const std::uint64_t position = take(in, 8);
  const double mu = std::bit_cast<double>(take(in, 8));
  if (mu - mu != 0) fail(Code::format, "sampler state: mu is not finite");
  const std::uint64_t count = take(in, 4);
  if (in.size() != 4 * count)
    fail(Code::format, "sampler state: history is " + std::to_string(count) + " tokens, but " +
                           std::to_string(in.size()) + " bytes follow");
  MirostatStep* m = mirostat();
  if ((m != nullptr) != (has_mu == 1))
    fail(Code::state, has_mu ? "sampler state: saved with mirostat, but this chain has none"
                             : "sampler state: saved without mirostat, but this chain has it");
  std::vector<std::int32_t> tokens;
  tokens.reserve(std::max<std::size_t>(2 * keep_, count));
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto id = static_cast<std::int32_t>(static_cast<std::uint32_t>(take(in, 4)));
    if (id < 0) fail(Code::format, "sampler state: token " + std::to_string(i) + " of the history is " + std::to_string(id));
    tokens.push_back(id);
  }
  history_ = std::move(tokens);
  rng_ = Rng(seed, stream);
  rng_.seek(position);
  if (m) m->mu = mu;
}

}  // namespace puna
