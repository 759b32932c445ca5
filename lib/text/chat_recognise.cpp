// What a template text prints, read off without executing it: its output expressions in a canonical spelling. A template
// is known when these are exactly a known one's; whatever prints anything else is unknown, never guessed.
#include <algorithm>
#include <set>

#include "puna/text/chat_template.hpp"

namespace puna {
namespace {

constexpr std::size_t max_template_bytes = std::size_t{1} << 20;

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::set<std::string> read() {
    while (at_ < text_.size()) {
      const std::size_t open = next_open();
      raw(text_.substr(at_, open - at_), open);
      if (open == text_.size()) break;
      block(open);
    }
    finish();
    return std::move(prints_);
  }

 private:
  std::size_t next_open() const {
    for (std::size_t i = at_; i + 1 < text_.size(); ++i)
      if (text_[i] == '{' && (text_[i + 1] == '{' || text_[i + 1] == '%' || text_[i + 1] == '#')) return i;
    return text_.size();
  }

  // Text between blocks, as it is printed with trim_blocks and lstrip_blocks, which chat templates are run with.
  void raw(std::string_view text, std::size_t open) {
    if (strip_left_) while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    else if (after_statement_ && text.starts_with("\n")) text.remove_prefix(1);
    if (open < text_.size()) {
      const bool dash = open + 2 < text_.size() && text_[open + 2] == '-';
      if (dash) while (!text.empty() && blank(text.back())) text.remove_suffix(1);
      else if (text_[open + 1] != '{') {
        std::size_t end = text.size();
        while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t')) --end;
        if (end > 0 ? text[end - 1] == '\n' : after_statement_ || at_ == 0) text = text.substr(0, end);
      }
    }
    if (!text.empty()) add("'" + std::string(text) + "'");
  }

  // {{ … }}, {% … %} or {# … #}; quotes hide an end.
  void block(std::size_t open) {
    const char kind = text_[open + 1];
    const char close = kind == '{' ? '}' : kind;
    std::size_t end = open + 2;
    for (char quote = 0; end < text_.size(); ++end) {
      const char c = text_[end];
      if (quote) {
        if (c == '\\') ++end;
        else if (c == quote) quote = 0;
      } else if (kind != '#' && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == close && end + 1 < text_.size() && text_[end + 1] == '}') {
        break;
      }
    }
    std::string_view inside = text_.substr(open + 2, std::min(end, text_.size()) - open - 2);
    if (inside.starts_with('-')) inside.remove_prefix(1);
    strip_left_ = inside.ends_with('-');
    if (strip_left_) inside.remove_suffix(1);
    at_ = std::min(end + 2, text_.size());
    after_statement_ = kind != '{';
    if (kind == '{') return add(canonical(inside));
    if (kind == '#') return;
    finish();
    const std::string statement = canonical(inside);
    // A text that is kept for later is printed later: what it is matters.
    if (statement.starts_with("set") && statement.find('\'') != std::string::npos && !known_index(statement)) prints_.insert(statement);
  }

  // messages[0]['content'] alone, or '' or false: nothing that is printed by itself.
  static bool known_index(std::string statement) {
    replace_all(statement, "['content']", "");
    replace_all(statement, "['role']", "");
    replace_all(statement, "''", "");
    return statement.find('\'') == std::string::npos;
  }

  void add(const std::string& expression) {
    if (!open_.empty()) open_ += '+';
    open_ += expression;
  }

  void finish() {
    replace_all(open_, "'+'", "");
    if (!open_.empty() && open_.find("raise_exception(") != 0) prints_.insert(open_);
    open_.clear();
  }

  static std::string canonical(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '\'' || c == '"') {
        out += '\'';
        for (++i; i < text.size() && text[i] != c; ++i) {
          if (text[i] != '\\' || i + 1 == text.size()) out += text[i];
          else out += text[++i] == 'n' ? '\n' : text[i] == 't' ? '\t' : text[i];
        }
        out += '\'';
      } else if (c == '~') {
        out += '+';
      } else if (!blank(c)) {
        out += c;
      } else if (!out.empty() && word(out.back()) && i + 1 < text.size() && word(text[i + 1])) {
        out += ' ';
      }
    }
    replace_all(out, "message.content", "message['content']");
    replace_all(out, "message.role", "message['role']");
    replace_all(out, "|trim", ".strip()");
    replace_all(out, "'+'", "");
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool strip_left_ = false, after_statement_ = false;
  std::string open_;  // the output expression so far; blocks that touch are one
  std::set<std::string> prints_;
};

struct Known {
  const char* name;
  std::vector<std::string> must;
  std::vector<std::string> may;
};

const std::vector<Known>& known_templates() {
  static const std::string system_lines = "set system_message=messages[0]['content'].strip()+'\n\n'";
  static const std::vector<Known> all{
      {"llama-2",
       {"set content='<<SYS>>\n'+system_message+'\n<</SYS>>\n\n'+message['content']",
        "bos_token+'[INST] '+content.strip()+' [/INST]'", "' '+content.strip()+' '+eos_token"},
       {"'<<SYS>>\n'+content.strip()+'\n<</SYS>>\n\n'"}},
      {"llama-2", {"bos_token+'[INST] '+message['content'].strip()+' [/INST]'", "' '+message['content'].strip()+' '+eos_token"}, {}},
      {"zephyr",
       {"'<|system|>\n'+message['content']+eos_token+'\n'", "'<|user|>\n'+message['content']+eos_token+'\n'",
        "'<|assistant|>\n'+message['content']+eos_token+'\n'", "'<|assistant|>\n'"},
       {}},
      {"chatml", {"'<|im_start|>'+message['role']+'\n'+message['content']+'<|im_end|>\n'", "'<|im_start|>assistant\n'"}, {}},
      {"chatml",
       {"'<|im_start|>system\n'+message['content']+'<|im_end|>\n'", "'<|im_start|>user\n'+message['content']+'<|im_end|>\n'",
        "'<|im_start|>assistant\n'+message['content']+'<|im_end|>\n'", "'<|im_start|>assistant\n'"},
       {}},
      {"vicuna-lines",
       {system_lines, "bos_token+system_message", "'USER: '+message['content'].strip()+'\n'",
        "'ASSISTANT: '+message['content'].strip()+eos_token+'\n'", "'ASSISTANT:'"},
       {}},
      {"alpaca-lines",
       {system_lines, "bos_token+system_message", "'### Instruction:\n'+message['content'].strip()+'\n\n'",
        "'### Response:\n'+message['content'].strip()+eos_token+'\n\n'"},
       // Many copies ask for an answer with the wrong heading.
       {"'### Response:\n'", "'### Instruction:\n'"}},
  };
  return all;
}

bool is(const Known& known, const std::set<std::string>& prints) {
  for (const std::string& text : known.must)
    if (!prints.contains(text)) return false;
  return std::all_of(prints.begin(), prints.end(), [&](const std::string& text) {
    return std::find(known.must.begin(), known.must.end(), text) != known.must.end() ||
           std::find(known.may.begin(), known.may.end(), text) != known.may.end();
  });
}

}  // namespace

const ChatTemplate& recognise_chat_template(std::string_view text) {
  if (text.empty()) fail(Code::unsupported, "the model has no chat template; name one of " + chat_template_names());
  if (text.size() <= max_template_bytes) {
    const auto prints = Reader(text).read();
    for (const Known& known : known_templates())
      if (is(known, prints)) return find_chat_template(known.name);
  }
  fail(Code::unsupported, "the model's chat template is none that is known; name the one to use: " + chat_template_names());
}

std::optional<ChatTemplate> resolve_chat_template(std::string_view wanted, const Tokenizer& tokenizer) {
  const auto first = wanted.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos) return wanted[first] == '{' ? ChatTemplate::parse(wanted) : find_chat_template(wanted);
  try {
    if (!tokenizer.vocab().chat_template.empty()) return recognise_chat_template(tokenizer.vocab().chat_template);
  } catch (const Error&) {  // none that is known
  }
  return std::nullopt;
}

}  // namespace puna
