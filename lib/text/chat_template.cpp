#include "puna/text/chat_template.hpp"

#include <algorithm>
#include <array>

#include "puna/io/printable.hpp"

namespace puna {
namespace {

// Bytes of the white space character at text[at] as Python's str.strip means it, 0 if it is none.
std::size_t space_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned a = byte(at), b = byte(at + 1), c = byte(at + 2);
  if ((a >= 9 && a <= 13) || (a >= 28 && a <= 32)) return 1;
  if (a == 0xC2 && (b == 0x85 || b == 0xA0)) return 2;
  if (a == 0xE1 && b == 0x9A && c == 0x80) return 3;
  if (a == 0xE2 && b == 0x80 && ((c >= 0x80 && c <= 0x8A) || c == 0xA8 || c == 0xA9 || c == 0xAF)) return 3;
  if (a == 0xE2 && b == 0x81 && c == 0x9F) return 3;
  if (a == 0xE3 && b == 0x80 && c == 0x80) return 3;
  return 0;
}

std::string_view stripped(std::string_view text) {
  while (!text.empty()) {
    const std::size_t n = space_at(text, 0);
    if (n == 0) break;
    text.remove_prefix(n);
  }
  for (std::size_t n = 1; n <= 3 && n <= text.size(); ++n) {
    if (space_at(text, text.size() - n) != n) continue;
    text.remove_suffix(n);
    n = 0;
  }
  return text;
}

// A stretch of text, or one token.
struct Part {
  std::string text;
  std::int32_t token = -1;
  std::int32_t owner = 0;
  bool content = false;  // what a message says, not what the template writes
  bool loss = false;
};

std::string who(std::size_t number, Role role) {
  return "message " + std::to_string(number + 1) + " (" + std::string(role_name(role)) + ")";
}

class Rendering {
 public:
  Rendering(const ChatTemplate& chat, const Tokenizer& tokenizer, std::span<const Message> messages, const ChatOptions& options)
      : chat_(chat), tokenizer_(tokenizer), messages_(messages), options_(options), tags_(chat.tags) {
    for (std::string& piece : control_spellings(tokenizer)) tags_.push_back(std::move(piece));
  }

  ChatIds render() {
    check_roles();
    build();
    for (std::size_t at = 0; at < parts_.size();) {
      std::size_t end = at;
      while (end < parts_.size() && parts_[end].token < 0) ++end;
      if (end == at) {
        put(parts_[at].token, parts_[at]);
        after_token_ = true;
        ++at;
      } else {
        encode(std::span(parts_).subspan(at, end - at));
        at = end;
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void wrong_roles(const std::string& text) const { throw ChatError(ChatFault::roles, text); }

  void check_roles() const {
    if (messages_.empty()) wrong_roles("a conversation without messages");
    const std::size_t first = messages_.front().role == Role::system ? 1 : 0;
    for (std::size_t i = first; i < messages_.size(); ++i) {
      const Role wanted = (i - first) % 2 == 0 ? Role::user : Role::assistant;
      if (messages_[i].role != wanted)
        wrong_roles(who(i, messages_[i].role) + " stands where the " + std::string(role_name(wanted)) +
                    "'s must: roles are system (at most one, first), then user and assistant in turn");
    }
    const Role last = messages_.size() > first ? messages_.back().role : Role::system;
    const Role wanted = options_.prompt ? Role::user : Role::assistant;
    if (last != wanted)
      wrong_roles("the last message is the " + std::string(role_name(last)) + "'s, but must be the " +
                  std::string(role_name(wanted)) + "'s");
    for (std::size_t i = 0; i < messages_.size(); ++i)
      if (const std::size_t bad = utf8_error(messages_[i].content); bad != std::string_view::npos)
        throw ChatError(ChatFault::encoding,
                        who(i, messages_[i].role) + " is not UTF-8: byte " + std::to_string(bad));
  }

  // What the message says, its tags dealt with. The template's white space rule comes after.
  std::string content(std::size_t i) {
    std::string text = messages_[i].content;
    if (options_.tags == TagPolicy::neutralise) return neutralise_tags(std::move(text), tags_, out_.neutralised);
    // Where they are kept: sentencepiece finds a user-defined piece in any text, and that would be the template's token.
    if (const auto found = find_tag(text, options_.tags == TagPolicy::keep ? chat_.tokens : tags_))
      throw ChatError(ChatFault::tag, who(i, messages_[i].role) + " holds the special tag " +
                                          quoted(found->tag) + " at byte " + std::to_string(found->at));
    return text;
  }

  void build() {
    std::size_t first = 0;
    std::string system = chat_.default_system;
    bool has_system = !system.empty();
    if (messages_.front().role == Role::system) {
      system = content(0);
      has_system = true;
      first = 1;
    }
    const bool marked = chat_.system_before.find("{bos}") != std::string::npos || chat_.user_before.find("{bos}") != std::string::npos;
    if (!marked && (chat_.writes_bos || tokenizer_.add_bos()) && tokenizer_.bos() >= 0) token(tokenizer_.bos(), 0, false);
    if (has_system && !chat_.fold_system) {
      literal(chat_.system_before, 0, false);
      said(chat_.strip ? std::string(stripped(system)) : system, 0, false);
      literal(chat_.system_after, 0, false);
    }
    for (std::size_t i = first; i < messages_.size(); ++i) {
      const auto owner = static_cast<std::int32_t>(i);
      if (messages_[i].role == Role::assistant) {
        answer(i);
        continue;
      }
      literal(chat_.user_before, owner, false);
      std::string text = content(i);
      if (i == first && has_system && chat_.fold_system) {
        // The whole is stripped, as Meta does: the system's own ends are not.
        literal(chat_.system_before, 0, false);
        said(std::move(system), 0, false);
        const std::string rest = chat_.strip ? right_stripped(text) : text;
        literal(rest.empty() ? right_stripped(chat_.system_after) : chat_.system_after, 0, false);
        said(rest, owner, false);
      } else {
        said(chat_.strip ? std::string(stripped(text)) : text, owner, false);
      }
      literal(chat_.user_after, owner, false);
    }
    if (options_.prompt) literal(chat_.generation, static_cast<std::int32_t>(messages_.size()) - 1, false);
  }

  void answer(std::size_t i) {
    const auto owner = static_cast<std::int32_t>(i);
    const bool learn = !options_.prompt && messages_[i].learn;
    std::string text = content(i);
    if (chat_.strip) text = stripped(text);
    if (learn && stripped(text).empty()) throw ChatError(ChatFault::empty_answer, who(i, Role::assistant) + " is empty");
    // What a prompt ends with is given; what follows it, be it a space, the model must say itself.
    const bool given = chat_.assistant_before.starts_with(chat_.generation);
    literal(given ? chat_.generation : chat_.assistant_before, owner, false);
    if (given) literal(std::string_view(chat_.assistant_before).substr(chat_.generation.size()), owner, learn);
    said(std::move(text), owner, learn);
    // The ending is learnt up to its last token, or to where the line break after it begins.
    const std::string_view after = chat_.assistant_after;
    const std::size_t end = ending(after);
    literal(after.substr(0, end), owner, learn);
    const bool last = i + 1 == messages_.size();
    if (!options_.prompt && last && tokenizer_.eos() >= 0 && (parts_.empty() || parts_.back().token != tokenizer_.eos()))
      token(tokenizer_.eos(), owner, learn);
    if (options_.prompt || !last) literal(after.substr(end), owner, false);
  }

  std::size_t ending(std::string_view after) const {
    std::size_t end = 0;
    if (const auto at = after.rfind("{eos}"); at != std::string_view::npos) end = at + 5;
    for (const std::string& tag : chat_.tokens)
      if (const auto at = after.rfind(tag); at != std::string_view::npos) end = std::max(end, at + tag.size());
    return end ? end : after.size();
  }

  static std::string right_stripped(const std::string& text) {
    const std::string_view inner = stripped(text);
    return inner.empty() ? std::string() : text.substr(0, static_cast<std::size_t>(inner.data() - text.data()) + inner.size());
  }

  void token(std::int32_t id, std::int32_t owner, bool loss) { parts_.push_back({{}, id, owner, false, loss}); }
  void said(std::string text, std::int32_t owner, bool loss) {
    if (!text.empty()) parts_.push_back({std::move(text), -1, owner, true, loss});
  }

  void literal(std::string_view text, std::int32_t owner, bool loss) {
    std::size_t start = 0;
    const auto flush = [&](std::size_t end) {
      if (end > start) parts_.push_back({std::string(text.substr(start, end - start)), -1, owner, false, loss});
    };
    for (std::size_t at = 0; at < text.size();) {
      std::size_t size = 0;
      const std::int32_t id = token_at(text.substr(at), size);
      if (id < 0) {
        ++at;
        continue;
      }
      flush(at);
      token(id, owner, loss);
      start = at += size;
    }
    flush(text.size());
  }

  std::int32_t token_at(std::string_view text, std::size_t& size) const {
    for (const bool end : {false, true})
      if (const std::string_view mark = end ? "{eos}" : "{bos}"; text.starts_with(mark)) {
        size = mark.size();
        const std::int32_t id = end ? tokenizer_.eos() : tokenizer_.bos();
        if (id < 0)
          fail(Code::unsupported, tokenizer_.name() + ": this vocabulary has no " + (end ? "EOS" : "BOS") + " token, but the template " +
                                      chat_.name + " needs it");
        return id;
      }
    for (const std::string& tag : chat_.tokens) {
      if (!text.starts_with(tag)) continue;
      const auto id = tokenizer_.find(tag);
      if (!id || !(tokenizer_.attributes(*id) & (token_control | token_user_defined))) continue;
      size = tag.size();
      return *id;
    }
    return -1;
  }

  // --- text to ids ----------------------------------------------------------------------------------------------------

  void put(std::int32_t id, const Part& part) {
    out_.ids.push_back(id);
    out_.loss.push_back(part.loss ? 1 : 0);
    out_.owner.push_back(part.owner);
  }

  // A tag that no message holds may come of two that meet, or of one that meets the template.
  void check_seams(std::span<Part> parts) {
    if (options_.tags == TagPolicy::keep) return;
    for (int pass = 0;; ++pass) {
      std::string whole;
      for (const Part& part : parts) whole += part.text;
      const auto found = find_tags(whole, tags_);
      const auto bad = std::find_if(found.begin(), found.end(), [&, at = std::size_t{0}, start = std::size_t{0}](const TagAt& tag) mutable {
        while (start + parts[at].text.size() <= tag.at) start += parts[at++].text.size();
        std::size_t end = start;
        for (std::size_t i = at; end < tag.at + tag.size; end += parts[i++].text.size())
          if (parts[i].content) return true;
        return false;
      });
      if (bad == found.end()) return;
      const Part& said = separate(parts, bad->at, bad->size);
      if (options_.tags == TagPolicy::refuse || pass > 100)
        throw ChatError(ChatFault::tag, who(static_cast<std::size_t>(said.owner), messages_[static_cast<std::size_t>(said.owner)].role) +
                                            " makes the special tag " + quoted(bad->tag) + " with what stands beside it");
      ++out_.neutralised;
    }
  }

  // Sets a space at a message's border inside the tag, and returns that message's part.
  static const Part& separate(std::span<Part> parts, std::size_t at, std::size_t size) {
    std::size_t start = 0;
    Part* touched = nullptr;
    for (Part& part : parts) {
      const std::size_t end = start + part.text.size();
      if (part.content && start < at + size && at < end) {
        touched = &part;
        if (start > at) break;
        if (end < at + size) return part.text += ' ', part;
      }
      start = end;
    }
    touched->text.insert(0, " ");
    return *touched;
  }

  void encode(std::span<Part> parts) {
    check_seams(parts);
    std::string whole;
    for (const Part& part : parts) whole += part.text;
    EncodeOptions options;
    const MergeRules* rules = tokenizer_.vocab().merge_rules.get();
    options.space_prefix = tokenizer_.vocab().add_space_prefix && (chat_.turns || !after_token_ || out_.ids.size() == 1 || !rules || !rules->prefix_once);
    const auto ids = tokenizer_.encode(whole, options);
    for (const std::int32_t id : ids)
      if (tokenizer_.type(id) == PieceType::control) fail(Code::internal, "a control token came of plain text");
    if (!assign(parts, whole, ids)) encode_apart(parts, options);
  }

  // A token belongs to the last part that it touches. False where ids do not spell the text byte by byte: unknown
  // tokens, or a vocabulary that drops spaces.
  bool assign(std::span<const Part> parts, const std::string& whole, const std::vector<std::int32_t>& ids) {
    const auto stored = [](std::string_view text) {
      return text.size() + 2 * static_cast<std::size_t>(std::count(text.begin(), text.end(), ' '));
    };
    std::size_t total = 0;
    for (const std::int32_t id : ids) {
      if (tokenizer_.type(id) == PieceType::unknown) return false;
      total += piece_size(id);
    }
    const std::size_t expected = stored(whole);
    if (total != expected && total != expected + space_symbol.size()) return false;
    std::size_t part = 0, end = stored(parts[0].text) + (total - expected), at = 0;
    for (const std::int32_t id : ids) {
      at += piece_size(id);
      while (at > end && part + 1 < parts.size()) end += stored(parts[++part].text);
      put(id, parts[part]);
    }
    return true;
  }

  std::size_t piece_size(std::int32_t id) const {
    return tokenizer_.type(id) == PieceType::byte ? 1 : tokenizer_.piece(id).size();
  }

  void encode_apart(std::span<const Part> parts, EncodeOptions options) {
    for (const Part& part : parts) {
      for (const std::int32_t id : tokenizer_.encode(part.text, options)) put(id, part);
      options.space_prefix = false;
    }
  }

  const ChatTemplate& chat_;
  const Tokenizer& tokenizer_;
  std::span<const Message> messages_;
  const ChatOptions& options_;
  std::vector<std::string> tags_;
  std::vector<Part> parts_;
  ChatIds out_;
  bool after_token_ = false;
};

}  // namespace

std::string_view role_name(Role role) {
  constexpr std::array<std::string_view, 3> names{"system", "user", "assistant"};
  return names[static_cast<std::size_t>(role)];
}

std::optional<Role> role_of(std::string_view name) {
  if (name == "system") return Role::system;
  if (name == "user" || name == "human") return Role::user;
  if (name == "assistant" || name == "gpt") return Role::assistant;
  return std::nullopt;
}

ChatIds render_chat(const ChatTemplate& chat, const Tokenizer& tokenizer, std::span<const Message> messages,
                    const ChatOptions& options) {
  return Rendering(chat, tokenizer, messages, options).render();
}

namespace {

// Tags in a text, sorted; of each tag the first only, or all.
std::vector<TagAt> search_tags(std::string_view text, std::span<const std::string> tags, bool all) {
  std::vector<TagAt> found;
  const auto search = [&](std::string_view in) {
    for (const std::string& tag : tags)
      for (auto at = in.find(tag); at != std::string_view::npos; at = all ? in.find(tag, at + 1) : std::string_view::npos)
        found.push_back({at, tag.size(), tag});
  };
  if (text.find(space_symbol) == std::string_view::npos) {
    search(text);
  } else {
    // U+2581 and a space are the same to the tokenizer, so to this too.
    std::string plain;
    std::vector<std::size_t> origin;
    for (std::size_t at = 0; at < text.size();) {
      const bool space = text.substr(at).starts_with(space_symbol);
      plain += space ? ' ' : text[at];
      origin.push_back(at);
      at += space ? space_symbol.size() : 1;
    }
    origin.push_back(text.size());
    search(plain);
    for (TagAt& tag : found) {
      const std::size_t end = origin[tag.at + tag.size];
      tag.at = origin[tag.at];
      tag.size = end - tag.at;
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const TagAt& a, const TagAt& b) { return a.at < b.at; });
  return found;
}

}  // namespace

std::vector<TagAt> find_tags(std::string_view text, std::span<const std::string> tags) { return search_tags(text, tags, true); }

std::optional<TagAt> find_tag(std::string_view text, std::span<const std::string> tags) {
  const auto found = search_tags(text, tags, false);
  return found.empty() ? std::nullopt : std::optional(found.front());
}

std::vector<std::string> control_spellings(const Tokenizer& tokenizer) {
  std::vector<std::string> out;
  for (std::int32_t id = 0; id < tokenizer.size() && out.size() < 1024; ++id)
    if (tokenizer.type(id) == PieceType::control && utf8_length(tokenizer.piece(id), 0) < tokenizer.piece(id).size())
      out.emplace_back(tokenizer.piece(id));
  return out;
}

std::string neutralise_tags(std::string text, std::span<const std::string> tags, std::size_t& count) {
  for (int pass = 0; pass < 100; ++pass) {  // a second pass only where one tag is another with a space in it
    const auto found = find_tags(text, tags);
    if (found.empty()) return text;
    std::string out;
    std::size_t from = 0;
    for (const TagAt& tag : found) {
      const std::size_t cut = tag.at + std::max<std::size_t>(1, utf8_length(std::string_view(text), tag.at));
      if (cut <= from) continue;  // two tags that begin alike
      out.append(text, from, cut - from) += ' ';
      from = cut;
      ++count;
    }
    text = out.append(text, from);
  }
  fail(Code::argument, "the template's tags cannot be neutralised");
}

}  // namespace puna
