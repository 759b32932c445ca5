// Hugging Face's tokenizer.json of Llama's BPE kind, and llama2.c's tokenizer.bin.
#pragma once

#include <cstdint>

#include "puna/io/weight_source.hpp"
#include "puna/text/vocab.hpp"

namespace puna {

// Checked by check_vocab. Merges by its own ranked pairs (merge_rules), because sentencepiece, which ranks pieces, gives
// other ids for some texts; the scores say the nearest that sentencepiece could do. What is not Llama's kind (another
// normalizer, byte-level pieces and the like) is Error(unsupported) with the reason.
VocabData parse_hf_tokenizer(const File& file);

// vocab: how many tokens to read (the file does not say), 0 for all. Checked by check_vocab.
VocabData parse_llama2c_tokenizer(const File& file, std::uint32_t vocab);

}  // namespace puna
