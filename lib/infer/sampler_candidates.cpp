#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "puna/base/portable_math.hpp"
#include "puna/base/status.hpp"
#include "puna/infer/sampler_steps.hpp"

namespace puna {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::size_t digit_values = 2048;
constexpr std::size_t small = 256;  // up to here std::sort is as fast

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
    if (vocab > small) grow(digits_, memory, 3 * digit_values);
    logits_ = std::move(logits);
  }
  grow(lengths_, memory, history);
}

std::size_t Candidates::bytes(std::size_t vocab) noexcept {
  const std::size_t of_token = 2 * sizeof(float) + sizeof(double) + 2 * sizeof(std::uint64_t) + 2 * sizeof(std::int32_t);
  return vocab * of_token + (vocab > small ? 3 * digit_values * sizeof(std::uint32_t) : 0);
}

void Candidates::load(std::span<const float> logits) {
  const std::size_t n = logits.size();
  float* mine = logits_.data();
  bool ordered = true;  // no NaN: found in one pass without a branch, named in a second
  for (std::size_t i = 0; i < n; ++i) {
    ordered &= logits[i] == logits[i];
    mine[i] = logits[i];
  }
  size_ = n;
  if (!std::exchange(ids_are_all_, true)) std::iota(ids_.data(), ids_.data() + n, 0);
  if (!ordered) check_not_nan("the model");
}

void Candidates::check_not_nan(const char* writer) const {
  for (std::size_t i = 0; i < size_; ++i)
    if (logits_[i] != logits_[i])
      fail(Code::argument, "the logit of token " + std::to_string(ids_[i]) + " is NaN (from " + writer + ")");
}

std::size_t Candidates::best() const {
  const float* mine = logits_.data();
  float largest = -infinity;
  for (std::size_t i = 0; i < size_; ++i) largest = mine[i] > largest ? mine[i] : largest;
  if (largest == -infinity) fail(Code::argument, "no token is left to choose from: every logit is -infinity");
  return static_cast<std::size_t>(std::find(mine, mine + size_, largest) - mine);
}

double Candidates::below_best(std::size_t i, float best) const noexcept {
  if (best == infinity) return logits_[i] == infinity ? 0.0 : -std::numeric_limits<double>::infinity();
  return static_cast<double>(logits_[i]) - static_cast<double>(best);
}

double Candidates::weigh() {
  const float* mine = logits_.data();
  double* weights = weights_.data();
  const float largest = mine[best()];
  if (largest == infinity) {
    for (std::size_t i = 0; i < size_; ++i) weights[i] = mine[i] == infinity ? 1.0 : 0.0;
  } else {
    portable::exp_below(mine, size_, static_cast<double>(largest), weights);
  }
  double total = 0;
  for (std::size_t i = 0; i < size_; ++i) total += weights[i];
  return total;
}

// Radix sort of the high 32 bits in three stable passes: places already ascend, so equal ones stay in their order.
void Candidates::sort_keys(std::size_t count) {
  if (count <= small) {
    std::sort(keys_.data(), keys_.data() + count);
    return;
  }
  const auto digit = [](std::uint64_t key, unsigned pass) { return (key >> (32 + 11 * pass)) & (digit_values - 1); };
  std::uint32_t* digits = digits_.data();
  std::uint64_t* from = keys_.data();
  std::fill_n(digits, 3 * digit_values, 0u);
  for (std::size_t i = 0; i < count; ++i)
    for (unsigned pass = 0; pass < 3; ++pass) ++digits[pass * digit_values + digit(from[i], pass)];
  for (unsigned pass = 0; pass < 3; ++pass) {
    std::uint32_t* starts = digits + pass * digit_values;
    std::uint32_t start = 0;
    for (std::size_t d = 0; d < digit_values; ++d) start += std::exchange(starts[d], start);
    from = keys_.data();
    std::uint64_t* to = keys_too_.data();
    for (std::size_t i = 0; i < count; ++i) to[starts[digit(from[i], pass)]++] = from[i];
    keys_.swap(keys_too_);
  }
}

void Candidates::keep_only(std::size_t place) {
  keys_[0] = place;
  keep_keys(1);
}

void Candidates::keep_keys(std::size_t count) {
  std::uint64_t* keys = keys_.data();
  for (std::size_t i = 0; i < count; ++i) keys[i] = place_of(keys[i]);
  if (count > size_ / 16) {  // too many to sort again: tick them off
    std::int32_t* marks = marks_.data();
    for (std::size_t i = 0; i < count; ++i) marks[keys[i]] = 1;
    std::size_t next = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      keys[next] = i;
      next += static_cast<std::size_t>(std::exchange(marks[i], 0));
      if (next == count) break;
    }
  } else {
    std::sort(keys, keys + count);
  }
  for (std::size_t i = 0; i < count; ++i) {
    logits_[i] = logits_[keys[i]];
    ids_[i] = ids_[keys[i]];
  }
  ids_are_all_ = ids_are_all_ && count == size_;
  size_ = count;
}

}  // namespace puna
