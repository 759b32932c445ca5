// sentencepiece's tokenizer.model, read by a bounded reader of our own that knows this one message, and written back
// from checked arrays. sentencepiece never sees anyone else's ModelProto.
#pragma once

#include <string>

#include "puna/io/weight_source.hpp"
#include "puna/text/vocab.hpp"

namespace puna {

// Checked by check_vocab. Error(format) for bytes that break the message, Error(unsupported) for a model that is not
// Llama's kind (unigram, a character map, whitespace as suffix and the like).
VocabData parse_spm_model(const File& file);

// The ModelProto of a checked vocabulary. space_prefix overrides the vocabulary's add_space_prefix.
std::string build_model_proto(const VocabData& vocab, bool space_prefix);
inline std::string build_model_proto(const VocabData& vocab) { return build_model_proto(vocab, vocab.add_space_prefix); }

}  // namespace puna
