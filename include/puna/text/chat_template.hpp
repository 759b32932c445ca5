// Chat templates as data: what stands around a message of each role. A model file's template text is recognised by what
// it prints; it is never executed. Every turn's ids are known apart, and which of them an answer is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/text/tokenizer.hpp"

namespace puna {

enum class ChatFault : std::int32_t { roles, empty_answer, tag, encoding };

// What is wrong with a conversation, for those who sort such things.
class ChatError : public Error {
 public:
  ChatError(ChatFault fault, std::string text)
      : Error(fault == ChatFault::encoding ? Code::encoding : Code::argument, std::move(text)), fault_(fault) {}
  ChatFault fault() const noexcept { return fault_; }

 private:
  ChatFault fault_;
};

enum class Role : std::int32_t { system, user, assistant };
std::string_view role_name(Role role);
// "user" and the like; also ShareGPT's "human" and "gpt". Nothing for a role that no template has.
std::optional<Role> role_of(std::string_view name);

struct Message {
  Role role = Role::user;
  std::string content;
  bool learn = true;  // of an answer: it carries loss
};

// What is done with a template's own tags, or a control token's spelling, inside a message.
enum class TagPolicy : std::int32_t {
  refuse,      // Error(argument) names the tag and the message
  neutralise,  // a space is set into the tag, so that it is text like any other
  keep,        // as it stands, spelt out: no control token ever comes of it, but a model may take it for its own tag
};

// Texts in the notation of the table: {bos}, {eos} and "<|name|>" of `tokens` are tokens, all else is text.
struct ChatTemplate {
  std::string name;
  // Around each role's message: "USER: " and "\n".
  std::string system_before, system_after;
  std::string user_before, user_after;
  std::string assistant_before, assistant_after;
  std::string generation;      // ends a prompt, asking for the answer
  std::string default_system;  // used where a conversation has none
  bool turns = false;          // Meta's way: each question with its answer is encoded by itself, BOS before and EOS after
  bool fold_system = false;    // the system's text is put in front of the first question, inside it
  bool strip = false;          // white space around a message is dropped
  bool writes_bos = false;     // begins with BOS whatever the vocabulary says; {bos} in a text does it there instead
  std::vector<std::string> tags;    // what may not stand in a message
  std::vector<std::string> tokens;  // of the tags: a token by itself where the vocabulary has it as one

  // The texts as JSON: {"user": "USER: {content}\n", "assistant": "ASSISTANT: {content}{eos}\n", "system": …,
  // "generation": …, "default_system": …, "tags": […], "strip": true}. For whatever has no name here.
  static ChatTemplate parse(std::string_view json);
};

std::span<const ChatTemplate> chat_templates();
std::string chat_template_names();  // "llama-2, code-llama, …", for messages
// Error(argument) lists the names.
const ChatTemplate& find_chat_template(std::string_view name);
// By the text of tokenizer.chat_template or tokenizer_config.json. Error(unsupported) lists the names.
const ChatTemplate& recognise_chat_template(std::string_view text);

// The template that a caller names: a name, or JSON that begins with a brace. Empty: the one that the model's file has,
// nothing where it has none or one that is not known.
std::optional<ChatTemplate> resolve_chat_template(std::string_view wanted, const Tokenizer& tokenizer);

struct ChatIds {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> loss;   // 1: part of an answer, or the token that ends it
  std::vector<std::int32_t> owner;  // the message that a token belongs to, its framing included
  std::size_t neutralised = 0;      // tags that were
};

struct ChatOptions {
  TagPolicy tags = TagPolicy::refuse;
  // True: ends with the user and asks for an answer. False: a whole conversation, ending with an answer's last token.
  bool prompt = true;
};

// ChatError for roles out of order (system?, user, assistant, user, …), an answer that is to be learnt and is empty, a tag
// in a message, what is not UTF-8. The text names the message by its number, from 1.
ChatIds render_chat(const ChatTemplate& chat, const Tokenizer& tokenizer, std::span<const Message> messages,
                    const ChatOptions& options = {});

// Tags in a text, U+2581 being a space as it is to the tokenizer.
struct TagAt {
  std::size_t at = 0, size = 0;  // bytes of the text
  std::string_view tag;
};
std::vector<TagAt> find_tags(std::string_view text, std::span<const std::string> tags);
std::optional<TagAt> find_tag(std::string_view text, std::span<const std::string> tags);  // the first
// The spellings of a vocabulary's control tokens: what a user who writes a template by hand puts into a text.
std::vector<std::string> control_spellings(const Tokenizer& tokenizer);
std::string neutralise_tags(std::string text, std::span<const std::string> tags, std::size_t& count);

}  // namespace puna
