// What a sink is told about a source: everything, with the tokenizer's file of the source or one rebuilt from its arrays.
#pragma once

#include <memory>

#include "io_write_support.hpp"
#include "puna/text/spm_model.hpp"

namespace puna_test {

struct Described {
  explicit Described(const puna::WeightSource& source)
      : tokenizer(puna::Tokenizer::create(source.vocab(), source.hyperparameters().vocab)) {
    model.hyperparameters = source.hyperparameters();
    if (!tokenizer) return;
    model.vocab = &tokenizer->vocab();
    const puna::VocabSource vocab = source.vocab();
    if (vocab.kind == puna::VocabSource::Kind::spm_model || vocab.kind == puna::VocabSource::Kind::hf_json) {
      model.tokenizer = vocab.file;
    } else {
      proto = std::make_unique<TextFile>(puna::build_model_proto(tokenizer->vocab()));
      model.tokenizer = proto->mapped();
    }
  }
  std::shared_ptr<const puna::Tokenizer> tokenizer;
  std::unique_ptr<TextFile> proto;
  puna::ModelDescription model;
};

}  // namespace puna_test
