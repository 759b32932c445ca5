// puna_sampler.
#include "puna/infer/sampler.hpp"

#include "border.hpp"
#include "handles.hpp"

namespace capi = puna::capi;

namespace {

// Every call but create: the sampler is used by one at a time.
template <class F>
std::int32_t with_sampler(puna_sampler* sampler, puna_error* error, F&& body) {
  return capi::entry(error, [&] {
    capi::SamplerBox& box = *capi::required(sampler, "sampler").box;
    capi::Claim claim(box.busy, "the sampler");
    body(box.sampler);
  });
}

}  // namespace

extern "C" {

int32_t PUNA_CALL puna_sampler_create(puna_sampler** out, uint64_t seed, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = new puna_sampler{std::make_shared<capi::SamplerBox>(seed)};
  });
}

void PUNA_CALL puna_sampler_destroy(puna_sampler* sampler) { delete sampler; }

int32_t PUNA_CALL puna_sampler_add_greedy(puna_sampler* sampler, puna_error* error) {
  return with_sampler(sampler, error, [](puna::Sampler& s) { s.add_greedy(); });
}
int32_t PUNA_CALL puna_sampler_add_temperature(puna_sampler* sampler, double temperature, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_temperature(temperature); });
}
int32_t PUNA_CALL puna_sampler_add_top_k(puna_sampler* sampler, uint32_t k, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_top_k(k); });
}
int32_t PUNA_CALL puna_sampler_add_top_p(puna_sampler* sampler, double p, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_top_p(p); });
}
int32_t PUNA_CALL puna_sampler_add_min_p(puna_sampler* sampler, double p, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_min_p(p); });
}
int32_t PUNA_CALL puna_sampler_add_typical(puna_sampler* sampler, double p, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_typical(p); });
}
int32_t PUNA_CALL puna_sampler_add_mirostat(puna_sampler* sampler, double tau, double eta, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_mirostat2(tau, eta); });
}
int32_t PUNA_CALL puna_sampler_add_penalties(puna_sampler* sampler, uint32_t window, double repeat, double frequency,
                                             double presence, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.add_penalties(window, repeat, frequency, presence); });
}
int32_t PUNA_CALL puna_sampler_add_dry(puna_sampler* sampler, double multiplier, double base, uint32_t allowed_length,
                                       uint32_t window, const int32_t* breakers, size_t breaker_count, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) {
    if (breaker_count) capi::required(breakers, "breakers");
    std::vector<std::vector<std::int32_t>> sequences;
    for (size_t i = 0; i < breaker_count; ++i) sequences.push_back({breakers[i]});
    s.add_dry(multiplier, base, allowed_length, window, std::move(sequences));
  });
}
int32_t PUNA_CALL puna_sampler_add_logit_bias(puna_sampler* sampler, const int32_t* ids, const float* biases, size_t count,
                                              puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) {
    if (count) capi::required(ids, "ids"), capi::required(biases, "biases");
    std::vector<std::pair<std::int32_t, float>> pairs;
    for (size_t i = 0; i < count; ++i) pairs.emplace_back(ids[i], biases[i]);
    s.add_logit_bias(pairs);
  });
}
int32_t PUNA_CALL puna_sampler_add_callback(puna_sampler* sampler, puna_logits_fn callback, void* user, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) {
    if (!callback) puna::fail(puna::Code::argument, "callback is NULL");
    s.add_callback(callback, user);
  });
}
int32_t PUNA_CALL puna_sampler_sample(puna_sampler* sampler, const float* logits, size_t n, int32_t* id, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) {
    capi::required(id, "id");
    const std::int32_t drawn = s.sample({&capi::required(logits, "logits"), n});
    *id = drawn;
  });
}
int32_t PUNA_CALL puna_sampler_accept(puna_sampler* sampler, int32_t id, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.accept(id); });
}
int32_t PUNA_CALL puna_sampler_reset(puna_sampler* sampler, uint64_t seed, puna_error* error) {
  return with_sampler(sampler, error, [&](puna::Sampler& s) { s.reset(seed); });
}

}  // extern "C"
