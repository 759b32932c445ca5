// The steps that change the logits of particular tokens: penalties by the history, biases, the host's callback.
#include <algorithm>
#include <limits>

#include "puna/base/status.hpp"
#include "puna/infer/sampler_steps.hpp"

namespace puna {
namespace {

constexpr double largest = std::numeric_limits<float>::max();

// A penalty never turns a finite logit into an infinite one: that would ban or force the token.
float changed(float logit, double value) {
  if (logit - logit != 0) return logit;
  return static_cast<float>(std::clamp(value, -largest, largest));
}

History last_of(History history, std::uint32_t window) {
  return history.last(std::min<std::size_t>(history.size(), window));
}

bool known(std::int32_t id, std::span<const std::int32_t> marks) { return static_cast<std::size_t>(id) < marks.size(); }

// For every candidate that the history marked; then all marks are zero again.
template <class Change>
void change_marked(Candidates& c, History marked, Change&& change) {
  const auto marks = c.marks();
  const auto logits = c.logits();
  const auto ids = c.ids();
  for (std::size_t i = 0; i < c.size(); ++i)
    if (const std::int32_t mark = marks[ids[i]]) logits[i] = changed(logits[i], change(logits[i], mark));
  for (const std::int32_t id : marked)
    if (known(id, marks)) marks[id] = 0;
}

// base^n by squaring, in one order of multiplications, and no larger than a float.
double power(double base, std::int32_t n) {
  double result = 1;
  for (; n > 0; n >>= 1) {
    if (n & 1) result = std::min(result * base, largest);
    base = std::min(base * base, largest);
  }
  return result;
}

bool stands_at(History history, std::size_t at, const std::vector<std::int32_t>& sequence) {
  return sequence.size() <= history.size() - at && std::equal(sequence.begin(), sequence.end(), history.begin() + at);
}

// How many tokens at the end follow the last whole breaker.
std::size_t unbroken(History history, const std::vector<std::vector<std::int32_t>>& breakers) {
  std::size_t begin = 0;
  for (const auto& breaker : breakers) {
    if (breaker.size() > history.size()) continue;
    for (std::size_t at = history.size() - breaker.size() + 1; at-- > 0 && at + breaker.size() > begin;) {
      if (!stands_at(history, at, breaker)) continue;
      begin = at + breaker.size();
      break;
    }
  }
  return history.size() - begin;
}

// z[d]: how many of the last tokens also stand in the same order d tokens earlier (the Z function, read backwards).
void repeated_back(History history, std::span<std::int32_t> z) {
  const auto n = static_cast<std::int32_t>(history.size());
  const auto back = [&](std::int32_t i) { return history[static_cast<std::size_t>(n - 1 - i)]; };
  std::int32_t left = 0, right = 0;  // the match seen so far that reaches furthest: back(left … right - 1)
  for (std::int32_t d = 1; d < n; ++d) {
    std::int32_t length = d < right ? std::min(z[d - left], right - d) : 0;
    while (d + length < n && back(length) == back(d + length)) ++length;
    z[d] = length;
    if (d + length > right) {
      left = d;
      right = d + length;
    }
  }
}

}  // namespace

void PenaltiesStep::apply(Candidates& c, History history) const {
  const History recent = last_of(history, window);
  const auto marks = c.marks();
  for (const std::int32_t id : recent)
    if (known(id, marks)) ++marks[id];
  change_marked(c, recent, [&](float logit, std::int32_t count) {
    const double x = static_cast<double>(logit);
    return (x > 0 ? x / repeat : x * repeat) - (count * frequency + presence);
  });
}

void DryStep::apply(Candidates& c, History history) const {
  const History recent = last_of(history, window);
  const std::size_t limit = unbroken(recent, breakers);
  if (limit < allowed || recent.size() <= allowed) return;
  const auto z = c.lengths();
  repeated_back(recent, z);
  const auto marks = c.marks();
  const auto is_breaker = [&](std::int32_t id) {
    return std::any_of(breakers.begin(), breakers.end(), [&](const auto& b) { return b.size() == 1 && b[0] == id; });
  };
  for (std::size_t d = 1; d < recent.size(); ++d) {
    const auto length = std::min(z[d], static_cast<std::int32_t>(limit));
    const std::int32_t next = recent[recent.size() - d];  // what followed the earlier run
    if (length >= static_cast<std::int64_t>(allowed) && known(next, marks) && !is_breaker(next))
      marks[next] = std::max(marks[next], length);
  }
  change_marked(c, recent, [&](float logit, std::int32_t length) {
    return static_cast<double>(logit) - multiplier * power(base, length - static_cast<std::int32_t>(allowed));
  });
}

void LogitBiasStep::apply(Candidates& c, History) const {
  const auto ids = c.ids();
  const auto logits = c.logits();
  std::size_t i = 0;
  for (const auto& [id, bias] : biases) {
    i = static_cast<std::size_t>(std::lower_bound(ids.begin() + i, ids.end(), id) - ids.begin());
    if (i == ids.size()) return;
    if (ids[i] != id) continue;
    // An infinite bias is a ban or an order, whatever the logit; a finite one leaves an infinite logit as it is.
    logits[i] = bias - bias != 0 ? bias : changed(logits[i], static_cast<double>(logits[i]) + static_cast<double>(bias));
  }
}

void CallbackStep::apply(Candidates& c, History history) const {
  const auto logits = c.logits();
  const auto ids = c.ids();
  const bool whole = c.size() == c.vocab();
  float* row = logits.data();
  if (!whole) {
    row = c.whole_row();
    std::fill_n(row, c.vocab(), -std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < c.size(); ++i) row[ids[i]] = logits[i];
  }
  if (const std::int32_t code = call(user, row, c.vocab(), history.data(), history.size()))
    throw Error(Code::callback, "the sampler callback returned " + std::to_string(code), code);
  if (!whole)
    for (std::size_t i = 0; i < c.size(); ++i) logits[i] = row[ids[i]];
  c.check_not_nan("the sampler callback");
}

}  // namespace puna
