#include "puna/infer/generate.hpp"

namespace puna {
namespace {

constexpr std::uint32_t max_logprobs = 64;

double ms_since(Clock::time_point from) { return std::chrono::duration<double, std::milli>(Clock::now() - from).count(); }

}  // namespace

Generator::Generator(Session& session, std::string_view text, GenerateOptions options)
    : session_(session),
      options_(std::move(options)),
      sampler_(options_.sampler ? options_.sampler : &session.greedy()),
      stops_(options_.stop) {
  if (options_.logprobs > max_logprobs)
    fail(Code::argument, "logprobs is " + std::to_string(options_.logprobs) + ", at most " + std::to_string(max_logprobs));
  const Model& model = session_.model();
  const std::vector<std::int32_t> prompt = options_.ids_given ? options_.prompt_ids : encode_prompt(text);
  if (prompt.empty()) fail(Code::argument, "the prompt has no tokens");
  if (model.tokenizer()) {
    // A reply that goes on from text keeps its first space; one that starts the text loses it, as decoding the whole does.
    bool continues = false;
    const auto is_text = [&](std::int32_t id) {
      return id >= 0 && model.tokenizer()->valid(id) && !(model.tokenizer()->attributes(id) & token_control);
    };
    for (std::int32_t id : session_.cache().ids(options_.sequence)) continues |= is_text(id);
    for (std::int32_t id : prompt) continues |= is_text(id);
    detokenizer_.emplace(model.tokenizer(), !continues);
  }
  if (options_.sampler) sampler_->prepare(model.config().V, session_.options().context);
  top_.reserve(options_.logprobs);
  set_up_speculation();
  const std::vector<std::uint32_t> sequences(prompt.size(), options_.sequence);
  FeedInput feed;
  feed.ids = prompt;
  feed.count = static_cast<std::uint32_t>(prompt.size());
  feed.sequences = sequences;
  const std::uint32_t before = session_.length(options_.sequence);
  session_.begin_feed(feed);
  for (std::int32_t id : prompt) sampler_->accept(id);
  if (proposer_) proposer_->start(session_.cache().ids(options_.sequence).first(before), prompt);
  last_row_ = feed.count - 1;
  result_.prompt_tokens = feed.count;
}

std::vector<std::int32_t> Generator::encode_prompt(std::string_view text) const {
  const auto& tokenizer = session_.model().tokenizer();
  if (!tokenizer)
    fail(Code::state, session_.model().name() + ": the model has no tokenizer, so a prompt must be given as ids");
  EncodeOptions encode;
  const bool fresh = session_.length(options_.sequence) == 0;
  encode.bos = fresh && tokenizer->add_bos() && !options_.no_bos;
  encode.parse_special = options_.parse_special;
  return tokenizer->encode(text, encode);
}

void Generator::set_up_speculation() {
  sequences_.assign(session_.options().speculate + 1, options_.sequence);
  want_.assign(session_.options().speculate + 1, 1);
  pass_.reserve(session_.options().speculate + 1);
  if (options_.speculate == Speculate::none && !options_.proposer) return;
  const std::uint32_t most = session_.options().speculate;
  if (most == 0) fail(Code::argument, "the session was made without room for speculation: its option speculate is 0");
  if (options_.proposer) {
    proposer_ = options_.proposer;
  } else if (options_.speculate == Speculate::suffix) {
    own_proposer_ = std::make_unique<SuffixProposer>(session_.suffixes(), most);
  } else {
    if (!options_.draft) fail(Code::argument, "speculation with a draft model was asked for, but no draft session was given");
    own_proposer_ = std::make_unique<DraftProposer>(*options_.draft, options_.draft_sequence, session_, options_.sampler);
  }
  if (own_proposer_) proposer_ = own_proposer_.get();
  pace_ = SpeculationPace(most);
  preparing_ = true;
}

Generator::~Generator() {
  session_.abort_feed();
  drop_unverified();
}

bool Generator::step(const Deadline& deadline, const CancelToken* cancel) {
  while (result_.stop == StopCause::none) {
    const auto from = Clock::now();
    const bool prompt = in_prompt_;
    bool whole = false;
    try {
      whole = advance(deadline, cancel);
    } catch (...) {
      drop_unverified();
      throw;
    }
    (prompt ? result_.prompt_ms : result_.decode_ms) += ms_since(from);
    if (!whole || deadline.passed()) return result_.stop != StopCause::none;
  }
  return true;
}

// One token further; false when the budget ran out before.
bool Generator::advance(const Deadline& deadline, const CancelToken* cancel) {
  if (guessing_ && !guess(deadline, cancel)) return false;
  if (result_.stop != StopCause::none) return true;
  if (session_.feeding()) {
    if (!feed(deadline, cancel)) return false;
  } else if (proposer_ && cancel && cancel->tripped()) {
    // Between two rows of a pass. Without guesses the last token would still have to be computed.
    if (!in_prompt_) ++unverified_;
    fail(Code::cancelled, "the computation was cancelled");
  }
  if (preparing_ && !proposer_->prepare(session_.cache().ids(options_.sequence), deadline, cancel)) return false;
  preparing_ = in_prompt_ = false;
  draw();
  return true;
}

bool Generator::feed(const Deadline& deadline, const CancelToken* cancel) {
  if (!proposer_) return session_.step_feed(deadline, cancel);
  const auto from = Clock::now();
  const bool done = session_.step_feed(deadline, cancel);
  pass_ms_ += ms_since(from);
  if (!done) return false;
  if (in_prompt_) return true;
  unverified_ = static_cast<std::uint32_t>(pass_.size()) - 1;
  result_.proposed += unverified_;
  if (pass_.size() == 1) pace_.plain(pass_ms_);
  return true;
}

// A row's logits are there: choose the next token, tell it, and see to the row after it.
void Generator::draw() {
  if (drawn_all_) return finish(StopCause::length);
  const std::uint32_t held = session_.length(options_.sequence) - unverified_;
  if (held == session_.options().context) return finish(StopCause::context);
  const std::span<const float> logits = session_.logits(last_row_);
  const std::int32_t id = sampler_->sample(logits);
  const auto& tokenizer = session_.model().tokenizer();
  // BOS never follows text: drawing it means that a new document would begin.
  if (!options_.ignore_eos && tokenizer && (id == tokenizer->eos() || id == tokenizer->bos())) return finish(StopCause::eos);
  float logprob = 0;
  top_.clear();
  if (options_.logprobs) logprob = sampler_->top_logprobs(logits, options_.logprobs, id, top_);
  sampler_->accept(id);
  ++result_.tokens;
  piece_.clear();
  text_.clear();
  if (detokenizer_) detokenizer_->feed(id, piece_);
  const bool matched = stops_.feed(piece_, text_);
  if (options_.on_token) {
    const TokenEvent event{id, text_, top_, logprob};
    if (const std::int32_t code = options_.on_token(event)) throw Error(Code::callback, "the callback stopped the generation", code);
  }
  if (matched) return finish(StopCause::stop_string);
  drawn_all_ = options_.max_tokens != 0 && result_.tokens >= options_.max_tokens;
  go_on(id);
}

// The row after a drawn token is there when it was guessed; else the token is fed, with guesses of what follows it.
void Generator::go_on(std::int32_t id) {
  if (proposer_) proposer_->drawn(id);
  if (unverified_ > 0 && pass_[pass_.size() - unverified_] == id) {
    --unverified_;
    ++last_row_;
    ++result_.accepted;
    return;
  }
  end_pass();
  pass_.assign(1, id);
  begin_guess();
  if (!guessing_) begin_feed({});
}

void Generator::begin_guess() {
  guess_ms_ = 0;
  if (!proposer_ || drawn_all_ || !(options_.always_speculate || pace_.ready())) return;
  const auto held = session_.cache().ids(options_.sequence);
  const std::uint32_t room = session_.options().context - static_cast<std::uint32_t>(held.size());  // the token's own included
  std::uint32_t most = std::min(pace_.limit(), room - 1);
  if (options_.max_tokens) most = std::min(most, options_.max_tokens - result_.tokens - 1);
  if (most == 0) return;
  const auto from = Clock::now();
  offer_ = proposer_->offer(held, pass_[0], most);
  if (!options_.always_speculate) offer_.count = pace_.choose(offer_, *proposer_);
  guess_ms_ = ms_since(from);
  guessing_ = offer_.count > 0;
}

bool Generator::guess(const Deadline& deadline, const CancelToken* cancel) {
  const auto from = Clock::now();
  const bool done = proposer_->step(offer_.count, deadline, cancel);
  guess_ms_ += ms_since(from);
  if (!done) return false;
  guessing_ = false;
  begin_feed(proposer_->guesses());
  return true;
}

void Generator::begin_feed(std::span<const std::int32_t> guesses) {
  pass_.insert(pass_.end(), guesses.begin(), guesses.end());
  pass_ms_ = 0;
  last_row_ = 0;
  for (;;) {
    FeedInput feed;
    feed.ids = pass_;
    feed.count = static_cast<std::uint32_t>(pass_.size());
    feed.sequences = std::span(sequences_).first(feed.count);
    feed.want_logits = std::span(want_).first(feed.count);
    try {
      return session_.begin_feed(feed);
    } catch (const Error& error) {
      if (error.code() != Code::context_full) throw;
    }
    if (pass_.size() == 1) return finish(StopCause::context);  // other sequences took the room
    pass_.resize(1);
  }
}

// All that a pass could tell was drawn.
void Generator::end_pass() {
  if (pass_.size() > 1) {
    const auto count = static_cast<std::uint32_t>(pass_.size()) - 1;
    pace_.speculated(offer_.kind, count, count - unverified_, pass_ms_, guess_ms_);
  }
  drop_unverified();
}

void Generator::drop_unverified() {
  if (unverified_ == 0 || session_.feeding()) return;
  session_.truncate(options_.sequence, session_.length(options_.sequence) - unverified_);
  unverified_ = 0;
}

// Text that was held back, for an unfinished character or a stop string that did not come, is still owed.
void Generator::finish(StopCause cause) {
  drop_unverified();
  result_.stop = cause;
  piece_.clear();
  text_.clear();
  if (cause != StopCause::stop_string) {
    if (detokenizer_) detokenizer_->flush(piece_);
    if (!stops_.feed(piece_, text_)) stops_.flush(text_);
    if (!text_.empty() && options_.on_token) {
      const TokenEvent event{-1, text_, {}, 0};
      if (const std::int32_t code = options_.on_token(event)) throw Error(Code::callback, "the callback stopped the generation", code);
    }
  }
}

}  // namespace puna
