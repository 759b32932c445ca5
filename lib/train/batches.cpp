#include "puna/train/batches.hpp"

#include <algorithm>
#include <numeric>
#include <string>

#include "puna/base/rng.hpp"
#include "puna/base/status.hpp"

namespace puna {
namespace {

std::uint64_t learnt_of(const Example& e) {
  std::uint64_t n = 0;
  for (std::size_t i = 1; i < e.loss.size(); ++i) n += e.loss[i] != 0;
  return n;
}

void check(const Example& e, std::size_t row, const TrainOptions& o, std::uint32_t vocab, const char* what) {
  const std::string name = std::string(what) + " " + std::to_string(row);
  if (e.ids.size() != e.loss.size())
    fail(Code::argument, name + " has " + std::to_string(e.ids.size()) + " ids and " + std::to_string(e.loss.size()) + " marks");
  if (e.ids.size() < 2) fail(Code::argument, name + " has " + std::to_string(e.ids.size()) + " tokens: nothing to predict");
  if (e.ids.size() > o.length)
    fail(Code::argument, name + " has " + std::to_string(e.ids.size()) + " tokens, options.length is " + std::to_string(o.length));
  for (const std::int32_t id : e.ids)
    if (id < 0 || static_cast<std::uint32_t>(id) >= vocab)
      fail(Code::argument, name + " has token id " + std::to_string(id) + ", the vocabulary has " + std::to_string(vocab));
  if (learnt_of(e) == 0) fail(Code::argument, name + " would train nothing: no token of it carries loss");
}

}  // namespace

void MicroBatch::clear() {
  ids.clear(), begin.clear(), end.clear(), wanted.clear(), targets.clear(), first_wanted.clear();
}

void MicroBatch::add(const Example& e) {
  const auto first = static_cast<std::uint32_t>(ids.size());
  first_wanted.push_back(static_cast<std::uint32_t>(wanted.size()));
  // The last token is only a target.
  const auto rows = static_cast<std::uint32_t>(e.ids.size()) - 1;
  for (std::uint32_t i = 0; i < rows; ++i) {
    ids.push_back(e.ids[i]);
    begin.push_back(first);
    end.push_back(first + rows);
    if (!e.loss[i + 1]) continue;
    wanted.push_back(first + i);
    targets.push_back(e.ids[i + 1]);
  }
}

Batches::Batches(TrainData data, const TrainOptions& o, std::uint32_t vocab, const char* what)
    : data_(std::move(data)), batch_(o.batch), accumulate_(o.accumulate), shuffle_(o.shuffle), seed_(o.seed) {
  const Examples& examples = data_.examples;
  if (!o.preference()) data_.rejected.clear();  // the chosen answers are learnt
  Examples& rejected = data_.rejected;
  if (o.preference() && rejected.size() != examples.size())
    fail(Code::argument, std::string(what) + "s: " + std::to_string(examples.size()) + ", with " + std::to_string(rejected.size()) +
                             " rejected answers: preferences are pairs of a chosen and a rejected answer");
  std::size_t filled = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    std::size_t size = examples[i].ids.size();
    check(examples[i], i, o, vocab, what);
    learnt_ += learnt_of(examples[i]);
    if (pairs()) {
      check(rejected[i], i, o, vocab, (std::string("the rejected answer of ") + what).c_str());
      size += rejected[i].ids.size();
      learnt_ += learnt_of(rejected[i]);
    }
    tokens_ += size;
    if (!o.pack || groups_.empty() || filled + size > o.row_length()) groups_.emplace_back(), filled = 0;
    groups_.back().push_back(static_cast<std::uint32_t>(i));
    filled += size;
  }
}

std::uint64_t Batches::steps_per_epoch() const {
  const std::uint64_t rows = static_cast<std::uint64_t>(batch_) * accumulate_;
  return (groups_.size() + rows - 1) / rows;
}

std::size_t Batches::rows_in(std::uint64_t step) const {
  const std::size_t most = static_cast<std::size_t>(batch_) * accumulate_, first = static_cast<std::size_t>(step % steps_per_epoch()) * most;
  return std::min(most, groups_.size() - first);
}

std::uint32_t Batches::passes_in(std::uint64_t step) const { return static_cast<std::uint32_t>((rows_in(step) + batch_ - 1) / batch_); }

void Batches::shuffle(std::uint64_t epoch) {
  if (epoch == epoch_) return;
  order_.resize(groups_.size());
  std::iota(order_.begin(), order_.end(), 0u);
  if (shuffle_) {
    Rng rng(seed_, 0x1000000000ull + epoch);
    for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[static_cast<std::size_t>(rng.next() % i)]);
  }
  epoch_ = epoch;
}

std::uint64_t Batches::learnt_in(std::uint64_t step) {
  shuffle(step / steps_per_epoch());
  const std::size_t first = static_cast<std::size_t>(step % steps_per_epoch()) * batch_ * accumulate_;
  std::uint64_t n = 0;
  for (std::size_t i = first; i < first + rows_in(step); ++i)
    for (const std::uint32_t e : groups_[order_[i]]) n += pairs() ? 1 : learnt_of(examples()[e]);
  return n;
}

void Batches::add(std::uint32_t example, MicroBatch& out) const {
  out.add(data_.examples[example]);
  if (pairs()) out.add(data_.rejected[example]);
}

void Batches::finish(MicroBatch& out) const {
  out.weights.assign(out.wanted.size(), 0.0f);
  if (!pairs()) return;
  const std::size_t texts = out.first_wanted.size();
  out.reference.assign(texts, 0), out.pair_losses.assign(texts / 2, 0), out.margins.assign(texts / 2, 0);
}

void Batches::fill(std::uint64_t step, std::uint32_t pass, MicroBatch& out) {
  shuffle(step / steps_per_epoch());
  out.clear();
  const std::size_t start = static_cast<std::size_t>(step % steps_per_epoch()) * batch_ * accumulate_;
  const std::size_t first = start + static_cast<std::size_t>(pass) * batch_, end = std::min(first + batch_, start + rows_in(step));
  for (std::size_t i = first; i < end; ++i)
    for (const std::uint32_t e : groups_[order_[i]]) add(e, out);
  finish(out);
}

std::uint32_t Batches::passes() const { return static_cast<std::uint32_t>((groups_.size() + batch_ - 1) / batch_); }

void Batches::fill_plain(std::uint32_t pass, MicroBatch& out) const {
  out.clear();
  const std::size_t first = static_cast<std::size_t>(pass) * batch_;
  for (std::size_t i = first; i < std::min(first + batch_, groups_.size()); ++i)
    for (const std::uint32_t e : groups_[i]) add(e, out);
  finish(out);
}

}  // namespace puna
