// Hugging Face's tokenizer.json of Llama's BPE kind, and llama2.c's tokenizer.bin.
#pragma once

#include <cstdint>

#include "puna/io/weight_source.hpp"
#include "puna/text/vocab.hpp"

namespace puna {

// Checked by check_vocab. Scores follow the merges' ranks, so that sentencepiece merges in the same order; a tokenizer
// whose merges it cannot follow is Error(unsupported) with the reason.
VocabData parse_hf_tokenizer(const File& file);

// vocab: how many tokens to read (the file does not say), 0 for all. Checked by check_vocab.
VocabData parse_llama2c_tokenizer(const File& file, std::uint32_t vocab);

}  // namespace puna
