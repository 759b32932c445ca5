#include "puna/infer/session.hpp"

#include <algorithm>

namespace puna {
namespace {

constexpr std::uint32_t max_sequences = 4096;
constexpr std::uint32_t max_speculate = 64;

CacheLayout layout_of(const Config& c, DType type) { return {type, c.N, c.K, c.E}; }

SessionOptions settled(const Model& model, const SessionOptions& options) {
  return plan_session(model.config(), any_quantized(model.params()), options, model.runtime()->tasks.width()).options;
}

}  // namespace

SessionPlan plan_session(const Config& config, bool quantized, SessionOptions o, std::uint32_t runtime_width) {
  if (o.context == 0) o.context = config.context;
  if (o.context > (1u << 30)) fail(Code::argument, "context is " + std::to_string(o.context) + ", at most 2^30 is possible");
  if (o.sequences == 0 || o.sequences > max_sequences)
    fail(Code::argument, "sequences is " + std::to_string(o.sequences) + ", not in 1 to " + std::to_string(max_sequences));
  if (o.cache_tokens == 0) o.cache_tokens = static_cast<std::uint64_t>(o.context) * o.sequences;
  if (!is_cache_type(o.cache_type))
    fail(Code::argument, "cache_type is " + std::to_string(static_cast<int>(o.cache_type)) + ", none of f32 (0), f16 (1), q4_0 (2), q8_0 (8)");
  if (!cache_type_fits(o.cache_type, config.E)) o.cache_type = DType::f16;
  if (o.batch == 0) o.batch = 512;
  o.batch = std::min<std::uint32_t>(o.batch, static_cast<std::uint32_t>(std::min<std::uint64_t>(o.cache_tokens, 1u << 16)));
  if (o.max_logits == 0) o.max_logits = o.sequences;
  if (o.speculate > max_speculate)
    fail(Code::argument, "speculate is " + std::to_string(o.speculate) + ", at most " + std::to_string(max_speculate));
  o.speculate = std::min(o.speculate, o.batch - 1);  // they and the token before them are one pass
  if (o.speculate) o.max_logits = std::max(o.max_logits, o.speculate + 1);
  o.threads = o.threads == 0 ? runtime_width : std::min(o.threads, runtime_width);
  SessionPlan plan{o, 0, 0};
  plan.cache_bytes = KvCache::bytes(layout_of(config, o.cache_type), o.sequences, o.cache_tokens);
  plan.workspace_bytes = Workspace::bytes(config, quantized, o.batch, o.max_logits, o.threads) + RopeTable::bytes(config, o.context) +
                         Candidates::bytes(config.V) + (o.speculate ? SuffixIndex::bytes(o.context) : 0);
  return plan;
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      options_(settled(*model_, options)),
      cache_(model_->runtime()->memory, layout_of(model_->config(), options_.cache_type), options_.context, options_.sequences,
             options_.cache_tokens),
      rope_(model_->runtime()->memory, model_->config(), options_.context),
      workspace_(model_->runtime()->memory, model_->config(), model_->params(), options_.batch, options_.max_logits,
                 options_.threads),
      pass_(model_->runtime()->tasks, options_.threads),
      greedy_(0, &model_->runtime()->memory) {
  if (options.cache_type != options_.cache_type)
    model_->runtime()->log(LogLevel::warning, "a cache of " + std::string(info(options.cache_type).name) + " needs heads of a multiple of " +
                                                  std::to_string(info(options.cache_type).block) + " wide, these are " +
                                                  std::to_string(model_->config().E) + ": the cache is f16");
  greedy_.add_greedy();
  greedy_.prepare(model_->config().V, 0);
  if (options_.speculate) suffixes_ = SuffixIndex(model_->runtime()->memory, options_.context);
  counts_.resize(options_.sequences);
  places_.resize(options_.batch);
  wanted_.reserve(options_.max_logits);
  pass_wanted_rows_.reserve(options_.max_logits);
}

void Session::set_adapters(std::vector<AdapterUse> uses) {
  if (feeding_) fail(Code::state, "adapters cannot change while a feed is in progress");
  adapters_ = AdapterSet(*model_, std::move(uses), options_.batch);
}

void Session::check_sequence(std::uint32_t sequence) const {
  if (sequence >= options_.sequences)
    fail(Code::argument, "sequence is " + std::to_string(sequence) + ", the session has " + std::to_string(options_.sequences));
}

std::uint32_t Session::length(std::uint32_t sequence) const {
  check_sequence(sequence);
  return cache_.length(sequence);
}

void Session::check_feed(const FeedInput& in) const {
  const Config& c = model_->config();
  const auto counted = [&](std::size_t size, const char* what) {
    if (size != 0 && size != in.count)
      fail(Code::argument, std::string(what) + " has " + std::to_string(size) + " entries for " + std::to_string(in.count) + " tokens");
  };
  if (in.count == 0) fail(Code::argument, "a feed of no tokens");
  if (in.ids.empty() == in.embeddings.empty()) fail(Code::argument, "a feed takes ids or embeddings, one of the two");
  counted(in.ids.size(), "ids");
  if (!in.embeddings.empty() && in.embeddings.size() != static_cast<std::size_t>(in.count) * c.D)
    fail(Code::argument, "embeddings are not [count][dim]");
  counted(in.sequences.size(), "sequences");
  counted(in.positions.size(), "positions");
  counted(in.want_logits.size(), "want_logits");
  for (std::size_t i = 0; i < in.ids.size(); ++i)
    if (in.ids[i] < 0 || static_cast<std::uint32_t>(in.ids[i]) >= c.V)
      fail(Code::argument, "token " + std::to_string(i) + " has id " + std::to_string(in.ids[i]) + ", the vocabulary has " + std::to_string(c.V));
  for (std::uint32_t s : in.sequences) check_sequence(s);
}

void Session::choose_logits(const FeedInput& in) {
  wanted_.clear();
  const auto want = [&](std::uint32_t row) {
    if (wanted_.size() == options_.max_logits)
      fail(Code::argument, "logits of more rows are wanted than max_logits, " + std::to_string(options_.max_logits));
    wanted_.push_back(row);
  };
  if (!in.want_logits.empty()) {
    for (std::uint32_t i = 0; i < in.count; ++i)
      if (in.want_logits[i]) want(i);
    return;
  }
  // The last row of each sequence: scan from the end, counting down what was seen of each.
  for (std::uint32_t i = 0; i < in.count; ++i) {
    const std::uint32_t s = in.sequences.empty() ? 0 : in.sequences[i];
    if (--counts_[s] == 0) want(i);
  }
}

void Session::begin_feed(const FeedInput& in) {
  if (feeding_) fail(Code::state, "a feed is already in progress");
  check_feed(in);
  std::fill(counts_.begin(), counts_.end(), 0u);
  for (std::uint32_t i = 0; i < in.count; ++i) {
    const std::uint32_t s = in.sequences.empty() ? 0 : in.sequences[i];
    const std::uint32_t position = cache_.length(s) + counts_[s]++;
    if (!in.positions.empty() && in.positions[i] != position)
      fail(Code::argument, "token " + std::to_string(i) + " is for position " + std::to_string(in.positions[i]) + " of sequence " +
                               std::to_string(s) + ", which goes on at " + std::to_string(position));
  }
  feed_ids_.assign(in.ids.begin(), in.ids.end());
  if (in.ids.empty()) feed_ids_.assign(in.count, -1);
  if (in.sequences.empty())
    feed_sequences_.assign(in.count, 0u);
  else
    feed_sequences_.assign(in.sequences.begin(), in.sequences.end());
  if (!in.embeddings.empty()) {
    feed_embeddings_ = Buffer<float>(model_->runtime()->memory, in.embeddings.size(), "embeddings of a feed", Raw{});
    std::copy(in.embeddings.begin(), in.embeddings.end(), feed_embeddings_.data());
  }
  cache_.reserve(counts_);
  try {
    choose_logits(in);
  } catch (...) {
    cache_.unreserve();
    wanted_.clear();
    throw;
  }
  if (cache_.copying()) pass_.start();
  feeding_ = true;
  in_pass_ = false;
  next_row_ = 0;
  next_wanted_ = 0;
}

bool Session::step_feed(const Deadline& deadline, const CancelToken* cancel) {
  while (feeding_) {
    if (cancel && cancel->tripped()) {
      abort_feed();
      fail(Code::cancelled, "the computation was cancelled");
    }
    if (cache_.copying()) {  // a pass of its own, before anything is written
      copy_pages(deadline, cancel);
      if (deadline.passed()) return false;
      continue;
    }
    if (!in_pass_) begin_pass();
    pass_.resume(deadline, cancel);
    run_pass();
    if (!pass_.stopped()) end_pass();
    if (feeding_ && deadline.passed()) return false;
  }
  return true;
}

void Session::copy_pages(const Deadline& deadline, const CancelToken* cancel) {
  pass_.resume(deadline, cancel);
  pass_(cache_.copying(), cache_.copying() * Pass::inline_work, [&](std::uint32_t tile, std::uint32_t) { cache_.copy(tile); });
  if (pass_.operations_done() == 1) cache_.copied();
}

void Session::begin_pass() {
  const auto rows = static_cast<std::uint32_t>(feed_ids_.size());
  pass_rows_ = std::min(options_.batch, rows - next_row_);
  std::fill(counts_.begin(), counts_.end(), 0u);
  for (std::uint32_t t = 0; t < pass_rows_; ++t) {
    const std::uint32_t s = feed_sequences_[next_row_ + t];
    places_[t] = {cache_.pages(s), cache_.length(s) + counts_[s]++};
  }
  pass_wanted_rows_.clear();
  pass_wanted_ = next_wanted_;
  while (pass_wanted_ < wanted_.size() && wanted_[pass_wanted_] < next_row_ + pass_rows_)
    pass_wanted_rows_.push_back(wanted_[pass_wanted_++] - next_row_);
  pass_.start();
  in_pass_ = true;
}

void Session::run_pass() {
  const Config& config = model_->config();
  Activations a = workspace_.activations();
  // Logits of this pass follow those of the passes before.
  a.logits += static_cast<std::size_t>(next_wanted_) * config.V;
  const Compute compute{machine_kernels(), pass_, workspace_.scratch(), workspace_.scratch_stride(),
                        observer_,        adapters_.adaptation()};
  const float* embeddings = feed_embeddings_.empty() ? nullptr : feed_embeddings_.data() + static_cast<std::size_t>(next_row_) * config.D;
  decoder(compute, config, model_->params(), a, rope_, cache_.layout(),
          {feed_ids_.data() + next_row_, embeddings, places_.data(), pass_rows_, pass_wanted_rows_.data(),
           static_cast<std::uint32_t>(pass_wanted_rows_.size())});
}

void Session::end_pass() {
  for (std::uint32_t t = 0; t < pass_rows_; ++t) cache_.append(feed_sequences_[next_row_ + t], feed_ids_[next_row_ + t]);
  next_row_ += pass_rows_;
  next_wanted_ = pass_wanted_;
  in_pass_ = false;
  if (next_row_ == feed_ids_.size()) {
    feeding_ = false;
    feed_embeddings_ = {};
  }
}

void Session::abort_feed() {
  if (!feeding_) return;
  feeding_ = in_pass_ = false;
  wanted_.resize(next_wanted_);
  feed_embeddings_ = {};
  cache_.unreserve();
}

std::span<const float> Session::logits(std::uint32_t index) const {
  const auto found = std::lower_bound(wanted_.begin(), wanted_.end(), index);
  if (feeding_ || found == wanted_.end() || *found != index)
    fail(Code::argument, "no logits are kept of token " + std::to_string(index) + " of the last feed");
  const std::size_t V = model_->config().V;
  return {workspace_.activations().logits + static_cast<std::size_t>(found - wanted_.begin()) * V, V};
}

void Session::fork(std::uint32_t from, std::uint32_t to) {
  check_sequence(from);
  check_sequence(to);
  cache_.fork(from, to);
}

void Session::truncate(std::uint32_t sequence, std::uint32_t length) {
  check_sequence(sequence);
  if (length > cache_.length(sequence))
    fail(Code::argument, "sequence " + std::to_string(sequence) + " holds " + std::to_string(cache_.length(sequence)) +
                             " tokens, it cannot be cut to " + std::to_string(length));
  cache_.truncate(sequence, length);
}

}  // namespace puna
