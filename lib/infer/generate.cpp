#include "puna/infer/generate.hpp"

namespace puna {
namespace {

constexpr std::uint32_t max_logprobs = 64;

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
  const std::vector<std::uint32_t> sequences(prompt.size(), options_.sequence);
  FeedInput feed;
  feed.ids = prompt;
  feed.count = static_cast<std::uint32_t>(prompt.size());
  feed.sequences = sequences;
  session_.begin_feed(feed);
  for (std::int32_t id : prompt) sampler_->accept(id);
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

bool Generator::step(const Deadline& deadline, const CancelToken* cancel) {
  while (result_.stop == StopCause::none) {
    const auto from = Clock::now();
    const bool fed = session_.step_feed(deadline, cancel);
    const bool prompt = in_prompt_;
    if (fed) {
      in_prompt_ = false;
      draw();
    }
    const double spent = std::chrono::duration<double, std::milli>(Clock::now() - from).count();
    (prompt ? result_.prompt_ms : result_.decode_ms) += spent;
    if (!fed || deadline.passed()) return result_.stop != StopCause::none;
  }
  return true;
}

// The feed is complete: choose the next token, tell it, and begin its feed.
void Generator::draw() {
  if (drawn_all_) return finish(StopCause::length);
  const std::uint32_t held = session_.length(options_.sequence);
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
  const std::uint32_t sequence = options_.sequence;
  FeedInput feed;
  feed.ids = {&id, 1};
  feed.count = 1;
  feed.sequences = {&sequence, 1};
  try {
    session_.begin_feed(feed);
  } catch (const Error& error) {
    if (error.code() != Code::context_full) throw;
    return finish(StopCause::context);  // other sequences took the room
  }
  last_row_ = 0;
  drawn_all_ = options_.max_tokens != 0 && result_.tokens >= options_.max_tokens;
}

// Text that was held back, for an unfinished character or a stop string that did not come, is still owed.
void Generator::finish(StopCause cause) {
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
