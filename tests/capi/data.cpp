// Chat templates and training data through puna.h.
#include <puna.hpp>

#include <cstring>
#include <string>

#include "support.hpp"

TEST_CASE("puna.h: a chat rendered to ids with what is learnt, and refusals with a message") {
  const std::string path = puna_test::fixture("tiny/model.gguf").string();
  const puna::Source source(path.c_str());
  const puna::Tokenizer tokenizer(source);
  const puna_message chat[] = {{PUNA_ROLE_USER, 0, "Hi", 2}, {PUNA_ROLE_ASSISTANT, 0, "hello", 5}};
  puna_chat_options options;
  puna_chat_options_init(&options, sizeof options);
  options.whole = 1;
  std::int32_t ids[64];
  std::uint8_t loss[64];
  std::size_t count = 0;
  puna_error error;
  puna_error_init(&error, sizeof error);
  REQUIRE(puna_chat_render(tokenizer.get(), "zephyr", chat, 2, &options, ids, loss, 64, &count, &error) == PUNA_OK);
  CHECK(ids[0] == 1);
  CHECK(ids[count - 1] == 2);
  CHECK(loss[count - 1] == 1);
  CHECK(loss[0] == 0);
  // Too small a buffer, and the size alone.
  std::size_t needed = 0;
  CHECK(puna_chat_render(tokenizer.get(), "zephyr", chat, 2, &options, ids, loss, 3, &needed, &error) == PUNA_E_BUFFER);
  CHECK(needed == count);
  CHECK(puna_chat_render(tokenizer.get(), "zephyr", chat, 2, &options, nullptr, nullptr, 0, &needed, &error) == PUNA_OK);
  CHECK(needed == count);
  // The demo model has no template of its own.
  CHECK(puna_chat_render(tokenizer.get(), nullptr, chat, 2, &options, ids, loss, 64, &count, &error) == PUNA_E_UNSUPPORTED);
  CHECK(std::string(error.text).find("llama-2, code-llama") != std::string::npos);
  options.whole = 0;
  CHECK(puna_chat_render(tokenizer.get(), "zephyr", chat, 2, &options, ids, loss, 64, &count, &error) == PUNA_E_ARGUMENT);
  CHECK(puna_chat_render(tokenizer.get(), "zephyr", nullptr, 2, &options, ids, loss, 64, &count, &error) == PUNA_E_ARGUMENT);
  const puna_message bad{7, 0, "x", 1};
  CHECK(puna_chat_render(tokenizer.get(), "zephyr", &bad, 1, &options, ids, loss, 64, &count, &error) == PUNA_E_ARGUMENT);
}

TEST_CASE("puna.h: template names, recognised texts, and a data file from memory") {
  std::size_t names = 0;
  while (puna_chat_template_name(names)) ++names;
  CHECK(names == 8);
  const char* name = nullptr;
  const char* text = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
  CHECK(puna_chat_template_recognise(text, std::strlen(text), &name, nullptr) == PUNA_OK);
  CHECK(std::string(name) == "chatml");
  CHECK(puna_chat_template_recognise("{{ x }}", 7, &name, nullptr) == PUNA_E_UNSUPPORTED);

  const std::string path = puna_test::fixture("tiny/model.gguf").string();
  const puna::Tokenizer tokenizer(puna::Source(path.c_str()));
  const std::string rows = "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\n";
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_MEMORY;
  source.data = rows.data();
  source.size = rows.size();
  puna_data_options options;
  puna_data_options_init(&options, sizeof options);
  puna_data* data = nullptr;
  REQUIRE(puna_data_open(&data, tokenizer.get(), &source, &options, nullptr) == PUNA_OK);
  const auto info = puna::fetch<puna_data_info>(puna_data_get_info, data);
  CHECK(info.rows == 1);
  CHECK(info.refused == 1);
  CHECK(info.format == PUNA_DATA_JSONL);
  CHECK(info.rows_kind == PUNA_ROWS_PROMPT);
  CHECK(puna_data_fault_count(data, PUNA_FAULT_BROKEN) == 1);
  REQUIRE(puna_data_finding_count(data) == 1);
  CHECK(puna::fetch<puna_data_finding>(puna_data_get_finding, data, std::size_t{0}).line == 2);
  CHECK(puna::fetch<puna_data_row>(puna_data_sample, data, 0).count == info.tokens);
  puna_data_destroy(data);
  options.tags = 9;
  CHECK(puna_data_open(&data, tokenizer.get(), &source, &options, nullptr) == PUNA_E_ARGUMENT);
}
