// puna_tokenizer, puna_detokenizer.
#include "puna/text/tokenizer.hpp"

#include "border.hpp"
#include "handles.hpp"
#include "source.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

puna_encode_options encode_defaults() {
  puna_encode_options o{};
  o.struct_size = sizeof o;
  o.bos = -1;
  o.space_prefix = -1;
  return o;
}

// 1, 0, or -1 for what the model wants.
bool choice(std::int32_t value, bool model, const char* name) {
  if (value < -1 || value > 1) fail(Code::argument, std::string(name) + " is " + std::to_string(value) + ", not -1, 0 or 1");
  return value == -1 ? model : value == 1;
}

const puna::Tokenizer& tokenizer_of(const puna_tokenizer* handle) {
  const auto& ref = capi::required(handle, "tokenizer").ref;
  if (!ref) fail(Code::state, "the model has no tokenizer");
  return *ref;
}

// Model files that carry their vocabulary, or name its folder, by their magic; anything else is a vocabulary itself.
bool is_model(const puna::File& file) {
  char magic[4] = {};
  if (file.size() < sizeof magic) return false;
  file.read(0, magic, sizeof magic);
  return std::string_view(magic, 4) == "GGUF" || std::string_view(magic, 4) == std::string_view("PK\3\4", 4);
}

std::string_view text_of(const char* text, std::size_t length) {
  if (length) capi::required(text, "text");
  return {text ? text : "", length};
}

}  // namespace

extern "C" {

const puna_tokenizer* PUNA_CALL puna_model_tokenizer(const puna_model* model) {
  return model && model->tokenizer.ref ? &model->tokenizer : nullptr;
}

int32_t PUNA_CALL puna_tokenizer_open(puna_tokenizer** out, const puna_source* source, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const puna_source s = capi::read_source(source);
    std::shared_ptr<const puna::Tokenizer> tokenizer;
    const bool folder = capi::is_folder(s);
    const auto file = folder ? nullptr : capi::open_file(s);
    if (!folder && !is_model(*file)) {
      tokenizer = puna::Tokenizer::open(file);
    } else {
      const auto weights = folder ? capi::open_weights_of(s) : puna::open_weights(file);
      tokenizer = puna::Tokenizer::create(weights->vocab(), weights->hyperparameters().vocab);
      if (!tokenizer) fail(Code::format, weights->name() + ": the model comes without a vocabulary");
    }
    *out = new puna_tokenizer{std::move(tokenizer)};
  });
}

void PUNA_CALL puna_tokenizer_destroy(puna_tokenizer* tokenizer) { delete tokenizer; }

void PUNA_CALL puna_encode_options_init(puna_encode_options* options, size_t size) {
  capi::init_options(options, size, encode_defaults());
}

int32_t PUNA_CALL puna_tokenizer_encode(const puna_tokenizer* tokenizer, const char* text, size_t length,
                                        const puna_encode_options* options, int32_t* ids, size_t capacity, size_t* count,
                                        puna_error* error) {
  return capi::entry(error, [&] {
    const puna::Tokenizer& t = tokenizer_of(tokenizer);
    const auto o = capi::read_options(options, encode_defaults(), "options");
    puna::EncodeOptions e;
    e.bos = choice(o.bos, t.add_bos(), "options.bos");
    e.eos = choice(o.eos, t.add_eos(), "options.eos");
    e.parse_special = o.parse_special != 0;
    if (o.space_prefix != -1) e.space_prefix = choice(o.space_prefix, false, "options.space_prefix");
    const auto found = t.encode(text_of(text, length), e);
    capi::write_array(found.data(), found.size(), ids, capacity, count, "ids");
  });
}

int32_t PUNA_CALL puna_tokenizer_encode_infill(const puna_tokenizer* tokenizer, const char* prefix, size_t prefix_length,
                                               const char* suffix, size_t suffix_length, int32_t spm, int32_t* ids,
                                               size_t capacity, size_t* count, puna_error* error) {
  return capi::entry(error, [&] {
    const auto order = spm ? puna::InfillOrder::suffix_prefix_middle : puna::InfillOrder::prefix_suffix_middle;
    const auto found = tokenizer_of(tokenizer).encode_infill(text_of(prefix, prefix_length), text_of(suffix, suffix_length), order);
    capi::write_array(found.data(), found.size(), ids, capacity, count, "ids");
  });
}

int32_t PUNA_CALL puna_tokenizer_decode(const puna_tokenizer* tokenizer, const int32_t* ids, size_t id_count, char* text,
                                        size_t capacity, size_t* length, puna_error* error) {
  return capi::entry(error, [&] {
    if (id_count) capi::required(ids, "ids");
    const std::string found = tokenizer_of(tokenizer).decode({ids, id_count});
    capi::write_array(found.data(), found.size(), text, capacity, length, "text");
  });
}

int32_t PUNA_CALL puna_tokenizer_token(const puna_tokenizer* tokenizer, int32_t id, puna_token_info* out, size_t size,
                                       puna_error* error) {
  return capi::entry(error, [&] {
    const puna::Tokenizer& t = tokenizer_of(tokenizer);
    puna_token_info info{};
    info.attributes = t.attributes(id);
    info.piece = t.piece(id).data();
    info.piece_length = t.piece(id).size();
    info.score = t.score(id);
    capi::write_output(out, size, info, "out");
  });
}

uint32_t PUNA_CALL puna_tokenizer_size(const puna_tokenizer* tokenizer) {
  return tokenizer && tokenizer->ref ? static_cast<uint32_t>(tokenizer->ref->size()) : 0;
}

int32_t PUNA_CALL puna_tokenizer_special(const puna_tokenizer* tokenizer, int32_t which) {
  if (!tokenizer || !tokenizer->ref) return -1;
  const puna::Tokenizer& t = *tokenizer->ref;
  switch (which) {
    case PUNA_SPECIAL_BOS: return t.bos();
    case PUNA_SPECIAL_EOS: return t.eos();
    case PUNA_SPECIAL_UNKNOWN: return t.unknown();
    case PUNA_SPECIAL_PAD: return t.pad();
    case PUNA_SPECIAL_PREFIX: return t.prefix();
    case PUNA_SPECIAL_SUFFIX: return t.suffix();
    case PUNA_SPECIAL_MIDDLE: return t.middle();
    case PUNA_SPECIAL_EOT: return t.eot();
    default: return -1;
  }
}

int32_t PUNA_CALL puna_detokenizer_create(puna_detokenizer** out, const puna_tokenizer* tokenizer, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    tokenizer_of(tokenizer);
    *out = new puna_detokenizer{puna::Detokenizer(tokenizer->ref), {}, {}};
  });
}

int32_t PUNA_CALL puna_detokenizer_feed(puna_detokenizer* detokenizer, int32_t id, const char** text, size_t* length,
                                        puna_error* error) {
  return capi::entry(error, [&] {
    puna_detokenizer& d = capi::required(detokenizer, "detokenizer");
    capi::Claim claim(d.busy, "the detokenizer");
    capi::required(text, "text");
    capi::required(length, "length");
    std::string piece;
    d.stream.feed(id, piece);
    d.text = std::move(piece);
    *text = d.text.c_str();
    *length = d.text.size();
  });
}

int32_t PUNA_CALL puna_detokenizer_flush(puna_detokenizer* detokenizer, const char** text, size_t* length, puna_error* error) {
  return capi::entry(error, [&] {
    puna_detokenizer& d = capi::required(detokenizer, "detokenizer");
    capi::Claim claim(d.busy, "the detokenizer");
    capi::required(text, "text");
    capi::required(length, "length");
    d.text = d.stream.flush();
    *text = d.text.c_str();
    *length = d.text.size();
  });
}

void PUNA_CALL puna_detokenizer_destroy(puna_detokenizer* detokenizer) { delete detokenizer; }

}  // extern "C"
