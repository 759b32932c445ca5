#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <utility>

#include "puna/base/portable_math.hpp"
#include "puna/base/status.hpp"
#include "puna/infer/sampler_steps.hpp"

namespace puna {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::size_t digit_values = 2048;

template <class T>
void grow(Buffer<T>& buffer, Memory& memory, std::size_t count) {
  if (buffer.size() < count) buffer = Buffer<T>(memory, count, "sampler scratch");
}

}  // namespace

void Candidates::prepare(Memory& memory, std::size_t vocab, std::size_t history) {
  if (logits_.size() != vocab) {
    size_ = 0;
    ids_are_all_ = false;
    Buffer<float> logits(memory, vocab, "sampler scratch");
    grow(ids_, memory, vocab);
    grow(weights_, memory, vocab);
    grow(keys_, memory, vocab);
    grow(keys_too_, memory, vocab);
    grow(marks_, memory, vocab);
    grow(row_, memory, vocab);
    grow(digits_, memory, 3 * digit_values);
    logits_ = std::move(logits);
  }
  grow(lengths_, memory, history);
}

void Candidates::load(std::span<const float> logits) {
  bool ordered = true;  // no NaN: found in one pass without a branch, named in a second
  for (std::size_t i = 0; i < logits.size(); ++i) {
    ordered &= logits[i] == logits[i];
    logits_[i] = logits[i];
  }
  size_ = logits.size();
  if (!std::exchange(ids_are_all_, true))
    for (std::size_t i = 0; i < size_; ++i) ids_[i] = static_cast<std::int32_t>(i);
  if (!ordered) check_not_nan("the model");
}

void Candidates::check_not_nan(const char* writer) const {
  for (std::size_t i = 0; i < size_; ++i)
    if (logits_[i] != logits_[i])
      fail(Code::argument, "the logit of token " + std::to_string(ids_[i]) + " is NaN (from " + writer + ")");
}

std::size_t Candidates::best() const {
  std::size_t place = 0;
  for (std::size_t i = 1; i < size_; ++i)
    if (logits_[i] > logits_[place]) place = i;
  if (size_ == 0 || logits_[place] == -infinity)
    fail(Code::argument, "no token is left to choose from: every logit is -infinity");
  return place;
}

double Candidates::below_best(std::size_t i, float best) const noexcept {
  if (best == infinity) return logits_[i] == infinity ? 0.0 : -std::numeric_limits<double>::infinity();
  return static_cast<double>(logits_[i]) - static_cast<double>(best);
}

double Candidates::weigh() {
  const float largest = logits_[best()];
  if (largest == infinity) {
    for (std::size_t i = 0; i < size_; ++i) weights_[i] = logits_[i] == infinity ? 1.0 : 0.0;
  } else {
    portable::exp_below(logits_.data(), size_, static_cast<double>(largest), weights_.data());
  }
  double total = 0;
  for (std::size_t i = 0; i < size_; ++i) total += weights_[i];
  return total;
}

// Bits of a float, made to ascend as the numbers descend; -0 and +0 are one number.
std::uint64_t Candidates::likely_first(float logit, std::size_t place) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(logit == 0.0f ? 0.0f : logit);
  const std::uint32_t descending = (bits & 0x80000000u) ? bits : ~bits & 0x7fffffffu;
  return (static_cast<std::uint64_t>(descending) << 32) | static_cast<std::uint32_t>(place);
}

// Radix sort of the high 32 bits in three stable passes: places already ascend, so equal ones stay in their order.
void Candidates::sort_keys(std::size_t count) {
  if (count <= 256) {
    std::sort(keys_.data(), keys_.data() + count);
    return;
  }
  constexpr std::array<int, 3> shifts{32, 43, 54};
  const auto digit = [](std::uint64_t key, int shift) { return (key >> shift) & (digit_values - 1); };
  std::fill_n(digits_.data(), 3 * digit_values, 0u);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t pass = 0; pass < 3; ++pass) ++digits_[pass * digit_values + digit(keys_[i], shifts[pass])];
  for (std::size_t pass = 0; pass < 3; ++pass) {
    std::uint32_t* starts = digits_.data() + pass * digit_values;
    std::uint32_t start = 0;
    for (std::size_t d = 0; d < digit_values; ++d) start += std::exchange(starts[d], start);
    for (std::size_t i = 0; i < count; ++i) keys_too_[starts[digit(keys_[i], shifts[pass])]++] = keys_[i];
    keys_.swap(keys_too_);
  }
}

void Candidates::keep_only(std::size_t place) {
  keep_if([&](std::size_t i) { return i == place; });
}

}  // namespace puna
