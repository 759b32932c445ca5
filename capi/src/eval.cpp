// Perplexity.
#include "puna/eval/perplexity.hpp"

#include <cmath>

#include "job.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

puna_perplexity_options perplexity_defaults() {
  puna_perplexity_options o{};
  o.struct_size = sizeof o;
  o.context = 512;
  return o;
}

class PerplexityWork final : public capi::Work {
 public:
  PerplexityWork(std::shared_ptr<const puna::Model> model, const std::vector<std::string_view>& texts, const puna::PerplexityOptions& o)
      : run_(std::move(model), texts, o) {}
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override { return run_.step(deadline, cancel); }
  capi::WorkProgress progress() const override { return {PUNA_PHASE_EVALUATE, run_.done(), run_.total()}; }
  puna_perplexity perplexity() const override {
    puna_perplexity p{};
    p.nll = run_.nll();
    p.ppl = std::exp(p.nll);
    p.tokens = run_.tokens();
    return p;
  }

 private:
  puna::PerplexityRun run_;
};

std::unique_ptr<puna_job> perplexity_job(const puna_model* model, const char* const* texts, const std::size_t* lengths,
                                         std::size_t count, const puna_perplexity_options* options) {
  const auto o = capi::read_options(options, perplexity_defaults(), "options");
  if (o.threads < 0) fail(Code::argument, "options.threads is " + std::to_string(o.threads));
  if (count) capi::required(texts, "texts"), capi::required(lengths, "lengths");
  std::vector<std::string_view> views;
  for (std::size_t i = 0; i < count; ++i) views.emplace_back(&capi::required(texts[i], "texts[i]"), lengths[i]);
  puna::PerplexityOptions p;
  p.protocol = static_cast<puna::PerplexityProtocol>(o.protocol);
  p.context = o.context;
  p.threads = static_cast<std::uint32_t>(o.threads);
  auto work = std::make_unique<PerplexityWork>(capi::required(model, "model").ref, views, p);
  return std::make_unique<puna_job>(std::move(work), capi::JobOptions{capi::cancel_of(o.cancel), o.progress, o.progress_user});
}

}  // namespace

extern "C" {

void PUNA_CALL puna_perplexity_options_init(puna_perplexity_options* options, size_t size) {
  capi::init_options(options, size, perplexity_defaults());
}

int32_t PUNA_CALL puna_eval_perplexity(const puna_model* model, const char* const* texts, const size_t* lengths, size_t count,
                                       const puna_perplexity_options* options, puna_perplexity* out, size_t size,
                                       puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const auto job = perplexity_job(model, texts, lengths, count, options);
    job->run();
    capi::write_output(out, size, job->finished_work().perplexity(), "out");
  });
}

int32_t PUNA_CALL puna_eval_perplexity_job(puna_job** out, const puna_model* model, const char* const* texts, const size_t* lengths,
                                           size_t count, const puna_perplexity_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = perplexity_job(model, texts, lengths, count, options).release();
  });
}

int32_t PUNA_CALL puna_job_perplexity(const puna_job* job, puna_perplexity* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] { capi::write_output(out, size, capi::required(job, "job").finished_work().perplexity(), "out"); });
}

}  // extern "C"
