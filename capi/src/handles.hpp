// What the opaque handles hold. Each is a reference to shared state, so that destroy order is free.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "puna.h"
#include "puna/base/runtime.hpp"
#include "puna/infer/generate.hpp"
#include "puna/infer/model.hpp"
#include "puna/infer/session.hpp"
#include "puna/text/tokenizer.hpp"

struct puna_runtime {
  puna::RuntimeRef ref;
};

struct puna_cancel {
  puna::CancelRef token;
};

struct puna_tokenizer {
  std::shared_ptr<const puna::Tokenizer> ref;
};

struct puna_detokenizer {
  puna::Detokenizer stream;
  std::string text;  // what the last call returned
  std::atomic<bool> busy{false};
};

struct puna_model {
  std::shared_ptr<const puna::Model> ref;
  puna_tokenizer tokenizer;  // lent by puna_model_tokenizer
};

struct puna_listing {
  puna::Listing listing;
};

namespace puna::capi {

struct SamplerBox {
  explicit SamplerBox(std::uint64_t seed) : sampler(seed) {}
  Sampler sampler;
  std::atomic<bool> busy{false};
};

struct SessionBox {
  SessionBox(std::shared_ptr<const Model> model, const SessionOptions& options) : session(std::move(model), options) {}
  Session session;
  mutable std::atomic<bool> busy{false};
};

}  // namespace puna::capi

struct puna_sampler {
  std::shared_ptr<puna::capi::SamplerBox> box;
};

struct puna_session {
  std::shared_ptr<puna::capi::SessionBox> box;
};
