// What every fuzzer of vocabularies does with one that was let through: build, encode, decode, stream.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "puna/text/detokenizer.hpp"
#include "puna/text/spm_model.hpp"
#include "puna/text/tokenizer.hpp"
#include "../../lib/text/spm_engine.hpp"

namespace puna_fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

inline std::string streamed(const std::shared_ptr<const puna::Tokenizer>& tokenizer, const std::vector<std::int32_t>& ids,
                            bool first, bool skip) {
  puna::Detokenizer stream(tokenizer, first, skip);
  std::string text;
  for (const std::int32_t id : ids) stream.feed(id, text);
  stream.flush(text);
  return text;
}

inline void exercise(const puna::VocabData& vocab, puna::VocabOrigin origin, std::string_view text) {
  using namespace puna;
  const auto tokenizer = Tokenizer::create(vocab, "fuzz", origin);
  std::string clean(text.substr(0, 4096));
  for (std::size_t at = utf8_error(clean); at != std::string::npos; at = utf8_error(clean)) clean[at] = '?';
  // Some of its own pieces, so that merging has something to do.
  for (std::int32_t id = 0; id < tokenizer->size() && id < 300; id += 7) clean += tokenizer->piece(id);
  EncodeOptions parse;
  parse.parse_special = true;
  parse.prefix_after_special = (clean.size() & 1) != 0;
  EncodeOptions bare;
  bare.space_prefix = !tokenizer->vocab().add_space_prefix;
  for (const EncodeOptions& options : {EncodeOptions{}, parse, bare}) {
    const auto ids = tokenizer->encode(clean, options);
    for (const std::int32_t id : ids) require(tokenizer->valid(id));
    require(streamed(tokenizer, ids, true, true) == tokenizer->decode(ids));
  }
  // Any ids at all.
  std::vector<std::int32_t> ids;
  for (const char c : text.substr(0, 256))
    ids.push_back(static_cast<std::int32_t>(static_cast<unsigned char>(c) * 131u % static_cast<unsigned>(tokenizer->size())));
  const std::string decoded = tokenizer->decode(ids);
  require(utf8_error(decoded) == std::string::npos);
  require(streamed(tokenizer, ids, true, true) == decoded);
  DecodeOptions show;
  show.skip_special = show.first_piece_rule = false;
  require(streamed(tokenizer, ids, false, false) == tokenizer->decode(ids, show));
  if (!vocab.merge_rules) {
    const SpmEngine spm(build_model_proto(tokenizer->vocab()), "fuzz");
    require(spm.decode(ids) == decoded);
  }
}

}  // namespace puna_fuzz
