// From a prompt to text: the loop over session, sampler and detokenizer, as resumable work.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "puna/infer/sampler.hpp"
#include "puna/infer/session.hpp"
#include "puna/infer/speculate.hpp"
#include "puna/infer/stop.hpp"
#include "puna/text/detokenizer.hpp"

namespace puna {

enum class StopCause : std::int32_t { none = 0, eos = 1, length = 2, context = 3, stop_string = 4 };

struct TokenEvent {
  std::int32_t id;
  std::string_view text;  // whole characters that are now certain
  std::span<const TokenLogprob> top;
  float logprob;
};

// Guessing ahead (speculate.hpp). The session must be made for it: options().speculate is how far.
enum class Speculate : std::int32_t { none = 0, suffix = 1, draft = 2 };

struct GenerateOptions {
  std::uint32_t max_tokens = 0;  // 0: until the context is full
  std::uint32_t sequence = 0;
  std::uint32_t logprobs = 0;
  bool ignore_eos = false;
  bool no_bos = false;
  bool parse_special = false;
  std::vector<std::string> stop;
  std::vector<std::int32_t> prompt_ids;  // used when ids_given
  bool ids_given = false;
  Sampler* sampler = nullptr;  // null: greedy
  Speculate speculate = Speculate::none;
  Session* draft = nullptr;          // for Speculate::draft; outlives the generator, its sequence is overwritten
  std::uint32_t draft_sequence = 0;
  Proposer* proposer = nullptr;      // instead of these; not owned
  bool always_speculate = false;     // every guess offered is computed, whether it pays or not
  // Non-zero stops with Error(callback).
  std::function<std::int32_t(const TokenEvent&)> on_token;
};

struct GenerateResult {
  StopCause stop = StopCause::none;
  std::uint32_t prompt_tokens = 0, tokens = 0;
  double prompt_ms = 0, decode_ms = 0;
  std::uint32_t proposed = 0, accepted = 0;  // guesses computed, and those of them that were right
};

class Generator {
 public:
  // Encodes the prompt and reserves its room; throws with the session unchanged. The session must outlive it.
  Generator(Session& session, std::string_view text, GenerateOptions options);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // True when finished. Throws Error(cancelled | callback); then the sequence holds what was computed.
  bool step(const Deadline& deadline, const CancelToken* cancel);

  const GenerateResult& result() const { return result_; }
  std::uint32_t max_tokens() const { return options_.max_tokens; }
  bool in_prompt() const { return in_prompt_; }
  std::uint32_t prompt_fed() const { return in_prompt_ ? session_.fed() : result_.prompt_tokens; }

 private:
  std::vector<std::int32_t> encode_prompt(std::string_view text) const;
  void set_up_speculation();
  bool advance(const Deadline& deadline, const CancelToken* cancel);
  bool feed(const Deadline& deadline, const CancelToken* cancel);
  bool guess(const Deadline& deadline, const CancelToken* cancel);
  void draw();
  void go_on(std::int32_t id);
  void begin_guess();
  void begin_feed(std::span<const std::int32_t> guesses);
  void end_pass();
  void drop_unverified();
  void finish(StopCause cause);

  Session& session_;
  GenerateOptions options_;
  Sampler* sampler_;
  std::optional<Detokenizer> detokenizer_;
  StopMatcher stops_;
  GenerateResult result_;
  std::uint32_t last_row_ = 0;  // of the feed in progress, or done: whose logits come next
  bool in_prompt_ = true;
  bool drawn_all_ = false;      // the last token is only fed, nothing is drawn after it
  std::string piece_, text_;    // reused from token to token
  std::vector<TokenLogprob> top_;

  // Speculation. A pass is the token drawn last and the guesses after it; they end the cache until they are verified.
  std::unique_ptr<Proposer> own_proposer_;
  Proposer* proposer_ = nullptr;
  SpeculationPace pace_{0};
  bool preparing_ = false;
  bool guessing_ = false;
  Proposer::Offer offer_;
  std::vector<std::int32_t> pass_;
  std::vector<std::uint32_t> sequences_;
  std::vector<std::uint8_t> want_;
  std::uint32_t unverified_ = 0;
  double pass_ms_ = 0, guess_ms_ = 0;
};

}  // namespace puna
