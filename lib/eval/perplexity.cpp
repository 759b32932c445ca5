#include "puna/eval/perplexity.hpp"

#include <algorithm>
#include <cmath>

#include "puna/eval/nll.hpp"

namespace puna {
namespace {

constexpr std::uint32_t slice_rows = 64;  // rows of logits held at once

}  // namespace

PerplexityRun::PerplexityRun(std::shared_ptr<const Model> model, const std::vector<std::string_view>& texts,
                             const PerplexityOptions& options)
    : model_(std::move(model)) {
  if (!model_->tokenizer()) fail(Code::state, model_->name() + ": the model has no tokenizer, a text cannot be measured");
  if (options.context < 2 || options.context > model_->config().context)
    fail(Code::argument, "context is " + std::to_string(options.context) + ", not in 2 to the model's " +
                             std::to_string(model_->config().context));
  if (options.protocol == PerplexityProtocol::documents) {
    add_documents(texts, options.context);
  } else if (options.protocol == PerplexityProtocol::half || options.protocol == PerplexityProtocol::windows) {
    if (texts.size() != 1) fail(Code::argument, "this protocol takes one text, not " + std::to_string(texts.size()));
    add_chunks(texts[0], options.context, options.protocol);
  } else {
    fail(Code::argument, "protocol is " + std::to_string(static_cast<int>(options.protocol)) + ", not one of 0, 1, 2");
  }
  for (const Window& w : windows_) total_ += w.ids.size();
  SessionOptions session;
  session.context = options.context;
  session.batch = session.max_logits = std::min(slice_rows, options.context);
  session.threads = options.threads;
  session.cache_type = DType::f32;
  session_ = std::make_unique<Session>(model_, session);
  begin_slice();
}

void PerplexityRun::add_documents(const std::vector<std::string_view>& texts, std::uint32_t n) {
  const Tokenizer& tokenizer = *model_->tokenizer();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EncodeOptions encode;
    encode.bos = true;
    Window w{tokenizer.encode(texts[i], encode), 1};
    if (w.ids.size() > n) w.ids.resize(n);
    if (w.ids.size() < 2) fail(Code::argument, "text " + std::to_string(i + 1) + " is empty: nothing to score");
    windows_.push_back(std::move(w));
  }
  if (windows_.empty()) fail(Code::argument, "no text to measure");
}

void PerplexityRun::add_chunks(std::string_view text, std::uint32_t n, PerplexityProtocol protocol) {
  const Tokenizer& tokenizer = *model_->tokenizer();
  EncodeOptions encode;
  encode.bos = tokenizer.add_bos();
  const std::vector<std::int32_t> ids = tokenizer.encode(text, encode);
  const std::size_t chunks = ids.size() / n;
  if (chunks == 0)
    fail(Code::argument, "the text has " + std::to_string(ids.size()) + " tokens, fewer than one chunk of " + std::to_string(n));
  const bool half = protocol == PerplexityProtocol::half;
  for (std::size_t i = 0; i < chunks; ++i) {
    Window w{{ids.begin() + static_cast<std::ptrdiff_t>(i * n), ids.begin() + static_cast<std::ptrdiff_t>((i + 1) * n)}, half ? n / 2 + 1 : 1};
    if (half && encode.bos) w.ids[0] = tokenizer.bos();
    if (w.first_scored >= n) fail(Code::argument, "context is " + std::to_string(n) + ", too short to score a second half");
    windows_.push_back(std::move(w));
  }
}

// The next rows of the window go through the model; the last token of a window is only a target.
void PerplexityRun::begin_slice() {
  const Window& w = windows_[window_];
  const auto rows = static_cast<std::uint32_t>(w.ids.size()) - 1;
  slice_size_ = std::min(slice_rows, rows - slice_begin_);
  slice_size_ = std::min(slice_size_, session_->options().max_logits);
  want_.assign(slice_size_, 0);
  for (std::uint32_t i = 0; i < slice_size_; ++i) want_[i] = slice_begin_ + i + 1 >= w.first_scored;
  FeedInput feed;
  feed.ids = std::span(w.ids).subspan(slice_begin_, slice_size_);
  feed.count = slice_size_;
  feed.want_logits = want_;
  session_->begin_feed(feed);
  scored_rows_ = 0;
}

void PerplexityRun::score_row() {
  const Window& w = windows_[window_];
  const std::uint32_t row = scored_rows_++;
  ++done_;
  if (!want_[row]) return;
  const double nll = log_softmax_nll(session_->logits(row), w.ids[slice_begin_ + row + 1]);
  if (!std::isfinite(nll)) fail(Code::format, model_->name() + ": gives no numbers: the loss of token " + std::to_string(done_) + " is not finite");
  sum_ += nll;
  ++scored_;
}

bool PerplexityRun::step(const Deadline& deadline, const CancelToken* cancel) {
  while (window_ < windows_.size()) {
    if (!session_->step_feed(deadline, cancel)) return false;
    while (scored_rows_ < slice_size_) {
      score_row();
      if (cancel && cancel->tripped()) fail(Code::cancelled, "the measurement was cancelled");
      if (deadline.passed()) return false;
    }
    slice_begin_ += slice_size_;
    if (slice_begin_ + 1 >= windows_[window_].ids.size()) {
      ++done_;
      slice_begin_ = 0;
      if (++window_ == windows_.size()) return true;
      session_->truncate(0, 0);
    }
    begin_slice();
  }
  return true;
}

}  // namespace puna
