#include "puna/text/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "cut_points.hpp"
#include "merge_engine.hpp"
#include "puna/base/status.hpp"
#include "puna/io/llama2c.hpp"
#include "puna/text/detokenizer.hpp"
#include "puna/text/hf_tokenizer.hpp"
#include "puna/text/spm_model.hpp"
#include "spm_engine.hpp"

namespace puna {
namespace {

constexpr std::size_t max_padding = std::size_t{1} << 16;
constexpr std::size_t part_bytes = std::size_t{16} << 10;      // about what sentencepiece is given at a time
constexpr std::size_t max_part_bytes = std::size_t{16} << 20;  // where no cut is possible


// What stands beside the file in Hugging Face's JSON files. An id there counts where it differs from Llama's usual one
// and is a control token: a fine-tuned model that ends its turns in its own way.
void settle_beside(VocabData& vocab, const VocabData& beside) {
  const auto settle = [&vocab](std::int32_t& id, std::int32_t said, std::int32_t usual) {
    if (said != usual && said >= 0 && static_cast<std::size_t>(said) < vocab.types.size() &&
        vocab.types[static_cast<std::size_t>(said)] == static_cast<std::int32_t>(PieceType::control))
      id = said;
  };
  const VocabData usual;
  settle(vocab.bos, beside.bos, usual.bos);
  settle(vocab.eos, beside.eos, usual.eos);
  settle(vocab.pad, beside.pad, usual.pad);
  vocab.add_bos = beside.add_bos;
  vocab.add_eos = beside.add_eos;
  if (!beside.chat_template.empty()) vocab.chat_template = beside.chat_template;
}

// An embedding may have more rows than there are pieces: each row gets a piece that no text contains, as in GGUF files.
void pad_to_rows(VocabData& vocab, std::uint64_t rows) {
  if (rows > max_pieces || rows > vocab.pieces.size() + max_padding) return;
  while (vocab.pieces.size() < rows) {
    vocab.pieces.push_back("[PAD" + std::to_string(vocab.pieces.size()) + "]");
    vocab.scores.push_back(-1000.0f);
    vocab.types.push_back(static_cast<std::int32_t>(PieceType::unused));
  }
}

}  // namespace

// sentencepiece, or a tokenizer.json's own merges. sentencepiece takes two processors, because a text's first part may
// want a space before it and the others never do: the one that the vocabulary itself asks for is made at once and shows
// what is wrong, the other on first use.
struct Tokenizer::Engine {
  Engine(const VocabData& vocab, const std::string& name) : cuts(vocab), vocab_(vocab), name_(name) {
    if (vocab.merge_rules) merges_ = std::make_unique<MergeEngine>(vocab, name);
    else main_ = std::make_unique<SpmEngine>(build_model_proto(vocab), name);
  }

  void encode(std::string_view text, bool space_prefix, std::vector<std::int32_t>& ids) {
    if (merges_) merges_->encode(text, space_prefix, ids);
    else processor(space_prefix).encode(text, ids);
  }

  const CutPoints cuts;
  std::array<bool, 256> special_start{};  // first bytes of special pieces

 private:
  const SpmEngine& processor(bool space_prefix) {
    if (space_prefix == vocab_.add_space_prefix) return *main_;
    const std::lock_guard lock(mutex_);
    if (!other_) other_ = std::make_unique<SpmEngine>(build_model_proto(vocab_, space_prefix), name_);
    return *other_;
  }

  const VocabData& vocab_;
  const std::string& name_;
  std::unique_ptr<const MergeEngine> merges_;
  std::unique_ptr<const SpmEngine> main_;
  std::mutex mutex_;
  std::unique_ptr<const SpmEngine> other_;
};

Tokenizer::Tokenizer(VocabData vocab, std::string name) : vocab_(std::move(vocab)), name_(std::move(name)) {
  const std::size_t n = vocab_.pieces.size();
  by_piece_.resize(n);
  for (std::size_t i = 0; i < n; ++i) by_piece_[i] = static_cast<std::int32_t>(i);
  std::sort(by_piece_.begin(), by_piece_.end(), [this](std::int32_t a, std::int32_t b) {
    return vocab_.pieces[static_cast<std::size_t>(a)] < vocab_.pieces[static_cast<std::size_t>(b)];
  });
  engine_ = std::make_unique<Engine>(vocab_, name_);
  for (const std::int32_t id : by_piece_) {
    if (!(attributes(id) & (token_control | token_unknown | token_user_defined))) continue;
    special_.push_back(id);
    engine_->special_start[static_cast<unsigned char>(piece(id)[0])] = true;
  }
  const auto infill = [this](std::int32_t& id, const char* piece_text) {
    if (id < 0) id = find(piece_text).value_or(-1);
  };
  infill(vocab_.prefix, "\xE2\x96\x81<PRE>");
  infill(vocab_.suffix, "\xE2\x96\x81<SUF>");
  infill(vocab_.middle, "\xE2\x96\x81<MID>");
  infill(vocab_.eot, "\xE2\x96\x81<EOT>");
  hash_ = vocab_hash(vocab_);
}

Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::create(VocabData vocab, const std::string& name, VocabOrigin origin) {
  check_vocab(vocab, name, origin);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(vocab), name));
}

std::shared_ptr<const Tokenizer> Tokenizer::create(const VocabSource& source, std::uint64_t model_vocab) {
  if (source.kind == VocabSource::Kind::none) return nullptr;
  if (source.kind == VocabSource::Kind::arrays)
    return create(source.arrays, source.file ? source.file->name() : "the model's vocabulary");
  if (!source.file) fail(Code::internal, "a vocabulary source without its file");
  VocabData vocab;
  VocabOrigin origin = VocabOrigin::sentencepiece;
  switch (source.kind) {
    case VocabSource::Kind::hf_json:
      vocab = parse_hf_tokenizer(*source.file);
      origin = VocabOrigin::hugging_face;
      break;
    case VocabSource::Kind::llama2c:
      if (model_vocab > max_pieces)
        fail(Code::unsupported, source.file->name() + ": a vocabulary of " + std::to_string(model_vocab) + " tokens");
      vocab = parse_llama2c_tokenizer(*source.file, static_cast<std::uint32_t>(model_vocab));
      origin = VocabOrigin::llama2c;
      break;
    default: vocab = parse_spm_model(*source.file); break;
  }
  settle_beside(vocab, source.arrays);
  pad_to_rows(vocab, model_vocab);
  return create(std::move(vocab), source.file->name(), origin);
}

namespace {

bool is_llama2c_model(const std::shared_ptr<const File>& file) {
  try {
    open_llama2c(file);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::open(std::shared_ptr<const File> file) {
  VocabSource source;
  std::array<unsigned char, 4> head{};
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(head.size(), file->size()));
  if (n) file->read(0, head.data(), n);
  if (n == 4 && std::memcmp(head.data(), "GGUF", 4) == 0) {  // the words of a model
    const auto weights = open_weights(file);
    const auto tokenizer = create(weights->vocab(), weights->hyperparameters().vocab);
    if (!tokenizer) fail(Code::format, file->name() + ": the model comes without a vocabulary");
    return tokenizer;
  }
  const auto first = std::find_if(head.begin(), head.begin() + n, [](unsigned char c) {
    return c != ' ' && c != '\n' && c != '\r' && c != '\t';
  });
  // A ModelProto begins with its first piece: field 1, its length, and there field 1 again.
  if (first != head.begin() + n && *first == '{') source.kind = VocabSource::Kind::hf_json;
  else if (n == 4 && head[0] == 0x0a && head[2] == 0x0a) source.kind = VocabSource::Kind::spm_model;
  else if (n == 4 && head[2] == 0 && head[3] == 0) source.kind = VocabSource::Kind::llama2c;
  else source.kind = VocabSource::Kind::spm_model;
  // Both of llama2.c's files begin with a small number; the model's sizes must make exactly its size, so it is known.
  if (looks_like_llama2c(*file) || (source.kind == VocabSource::Kind::llama2c && is_llama2c_model(file)))
    fail(Code::unsupported, file->name() + ": a llama2.c model, which holds no vocabulary: its tokenizer.bin is needed");
  source.file = std::move(file);
  return create(source);
}

std::size_t Tokenizer::checked(std::int32_t id) const {
  if (!valid(id))
    fail(Code::argument, "token id " + std::to_string(id) + " is outside a vocabulary of " + std::to_string(size()));
  return static_cast<std::size_t>(id);
}

std::optional<std::int32_t> Tokenizer::find(std::string_view piece) const {
  const auto at = std::lower_bound(by_piece_.begin(), by_piece_.end(), piece, [this](std::int32_t id, std::string_view p) {
    return vocab_.pieces[static_cast<std::size_t>(id)] < p;
  });
  if (at == by_piece_.end() || vocab_.pieces[static_cast<std::size_t>(*at)] != piece) return std::nullopt;
  return *at;
}

std::int32_t Tokenizer::special_at(std::string_view text, std::size_t at, std::uint32_t wanted) const {
  if (!engine_->special_start[static_cast<unsigned char>(text[at])]) return -1;
  std::int32_t longest = -1;
  auto first = special_.begin();
  auto last = special_.end();
  // Narrow the sorted pieces to those that agree with one more byte of the text, remembering the one that ends there.
  for (std::size_t n = 0; at + n < text.size() && first != last; ++n) {
    const auto byte_at = [&](std::int32_t id) {
      return static_cast<int>(static_cast<unsigned char>(vocab_.pieces[static_cast<std::size_t>(id)][n]));
    };
    const int byte = static_cast<unsigned char>(text[at + n]);
    first = std::partition_point(first, last, [&](std::int32_t id) { return byte_at(id) < byte; });
    last = std::partition_point(first, last, [&](std::int32_t id) { return byte_at(id) <= byte; });
    if (first == last || vocab_.pieces[static_cast<std::size_t>(*first)].size() != n + 1) continue;
    if (attributes(*first) & wanted) longest = *first;
    ++first;
  }
  return longest;
}

void Tokenizer::encode_fragment(std::string_view text, bool space_prefix, std::vector<std::int32_t>& ids) const {
  while (!text.empty()) {
    const std::size_t end = text.size() <= part_bytes ? text.size() : engine_->cuts.next(text, part_bytes);
    if (end > max_part_bytes)
      fail(Code::argument, "the text has " + std::to_string(end) + " bytes without a place where it can be cut; at most " +
                               std::to_string(max_part_bytes) + " are supported");
    engine_->encode(text.substr(0, end), space_prefix, ids);
    text.remove_prefix(end);
    space_prefix = false;
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > max_text_bytes)
    fail(Code::argument, "the text has " + std::to_string(text.size()) + " bytes, at most " +
                             std::to_string(max_text_bytes) + " are supported");
  const std::size_t wrong = utf8_error(text);
  if (wrong != std::string_view::npos)
    fail(Code::encoding, "the text is not UTF-8: byte " + std::to_string(wrong));
  if (options.bos && bos() < 0) fail(Code::unsupported, name_ + ": this vocabulary has no BOS token");
  if (options.eos && eos() < 0) fail(Code::unsupported, name_ + ": this vocabulary has no EOS token");

  std::vector<std::int32_t> ids;
  if (options.bos) ids.push_back(bos());
  const MergeRules* rules = vocab_.merge_rules.get();
  // sentencepiece finds user-defined pieces itself; where a control token could overlap one, the longer wins.
  const std::uint32_t wanted = (options.parse_special ? token_control | token_unknown | token_user_defined : 0u) |
                               (rules ? std::uint32_t{token_user_defined} : 0u);
  const bool space_prefix = options.space_prefix.value_or(vocab_.add_space_prefix);
  bool prefix_here = space_prefix;
  std::size_t start = 0;
  for (std::size_t at = 0; wanted && at < text.size();) {
    const std::int32_t id = special_at(text, at, wanted);
    if (id < 0) {
      ++at;
      continue;
    }
    const std::size_t end = at + piece(id).size();
    const bool user_defined = type(id) == PieceType::user_defined;
    if (!user_defined || rules) {
      encode_fragment(text.substr(start, at - start), prefix_here, ids);
      ids.push_back(id);
      start = end;
      prefix_here = space_prefix && (user_defined ? !rules->prefix_once : options.prefix_after_special);
    }
    at = end;
  }
  encode_fragment(text.substr(start), prefix_here, ids);
  if (options.eos) ids.push_back(eos());
  return ids;
}

std::vector<std::int32_t> Tokenizer::encode_infill(std::string_view before, std::string_view after,
                                                   InfillOrder order) const {
  if (prefix() < 0 || suffix() < 0 || middle() < 0)
    fail(Code::unsupported, name_ + ": this vocabulary has no infilling tokens (Code Llama 7B and 13B have them)");
  // Meta encodes the suffix behind a character that merges with nothing and drops its ids: no space comes before it.
  EncodeOptions bare;
  bare.space_prefix = false;
  const auto pre = encode(before);
  const auto suf = encode(after, bare);
  std::vector<std::int32_t> ids;
  ids.reserve(pre.size() + suf.size() + 4);
  const auto append = [&ids](const std::vector<std::int32_t>& more) { ids.insert(ids.end(), more.begin(), more.end()); };
  if (bos() >= 0) ids.push_back(bos());
  ids.push_back(prefix());
  if (order == InfillOrder::suffix_prefix_middle) {
    ids.push_back(suffix());
    append(suf);
    ids.push_back(middle());
    append(pre);
  } else {
    append(pre);
    ids.push_back(suffix());
    append(suf);
    ids.push_back(middle());
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, const DecodeOptions& options) const {
  for (const std::int32_t id : ids) checked(id);
  Detokenizer::State state;
  state.first_piece = options.first_piece_rule && strips_first_space() ? 1 : 0;
  std::string text;
  for (const std::int32_t id : ids) Detokenizer::feed(*this, state, options.skip_special, id, text);
  Detokenizer::flush(state, text);
  return text;
}

}  // namespace puna
