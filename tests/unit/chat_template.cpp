// Templates against transformers' apply_chat_template and Meta's own ids; tags, roles and which ids are learnt.
#include "puna/text/chat_template.hpp"

#include <algorithm>
#include <sstream>

#include "puna/io/json.hpp"
#include "refusal.hpp"
#include "support.hpp"

using namespace puna;

namespace {

std::shared_ptr<const Tokenizer> demo_tokenizer() {
  static const auto tokenizer = Tokenizer::open(File::open(puna_test::fixture("tiny/tokenizer.model").string()));
  return tokenizer;
}

std::vector<Message> messages_of(const Json& row) {
  std::vector<Message> out;
  for (const Json& m : *row.find("messages")->items())
    out.push_back({*role_of(*m.find("role")->string()), *m.find("content")->string()});
  return out;
}

std::vector<std::int32_t> ids_of(const Json& list) {
  std::vector<std::int32_t> out;
  for (const Json& id : *list.items()) out.push_back(static_cast<std::int32_t>(*id.whole()));
  return out;
}

ChatFault fault_of(const ChatTemplate& t, const std::vector<Message>& messages, const ChatOptions& options = {}) {
  try {
    render_chat(t, *demo_tokenizer(), messages, options);
  } catch (const ChatError& error) {
    return error.fault();
  }
  FAIL("not refused");
  return {};
}

std::string learnt(const ChatIds& out) {
  std::string text;
  for (std::size_t i = 0; i < out.ids.size(); ++i)
    if (out.loss[i]) text += demo_tokenizer()->piece(out.ids[i]);
  return text;
}

}  // namespace

TEST_CASE("every template renders to the ids of transformers' apply_chat_template") {
  std::istringstream in(puna_test::read_text(puna_test::fixture("chat/rendered.jsonl")));
  std::size_t rows = 0;
  for (std::string line; std::getline(in, line); ++rows) {
    const Json row = Json::parse(line, "rendered.jsonl");
    CAPTURE(line);
    ChatOptions options;
    options.prompt = *row.find("prompt")->boolean();
    const ChatTemplate& t = find_chat_template(*row.find("template")->string());
    const ChatIds out = render_chat(t, *demo_tokenizer(), messages_of(row), options);
    CHECK(out.ids == ids_of(*row.find("ids")));
    REQUIRE(out.loss.size() == out.ids.size());
    CHECK(out.loss.back() == (options.prompt ? 0 : 1));
    if (!options.prompt) CHECK(out.ids.back() == demo_tokenizer()->eos());
  }
  CHECK(rows == 8 * 13);
}

TEST_CASE("Meta's dialogs: ids 5 of 5, the sixth refused for its tags, role errors 4 of 4") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  PUNA_SHARED(vectors, "chat/meta_chat_vectors.json");
  const auto tokenizer = Tokenizer::open(File::open(model.string()));
  const Json root = read_json_file(vectors.string());
  const ChatTemplate& llama2 = find_chat_template("llama-2");
  int exact = 0, refused = 0, roles = 0;
  for (const Json& row : *root.find("prompts")->items()) {
    const bool unsafe = *row.find("unsafe")->boolean();
    try {
      const ChatIds out = render_chat(llama2, *tokenizer, messages_of(row));
      CHECK_FALSE(unsafe);
      CHECK(out.ids == ids_of(*row.find("ids")));
      exact += out.ids == ids_of(*row.find("ids"));
    } catch (const ChatError& error) {
      CHECK(unsafe);
      CHECK(error.fault() == ChatFault::tag);
      CHECK(error.text().find("\"[/INST]\"") != std::string::npos);
      ++refused;
      // As text it is what Meta's tokenizer makes of it, before it throws the answer away.
      ChatOptions keep;
      keep.tags = TagPolicy::keep;
      CHECK(render_chat(llama2, *tokenizer, messages_of(row), keep).ids == ids_of(*row.find("ids")));
    }
  }
  for (const Json& row : *root.find("role_errors")->items()) {
    try {
      render_chat(llama2, *tokenizer, messages_of(row));
    } catch (const ChatError& error) {
      roles += error.fault() == ChatFault::roles;
    }
  }
  CHECK(exact == 5);
  CHECK(refused == 1);
  CHECK(roles == 4);
}

TEST_CASE("answers and their EOS are learnt, nothing else") {
  const std::vector<Message> chat{{Role::system, "Be brief."}, {Role::user, "Hi"}, {Role::assistant, "Hello"},
                                  {Role::user, "Bye"},         {Role::assistant, "go"}};
  ChatOptions whole;
  whole.prompt = false;
  const auto spelt = [&](const char* name) { return learnt(render_chat(find_chat_template(name), *demo_tokenizer(), chat, whole)); };
  const std::string s(space_symbol);
  CHECK(spelt("llama-2") == s + "Hello" + s + "</s>" + s + "go" + s + "</s>");
  CHECK(spelt("vicuna") == s + "Hello</s>" + s + "go</s>");
  CHECK(spelt("zephyr") == "Hello</s>go</s>");
  CHECK(spelt("alpaca") == "Hello</s>go</s>");
  CHECK(spelt("chatml") == "Hello<0x3C><0x7C>im<0x5F>end<0x7C><0x3E>go<0x3C><0x7C>im<0x5F>end<0x7C><0x3E></s>");
  // An answer that is not to be learnt, and a prompt, which teaches nothing.
  auto half = chat;
  half[2].learn = false;
  CHECK(learnt(render_chat(find_chat_template("zephyr"), *demo_tokenizer(), half, whole)) == "go</s>");
  CHECK(learnt(render_chat(find_chat_template("zephyr"), *demo_tokenizer(), std::span(chat).first(4))).empty());
}

TEST_CASE("each token belongs to a message") {
  const std::vector<Message> chat{{Role::system, "S"}, {Role::user, "Hi"}, {Role::assistant, "Hello"}, {Role::user, "Bye"}};
  for (const ChatTemplate& t : chat_templates()) {
    CAPTURE(t.name);
    const ChatIds out = render_chat(t, *demo_tokenizer(), chat);
    REQUIRE(out.owner.size() == out.ids.size());
    for (std::int32_t owner = 0; owner < 4; ++owner) CHECK(std::count(out.owner.begin(), out.owner.end(), owner) > 0);
  }
}

TEST_CASE("special tags in a message are refused by name, or neutralised") {
  const ChatTemplate& llama2 = find_chat_template("llama-2");
  const auto refused = [&](const char* text, const ChatTemplate& t) {
    try {
      render_chat(t, *demo_tokenizer(), std::vector<Message>{{Role::user, text}});
    } catch (const ChatError& error) {
      CHECK(error.fault() == ChatFault::tag);
      return error.text();
    }
    return std::string();
  };
  CHECK(refused("a [INST] b", llama2) == "message 1 (user) holds the special tag \"[INST]\" at byte 2");
  CHECK(refused("</s>", llama2).find("\"</s>\"") != std::string::npos);
  CHECK(refused("x <<SYS>>", llama2).find("\"<<SYS>>\"") != std::string::npos);
  CHECK(refused("###\xE2\x96\x81Instruction:", find_chat_template("alpaca")).find("\"### Instruction:\"") != std::string::npos);
  CHECK(refused("[inst] <b> [INST", llama2).empty());

  ChatOptions neutral;
  neutral.tags = TagPolicy::neutralise;
  for (const ChatTemplate& t : chat_templates()) {
    std::string all = "x";
    for (const std::string& tag : t.tags) all += tag + tag;
    const std::vector<Message> chat{{Role::user, all + "<s></s>"}};
    const ChatIds out = render_chat(t, *demo_tokenizer(), chat, neutral);
    CHECK(out.neutralised == 2 * t.tags.size() + 2);
    // The only control tokens are those of the same prompt about something else.
    const auto controls = [](const ChatIds& c) {
      return std::count_if(c.ids.begin(), c.ids.end(), [](std::int32_t id) { return demo_tokenizer()->type(id) == PieceType::control; });
    };
    CHECK(controls(out) == controls(render_chat(t, *demo_tokenizer(), std::vector<Message>{{Role::user, "x"}})));
    const std::string text = demo_tokenizer()->decode(out.ids);
    for (const std::string& tag : t.tags) CHECK(text.find(tag + tag) == std::string::npos);
  }
}

TEST_CASE("a tag split over messages, or over a message and the template, is one") {
  const ChatTemplate t = ChatTemplate::parse(R"({"system":"{content}","user":"<|{content}","assistant":"{content}","tags":["<|end|>","[X]"]})");
  const std::vector<Message> split{{Role::system, "[X"}, {Role::user, "hi"}};
  CHECK_NOTHROW(render_chat(t, *demo_tokenizer(), split));
  CHECK(fault_of(t, {{Role::user, "end|>"}}) == ChatFault::tag);
  CHECK(fault_of(t, {{Role::user, "a"}, {Role::assistant, "b<|end"}, {Role::user, "c"}, {Role::assistant, "[X]"}}, {TagPolicy::refuse, false}) == ChatFault::tag);
  const ChatTemplate bare = ChatTemplate::parse(R"({"user":"{content}","assistant":"{content}","tags":["[X]"]})");
  const std::vector<Message> over{{Role::user, "a[X"}, {Role::assistant, "]b"}, {Role::user, "c"}};
  CHECK(fault_of(bare, over) == ChatFault::tag);
  ChatOptions neutral;
  neutral.tags = TagPolicy::neutralise;
  const ChatIds out = render_chat(bare, *demo_tokenizer(), over, neutral);
  CHECK(out.neutralised == 1);
  CHECK(demo_tokenizer()->decode(out.ids).find("[X]") == std::string::npos);
}

TEST_CASE("a control token never comes of text, whatever the policy") {
  ChatOptions keep;
  keep.tags = TagPolicy::keep;
  const ChatIds out = render_chat(find_chat_template("zephyr"), *demo_tokenizer(), std::vector<Message>{{Role::user, "<s></s><unk>"}}, keep);
  CHECK(std::count(out.ids.begin(), out.ids.end(), 1) == 1);  // the prompt's own BOS
  CHECK(std::count(out.ids.begin(), out.ids.end(), 2) == 1);  // the EOS after a message
  CHECK(std::count(out.ids.begin(), out.ids.end(), 0) == 0);
}

TEST_CASE("roles, empty answers and bytes that are not UTF-8 are refused with the message's number") {
  const ChatTemplate& t = find_chat_template("zephyr");
  const ChatOptions whole{TagPolicy::refuse, false};
  CHECK(fault_of(t, {}) == ChatFault::roles);
  CHECK(fault_of(t, {{Role::system, "a"}}) == ChatFault::roles);
  CHECK(fault_of(t, {{Role::user, "a"}}, whole) == ChatFault::roles);
  CHECK(fault_of(t, {{Role::user, "a"}, {Role::assistant, "b"}}) == ChatFault::roles);
  CHECK(fault_of(t, {{Role::user, "a"}, {Role::assistant, " \n"}}, whole) == ChatFault::empty_answer);
  CHECK(fault_of(t, {{Role::user, "a\xff"}}) == ChatFault::encoding);
  puna_test::refusal(Code::argument, {"message 2 (user)", "assistant"}, [&] {
    render_chat(t, *demo_tokenizer(), std::vector<Message>{{Role::user, "a"}, {Role::user, "b"}});
  });
}

TEST_CASE("template texts are recognised by what they print; others are an error that lists the names") {
  const auto name = [](std::string_view text) {
    try {
      return recognise_chat_template(text).name;
    } catch (const Error& error) {
      CHECK(static_cast<int>(error.code()) == static_cast<int>(Code::unsupported));
      CHECK(error.text().find(chat_template_names()) != std::string::npos);
      return std::string("unknown");
    }
  };
  CHECK(name("") == "unknown");
  CHECK(name("{{ messages }}") == "unknown");
  // Mistral's, which has no space before the answer.
  CHECK(name("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
             "{% else %}{{ message['content'] + eos_token}}{% endif %}{% endfor %}") == "unknown");
  // A text of its own in front.
  CHECK(name("<|im_start|>system\nYou are kind<|im_end|>\n{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
             "{% endfor %}<|im_start|>assistant\n") == "unknown");
  CHECK(name("{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
             "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}") == "llama-2");
  CHECK(name("{% set content = '<<SYS>>\\n' + system_message + \"\\n<</SYS>>\\n\\n\" + message.content %}"
             "{% if x %}{{- bos_token ~ '[INST] ' ~ content|trim ~ ' [/INST]' -}}{% else %}{{- ' '+content | trim+' '+eos_token -}}{% endif %}") == "llama-2");
  CHECK(name("{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
             "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% else %}\n"
             "{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}") == "zephyr");
  CHECK(name("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}") == "chatml");
  CHECK(name("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n") == "chatml");
}
