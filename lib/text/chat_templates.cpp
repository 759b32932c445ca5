// The table of known templates, and templates that a user writes.
#include <algorithm>

#include "puna/io/json.hpp"
#include "puna/io/printable.hpp"
#include "puna/text/chat_template.hpp"

namespace puna {
namespace {

ChatTemplate llama2(const char* name) {
  ChatTemplate t;
  t.name = name;
  t.system_before = "<<SYS>>\n";
  t.system_after = "\n<</SYS>>\n\n";
  t.user_before = "{bos}[INST] ";
  t.user_after = " [/INST]";
  t.assistant_before = " ";
  t.assistant_after = " {eos}";
  t.turns = t.fold_system = t.strip = t.writes_bos = true;
  t.tags = {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"};
  return t;
}

// FastChat's vicuna v1.1.
ChatTemplate vicuna() {
  ChatTemplate t;
  t.name = "vicuna";
  t.default_system =
      "A chat between a curious user and an artificial intelligence assistant. "
      "The assistant gives helpful, detailed, and polite answers to the user's questions.";
  t.system_after = " ";
  t.user_before = "USER: ";
  t.user_after = " ";
  t.assistant_before = "ASSISTANT: ";
  t.assistant_after = "{eos}";
  t.generation = "ASSISTANT:";
  t.tags = {"USER:", "ASSISTANT:"};
  return t;
}

// The form with line breaks, which template texts of vicuna models have.
ChatTemplate vicuna_lines() {
  ChatTemplate t = vicuna();
  t.name = "vicuna-lines";
  t.default_system.clear();
  t.system_after = "\n\n";
  t.user_after = "\n";
  t.assistant_after = "{eos}\n";
  t.strip = t.writes_bos = true;
  return t;
}

// Stanford's: the answer follows "Response:" without a break.
ChatTemplate alpaca() {
  ChatTemplate t;
  t.name = "alpaca";
  t.default_system =
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
  t.system_after = "\n\n";
  t.user_before = "### Instruction:\n";
  t.user_after = "\n\n";
  t.assistant_before = t.generation = "### Response:";
  t.assistant_after = "{eos}\n\n";
  t.tags = {"### Instruction:", "### Response:"};
  return t;
}

ChatTemplate alpaca_lines() {
  ChatTemplate t = alpaca();
  t.name = "alpaca-lines";
  t.default_system.clear();
  t.assistant_before = t.generation = "### Response:\n";
  t.strip = t.writes_bos = true;
  return t;
}

ChatTemplate zephyr() {
  ChatTemplate t;
  t.name = "zephyr";
  t.system_before = "<|system|>\n";
  t.user_before = "<|user|>\n";
  t.assistant_before = t.generation = "<|assistant|>\n";
  t.system_after = t.user_after = t.assistant_after = "{eos}\n";
  t.tags = t.tokens = {"<|system|>", "<|user|>", "<|assistant|>"};
  return t;
}

ChatTemplate chatml() {
  ChatTemplate t;
  t.name = "chatml";
  t.system_before = "<|im_start|>system\n";
  t.user_before = "<|im_start|>user\n";
  t.assistant_before = t.generation = "<|im_start|>assistant\n";
  t.system_after = t.user_after = t.assistant_after = "<|im_end|>\n";
  t.tags = t.tokens = {"<|im_start|>", "<|im_end|>"};
  return t;
}

// "before{content}after" of a user's template.
void split(const JsonFields& fields, const char* key, std::string& before, std::string& after) {
  const auto text = fields.string(key);
  if (!text) return;
  constexpr std::string_view mark = "{content}";
  const auto at = text->find(mark);
  if (at == std::string::npos || text->find(mark, at + 1) != std::string::npos) fields.refuse(key, "a text with {content} in it, once");
  before = text->substr(0, at);
  after = text->substr(at + mark.size());
}

void read_tags(const JsonFields& fields, ChatTemplate& t) {
  const Json* tags = fields.find("tags");
  if (!tags) return;
  if (!tags->items() || tags->items()->size() > 64) fields.refuse("tags", "a list of at most 64 texts");
  for (const Json& tag : *tags->items()) {
    const std::string* text = tag.string();
    if (!text || text->size() > 256 || utf8_length(std::string_view(*text)) >= text->size())
      fields.refuse("tags", "texts of two characters at least");
    t.tags.push_back(*text);
  }
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view json) {
  const Json root = Json::parse(json, "chat template", {std::size_t{1} << 16, 4, 256});
  const JsonFields fields(root, "chat template");
  for (const JsonMember& member : *root.members()) {
    constexpr std::string_view known[] = {"name", "system", "user", "assistant", "generation", "default_system", "tags", "strip"};
    if (std::find(std::begin(known), std::end(known), member.key) == std::end(known))
      fail(Code::argument, "chat template: there is no field " + quoted(member.key));
  }
  ChatTemplate t;
  t.name = fields.string("name").value_or("custom");
  split(fields, "system", t.system_before, t.system_after);
  split(fields, "user", t.user_before, t.user_after);
  split(fields, "assistant", t.assistant_before, t.assistant_after);
  if (!fields.find("user")) fields.refuse("user", "a text with {content} in it");
  if (!fields.find("assistant")) fields.refuse("assistant", "a text with {content} in it");
  // A prompt that ends with a space would leave the model without the beginning of its word.
  std::string before = t.assistant_before;
  while (before.ends_with(' ')) before.pop_back();
  t.generation = fields.string("generation").value_or(before);
  t.default_system = fields.string("default_system").value_or("");
  t.strip = fields.boolean("strip").value_or(false);
  read_tags(fields, t);
  return t;
}

std::span<const ChatTemplate> chat_templates() {
  static const ChatTemplate all[] = {llama2("llama-2"), llama2("code-llama"), vicuna(), vicuna_lines(),
                                     alpaca(),          alpaca_lines(),      zephyr(), chatml()};
  return all;
}

std::string chat_template_names() {
  std::string names;
  for (const ChatTemplate& t : chat_templates()) names += (names.empty() ? "" : ", ") + t.name;
  return names;
}

const ChatTemplate& find_chat_template(std::string_view name) {
  for (const ChatTemplate& t : chat_templates())
    if (t.name == name) return t;
  fail(Code::argument, "there is no chat template " + quoted(name) + "; known are " + chat_template_names());
}

}  // namespace puna
