#include "puna/tensor/dtype.hpp"

#include <algorithm>
#include <string>

#include "puna/base/status.hpp"
#include "puna/tensor/blocks.hpp"

namespace puna {
namespace {

constexpr DTypeInfo table[] = {
    {DType::f32, "f32", 1, 4},
    {DType::f16, "f16", 1, 2},
    {DType::bf16, "bf16", 1, 2},
    {DType::q4_0, "q4_0", block_small, sizeof(BlockQ4_0)},
    {DType::q4_1, "q4_1", block_small, sizeof(BlockQ4_1)},
    {DType::q5_0, "q5_0", block_small, sizeof(BlockQ5_0)},
    {DType::q5_1, "q5_1", block_small, sizeof(BlockQ5_1)},
    {DType::q8_0, "q8_0", block_small, sizeof(BlockQ8_0)},
    {DType::q2_k, "q2_K", block_super, sizeof(BlockQ2K)},
    {DType::q3_k, "q3_K", block_super, sizeof(BlockQ3K)},
    {DType::q4_k, "q4_K", block_super, sizeof(BlockQ4K)},
    {DType::q5_k, "q5_K", block_super, sizeof(BlockQ5K)},
    {DType::q6_k, "q6_K", block_super, sizeof(BlockQ6K)},
    {DType::iq4_nl, "iq4_nl", block_small, sizeof(BlockIQ4NL)},
    {DType::iq4_xs, "iq4_xs", block_super, sizeof(BlockIQ4XS)},
    {DType::q8_f32, "q8_f32", block_small, sizeof(BlockQ8F32)},
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

const DTypeInfo* find_dtype(std::int32_t number) {
  for (const auto& entry : table)
    if (static_cast<std::int32_t>(entry.type) == number) return &entry;
  return nullptr;
}

const DTypeInfo& info(DType type) {
  if (const auto* entry = find_dtype(static_cast<std::int32_t>(type))) return *entry;
  fail(Code::internal, "no element type has the number " + std::to_string(static_cast<std::int32_t>(type)));
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& entry : table)
    if (std::equal(name.begin(), name.end(), entry.name.begin(), entry.name.end(),
                   [](char a, char b) { return lower(a) == lower(b); }))
      return entry.type;
  return std::nullopt;
}

}  // namespace puna
