// JSON written as Hugging Face's tools write it: an object over several lines, its keys in order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace puna::io {

std::string json_quoted(std::string_view text);  // valid UTF-8 whatever the bytes
// The shortest decimal that reads back as the same float where the number is one, else as the same double: 1e-05, not
// 9.999999747378752e-06.
std::string json_number(double value);

class JsonText {
 public:
  void raw(std::string key, std::string value) { members_.emplace_back(std::move(key), std::move(value)); }
  void text(std::string key, std::string_view value) { raw(std::move(key), json_quoted(value)); }
  void whole(std::string key, std::uint64_t value) { raw(std::move(key), std::to_string(value)); }
  void number(std::string key, double value) { raw(std::move(key), json_number(value)); }
  void flag(std::string key, bool value) { raw(std::move(key), value ? "true" : "false"); }
  std::string str(int depth = 0) const;  // sorted by key; depth: of an object inside others

 private:
  std::vector<std::pair<std::string, std::string>> members_;
};

}  // namespace puna::io
