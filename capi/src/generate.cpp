// puna_session_generate and its job.
#include "puna/infer/generate.hpp"

#include "job.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

constexpr std::uint32_t known_flags = PUNA_GENERATE_IGNORE_EOS | PUNA_GENERATE_NO_BOS | PUNA_GENERATE_PARSE_SPECIAL;

puna_generate_options generate_defaults() {
  puna_generate_options o{};
  o.struct_size = sizeof o;
  return o;
}

struct Listener {
  puna_text_fn on_text;
  void* text_user;
  puna_token_fn on_token;
  void* token_user;
  static_assert(sizeof(puna_token_logprob) == sizeof(puna::TokenLogprob) && offsetof(puna_token_logprob, logprob) == offsetof(puna::TokenLogprob, logprob));

  std::int32_t operator()(const puna::TokenEvent& e) const {
    if (on_token && e.id >= 0) {
      puna_token_event event{};
      event.struct_size = sizeof event;
      event.id = e.id;
      event.text = e.text.data() ? e.text.data() : "";
      event.text_length = e.text.size();
      event.top = reinterpret_cast<const puna_token_logprob*>(e.top.data());
      event.top_count = static_cast<std::uint32_t>(e.top.size());
      event.logprob = e.logprob;
      if (const std::int32_t code = on_token(token_user, &event)) return code;
    }
    return on_text && !e.text.empty() ? on_text(text_user, e.text.data(), e.text.size()) : 0;
  }
};

puna::GenerateOptions core_options(const puna_generate_options& o, puna::Sampler* sampler, puna::Session* draft,
                                   const Listener& listener) {
  if (o.flags & ~known_flags)
    fail(Code::unsupported, "options.flags is " + std::to_string(o.flags) + ", with bits that this library does not know");
  puna::GenerateOptions g;
  g.max_tokens = o.max_tokens;
  g.sequence = o.sequence;
  g.logprobs = o.logprobs;
  g.ignore_eos = (o.flags & PUNA_GENERATE_IGNORE_EOS) != 0;
  g.no_bos = (o.flags & PUNA_GENERATE_NO_BOS) != 0;
  g.parse_special = (o.flags & PUNA_GENERATE_PARSE_SPECIAL) != 0;
  if (o.stop_count) capi::required(o.stop, "options.stop");
  for (std::uint32_t i = 0; i < o.stop_count; ++i) g.stop.emplace_back(&capi::required(o.stop[i], "options.stop[i]"));
  if (o.prompt_ids) {
    g.prompt_ids.assign(o.prompt_ids, o.prompt_ids + o.prompt_id_count);
    g.ids_given = true;
  }
  g.sampler = sampler;
  g.speculate = static_cast<puna::Speculate>(o.speculate);
  g.draft = draft;
  g.draft_sequence = o.draft_sequence;
  g.on_token = listener;
  return g;
}

std::shared_ptr<capi::SessionBox> draft_of(const puna_generate_options& o) {
  if (o.speculate < PUNA_SPECULATE_NONE || o.speculate > PUNA_SPECULATE_DRAFT)
    fail(Code::argument, "options.speculate is " + std::to_string(o.speculate) + ", not a PUNA_SPECULATE_ value");
  return o.speculate == PUNA_SPECULATE_DRAFT ? capi::required(o.draft, "options.draft").box : nullptr;
}

class GenerateWork final : public capi::Work {
 public:
  GenerateWork(std::shared_ptr<capi::SessionBox> box, std::string_view text, const puna_generate_options& o, const Listener& listener)
      : box_(std::move(box)), sampler_(o.sampler ? o.sampler->box : nullptr), draft_(draft_of(o)) {
    session_claim_.emplace(box_->busy, "the session");
    if (sampler_) sampler_claim_.emplace(sampler_->busy, "the sampler");
    if (draft_) draft_claim_.emplace(draft_->busy, "the draft session");
    generator_.emplace(box_->session, text,
                       core_options(o, sampler_ ? &sampler_->sampler : nullptr, draft_ ? &draft_->session : nullptr, listener));
  }
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override {
    try {
      const bool done = generator_->step(deadline, cancel);
      note();
      if (done) release();
      return done;
    } catch (...) {
      note();
      release();
      throw;
    }
  }
  capi::WorkProgress progress() const override { return progress_; }
  puna::GenerateResult generated() const override { return result_; }

 private:
  void note() {
    result_ = generator_->result();
    if (generator_->in_prompt())
      progress_ = {PUNA_PHASE_PROMPT, generator_->prompt_fed(), result_.prompt_tokens};
    else
      progress_ = {PUNA_PHASE_DECODE, result_.tokens, generator_->max_tokens()};
  }
  void release() {
    generator_.reset();
    draft_claim_.reset();
    sampler_claim_.reset();
    session_claim_.reset();
  }
  std::shared_ptr<capi::SessionBox> box_;
  std::shared_ptr<capi::SamplerBox> sampler_;
  std::shared_ptr<capi::SessionBox> draft_;
  std::optional<capi::Claim> session_claim_, sampler_claim_, draft_claim_;
  std::optional<puna::Generator> generator_;  // last, so that it goes before the claims
  puna::GenerateResult result_;
  capi::WorkProgress progress_{PUNA_PHASE_PROMPT, 0, 0};
};

std::unique_ptr<puna_job> generate_job(puna_session* session, const char* text, std::size_t length,
                                       const puna_generate_options* options, puna_text_fn on_text, void* user) {
  const auto o = capi::read_options(options, generate_defaults(), "options");
  if (o.prompt_ids && text) fail(Code::argument, "options.prompt_ids and a text are both given");
  if (!o.prompt_ids && !text && length) fail(Code::argument, "text is NULL with a length");
  auto work = std::make_unique<GenerateWork>(capi::required(session, "session").box, std::string_view(text ? text : "", length), o,
                                             Listener{on_text, user, o.on_token, o.on_token_user});
  return std::make_unique<puna_job>(std::move(work), capi::JobOptions{capi::cancel_of(o.cancel), o.progress, o.progress_user});
}

}  // namespace

extern "C" {

void PUNA_CALL puna_generate_options_init(puna_generate_options* options, size_t size) {
  capi::init_options(options, size, generate_defaults());
}

int32_t PUNA_CALL puna_session_generate(puna_session* session, const char* text, size_t length,
                                        const puna_generate_options* options, puna_text_fn on_text, void* user, puna_error* error) {
  return capi::entry(error, [&] { generate_job(session, text, length, options, on_text, user)->run(); });
}

int32_t PUNA_CALL puna_session_generate_job(puna_job** out, puna_session* session, const char* text, size_t length,
                                            const puna_generate_options* options, puna_text_fn on_text, void* user,
                                            puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = generate_job(session, text, length, options, on_text, user).release();
  });
}

int32_t PUNA_CALL puna_job_generated(const puna_job* job, puna_generate_result* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const puna::GenerateResult r = capi::required(job, "job").finished_work().generated();
    puna_generate_result result{};
    result.stop = static_cast<int32_t>(r.stop);
    result.prompt_tokens = r.prompt_tokens;
    result.tokens = r.tokens;
    result.prompt_ms = r.prompt_ms;
    result.decode_ms = r.decode_ms;
    result.proposed = r.proposed;
    result.accepted = r.accepted;
    capi::write_output(out, size, result, "out");
  });
}

}  // extern "C"
