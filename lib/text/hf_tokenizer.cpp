#include "puna/text/hf_tokenizer.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <unordered_map>

#include "puna/base/status.hpp"
#include "puna/io/json.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

constexpr JsonLimits json_limits{std::size_t{64} << 20, 32, std::size_t{4} << 20};
constexpr std::size_t max_holes = 1024;  // ids that no token has

class HfTokenizer {
 public:
  HfTokenizer(const Json& root, const std::string& file) : root_(root, file), file_(file) {}

  VocabData read() {
    const auto model = root_.object("model");
    if (!model) root_.refuse("model", "an object");
    check_model(*model);
    read_spaces();
    read_vocab(*model);
    read_added_tokens();
    fill_holes();
    settle_bytes(*model);
    settle_specials(*model);
    read_merges(*model);
    vocab_.merge_rules = std::make_shared<const MergeRules>(std::move(rules_));
    check_vocab(vocab_, file_, VocabOrigin::hugging_face);
    return std::move(vocab_);
  }

 private:
  [[noreturn]] void unsupported(const std::string& field, const std::string& text) const {
    fail(Code::unsupported, file_ + ": " + field + ": " + text);
  }
  [[noreturn]] void bad(const std::string& field, const std::string& text) const {
    fail(Code::format, file_ + ": " + field + ": " + text);
  }

  void check_model(const JsonFields& model) {
    const std::string type = model.string("type").value_or("BPE");
    if (type != "BPE") unsupported("model.type", quoted(type) + " is not Llama's kind, BPE");
    if (model.number("dropout").value_or(0.0) != 0.0) unsupported("model.dropout", "merges left out at random");
    if (!model.string("continuing_subword_prefix").value_or("").empty())
      unsupported("model.continuing_subword_prefix", "not Llama's kind");
    if (!model.string("end_of_word_suffix").value_or("").empty())
      unsupported("model.end_of_word_suffix", "not Llama's kind");
    if (model.boolean("ignore_merges").value_or(false)) unsupported("model.ignore_merges", "not Llama's kind");
    rules_.fuse_unknown = model.boolean("fuse_unk").value_or(false);
  }

  // --- how spaces are written ---------------------------------------------------------------------------------------

  void read_spaces() {
    vocab_.add_space_prefix = false;
    if (const auto normalizer = root_.object("normalizer")) read_normalizer(*normalizer);
    if (const auto pre = root_.object("pre_tokenizer")) read_pre_tokenizer(*pre);
    if (!replaces_spaces_)
      unsupported("normalizer", "spaces are not written as U+2581, so this is not a tokenizer of Llama 2's kind");
  }

  template <class Read>
  void each_of_sequence(const JsonFields& sequence, const char* key, Read read) {
    const Json* list = sequence.find(key);
    if (!list || !list->items()) sequence.refuse(key, "a list");
    if (list->items()->size() > 16) sequence.refuse(key, "a list of at most 16");
    for (const Json& item : *list->items()) read(JsonFields(item, file_, key));
  }

  void read_normalizer(const JsonFields& normalizer) {
    const std::string type = normalizer.string("type").value_or("");
    if (type == "Sequence") {
      each_of_sequence(normalizer, "normalizers", [this](const JsonFields& f) {
        if (f.string("type").value_or("") == "Sequence") unsupported("normalizer", "a Sequence inside a Sequence");
        read_normalizer(f);
      });
    } else if (type == "Prepend") {
      if (normalizer.string("prepend").value_or("") != space_symbol) unsupported("normalizer", "Prepend of other than U+2581");
      vocab_.add_space_prefix = true;
    } else if (type == "Replace") {
      const auto pattern = normalizer.object("pattern");
      if (!pattern || pattern->string("String").value_or("") != " " || normalizer.string("content").value_or("") != space_symbol)
        unsupported("normalizer", "Replace of other than a space by U+2581");
      replaces_spaces_ = true;
    } else {
      unsupported("normalizer", quoted(type) + " is not one of Llama's, Prepend and Replace");
    }
  }

  void read_pre_tokenizer(const JsonFields& pre) {
    const std::string type = pre.string("type").value_or("");
    if (type == "Sequence") {
      each_of_sequence(pre, "pretokenizers", [this](const JsonFields& f) {
        if (f.string("type").value_or("") == "Sequence") unsupported("pre_tokenizer", "a Sequence inside a Sequence");
        read_pre_tokenizer(f);
      });
      return;
    }
    if (type != "Metaspace") unsupported("pre_tokenizer", quoted(type) + " is not Llama's, Metaspace");
    if (pre.string("replacement").value_or("") != space_symbol) unsupported("pre_tokenizer.replacement", "not U+2581");
    const std::string scheme =
        pre.string("prepend_scheme").value_or(pre.boolean("add_prefix_space").value_or(true) ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      bad("pre_tokenizer.prepend_scheme", quoted(scheme) + " is not always, first or never");
    if (scheme != "never") {
      rules_.prefix_unless_space = !vocab_.add_space_prefix;
      vocab_.add_space_prefix = true;
    }
    rules_.prefix_once = scheme == "first";
    rules_.split_words = pre.boolean("split").value_or(true);
    replaces_spaces_ = true;
  }

  // --- pieces -------------------------------------------------------------------------------------------------------

  void place(std::string piece, std::uint64_t id, std::int32_t type, const std::string& field) {
    if (id >= max_pieces) bad(field, "the id " + std::to_string(id) + " is not below " + std::to_string(max_pieces));
    if (piece.empty() || piece.size() > max_piece_bytes)
      bad(field, "a piece of " + std::to_string(piece.size()) + " bytes, not 1 to " + std::to_string(max_piece_bytes));
    const auto at = static_cast<std::size_t>(id);
    if (at >= expected_ + max_holes)
      bad(field, "the id " + std::to_string(id) + " is too far above the " + std::to_string(expected_) + " tokens there are");
    if (at >= vocab_.pieces.size()) {
      vocab_.pieces.resize(at + 1);
      vocab_.types.resize(at + 1, 0);
    }
    if (vocab_.types[at] != 0 && vocab_.pieces[at] != piece)
      bad(field, quoted(piece) + " and " + quoted(vocab_.pieces[at]) + " both have the id " + std::to_string(id));
    vocab_.pieces[at] = std::move(piece);
    vocab_.types[at] = type;
  }

  void read_vocab(const JsonFields& model) {
    const Json* vocab = model.find("vocab");
    if (!vocab || !vocab->members()) bad("model.vocab", "there must be an object of pieces and ids");
    const Json* added = root_.find("added_tokens");
    expected_ = vocab->members()->size() + (added && added->items() ? added->items()->size() : 0);
    for (const JsonMember& member : *vocab->members()) {
      const std::uint64_t* id = member.value.whole();
      if (!id) bad("model.vocab", "the id of " + quoted(member.key) + " is " + member.value.dump() + ", not a whole number");
      place(member.key, *id, 1, "model.vocab");
    }
  }

  void read_added_tokens() {
    const Json* added = root_.find("added_tokens");
    if (!added || added->is_null()) return;
    if (!added->items()) bad("added_tokens", "must be a list");
    for (const Json& item : *added->items()) {
      const JsonFields token(item, file_, "added_tokens");
      const bool special = token.boolean("special").value_or(false);
      for (const char* key : {"single_word", "lstrip", "rstrip"})
        if (!special && token.boolean(key).value_or(false))
          unsupported(std::string("added_tokens.") + key, "set for a token that is not special");
      place(token.string("content").value_or(""), token.need_whole("id"), special ? 3 : 4, "added_tokens.id");
    }
  }

  void fill_holes() {
    for (std::size_t i = 0; i < vocab_.pieces.size(); ++i) {
      if (vocab_.types[i] != 0) continue;
      vocab_.pieces[i] = "[PAD" + std::to_string(i) + "]";
      vocab_.types[i] = 5;
    }
    ids_.reserve(vocab_.pieces.size());
    for (std::size_t i = 0; i < vocab_.pieces.size(); ++i)
      if (!ids_.emplace(vocab_.pieces[i], static_cast<std::int32_t>(i)).second)
        bad("added_tokens", "the piece " + quoted(vocab_.pieces[i]) + " has two ids");
  }

  std::int32_t id_of(const std::string& piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? -1 : found->second;
  }

  void settle_bytes(const JsonFields& model) {
    if (!model.boolean("byte_fallback").value_or(false)) return;
    std::size_t there = 0;
    for (int byte = 0; byte < 256; ++byte) there += id_of(piece_of_byte(byte)) >= 0 ? 1 : 0;
    if (there == 0) return;  // then every unknown character is the unknown token
    for (int byte = 0; byte < 256; ++byte) {
      const std::int32_t id = id_of(piece_of_byte(byte));
      if (id < 0) unsupported("model.byte_fallback", "set, but the piece " + piece_of_byte(byte) + " is missing");
      vocab_.types[static_cast<std::size_t>(id)] = 6;
    }
  }

  void settle_specials(const JsonFields& model) {
    const auto unknown = model.string("unk_token");
    vocab_.unknown = id_of(unknown.value_or("<unk>"));
    if (unknown && vocab_.unknown < 0) bad("model.unk_token", quoted(*unknown) + " is not in the vocabulary");
    if (vocab_.unknown >= 0) vocab_.types[static_cast<std::size_t>(vocab_.unknown)] = 2;
    const auto control = [this](const char* piece) {
      const std::int32_t id = id_of(piece);
      if (id >= 0 && vocab_.types[static_cast<std::size_t>(id)] != 2) vocab_.types[static_cast<std::size_t>(id)] = 3;
      return id;
    };
    vocab_.bos = control("<s>");
    vocab_.eos = control("</s>");
    vocab_.pad = id_of("<pad>");
  }

  // --- merges -------------------------------------------------------------------------------------------------------

  void read_merges(const JsonFields& model) {
    const Json* merges = model.find("merges");
    if (!merges || !merges->items()) bad("model.merges", "there must be a list");
    // What sentencepiece would need: a piece's score falls with the rank of the best merge that makes it.
    vocab_.scores.assign(vocab_.pieces.size(), -static_cast<float>(merges->items()->size()));
    for (std::size_t i = 0; i < vocab_.pieces.size(); ++i)
      if (vocab_.types[i] != 1) vocab_.scores[i] = 0.0f;
    rules_.merges.reserve(merges->items()->size());
    for (const Json& item : *merges->items()) {
      const std::string field = "model.merges[" + std::to_string(rules_.merges.size()) + "]";
      const auto [left, right] = pair(item, field);
      const std::int32_t l = id_of(left), r = id_of(right), result = id_of(left + right);
      if (l < 0 || r < 0 || result < 0)
        bad(field, quoted(l < 0 ? left : r < 0 ? right : left + right) + " is not in the vocabulary");
      for (const std::int32_t id : {l, r, result})
        if (vocab_.types[static_cast<std::size_t>(id)] != 1)
          unsupported(field, quoted(vocab_.pieces[static_cast<std::size_t>(id)]) + " is a byte or an added token");
      float& score = vocab_.scores[static_cast<std::size_t>(result)];
      score = std::max(score, -static_cast<float>(rules_.merges.size()));
      rules_.merges.push_back({l, r});
    }
  }

  std::array<std::string, 2> pair(const Json& item, const std::string& field) const {
    if (const std::string* text = item.string()) {
      const std::size_t space = text->find(' ');
      if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos)
        bad(field, quoted(*text) + " is not two pieces with a space between them");
      return {text->substr(0, space), text->substr(space + 1)};
    }
    const Json::Items* two = item.items();
    if (!two || two->size() != 2 || !(*two)[0].string() || !(*two)[1].string())
      bad(field, item.dump() + " is not a pair of pieces");
    return {*(*two)[0].string(), *(*two)[1].string()};
  }

  const JsonFields root_;
  const std::string& file_;
  VocabData vocab_;
  MergeRules rules_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::size_t expected_ = 0;
  bool replaces_spaces_ = false;
};

}  // namespace

VocabData parse_hf_tokenizer(const File& file) {
  const std::string text = read_text_file(file, json_limits.bytes);
  const Json root = Json::parse(text, file.name(), json_limits);
  return HfTokenizer(root, file.name()).read();
}

}  // namespace puna
