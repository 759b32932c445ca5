// JSON of foreign files, bounded: size, depth and count are limited before anything grows, repeated keys are refused,
// and a number is taken only where it is exactly what the field means. The parser behind it shows no type here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/io/file.hpp"

namespace puna {

struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  std::size_t depth = 64;
  std::size_t values = std::size_t{1} << 21;
};

// What a parse meets, in order; a handler refuses by throwing Error.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  virtual void whole(std::uint64_t value) = 0;
  virtual void negative(std::int64_t value) = 0;
  virtual void number(double value) = 0;  // with a fraction or an exponent, or past 64 bits
  virtual void string(std::string&& value) = 0;
  virtual void begin_object() = 0;
  virtual void key(std::string&& value) = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
};

// Throws Error(format) naming the file for text that is not JSON or passes a limit.
void parse_json(std::string_view text, const std::string& file, const JsonLimits& limits, JsonEvents& events);

struct JsonMember;

class Json {
 public:
  using Items = std::vector<Json>;
  using Members = std::vector<JsonMember>;  // sorted by key

  Json() = default;
  template <class T>
  explicit Json(T value) : value_(std::move(value)) {}

  static Json parse(std::string_view text, const std::string& file, const JsonLimits& limits = {});

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const std::uint64_t* whole() const { return std::get_if<std::uint64_t>(&value_); }
  std::optional<double> number() const;  // any number, as the nearest double
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Items* items() const { return std::get_if<Items>(&value_); }
  const Members* members() const { return std::get_if<Members>(&value_); }
  Items* items() { return std::get_if<Items>(&value_); }
  Members* members() { return std::get_if<Members>(&value_); }
  const Json* find(std::string_view key) const;  // null when absent, or when this is no object

  // Compact JSON text, cut at about `limit` bytes with a mark.
  std::string dump(std::size_t limit = 120) const;

 private:
  std::variant<std::monostate, bool, std::uint64_t, std::int64_t, double, std::string, Items, Members> value_;
};

struct JsonMember {
  std::string key;
  Json value;
};

// An object of a file and where it stands, so that a wrong field reads "FILE: hidden_size is -1, but must be …".
// An absent field and null are the same: nothing.
class JsonFields {
 public:
  JsonFields(const Json& object, std::string file, std::string path = {});

  const std::string& file() const { return file_; }
  const Json& json() const { return *object_; }
  const Json* find(std::string_view key) const;
  std::optional<std::uint64_t> whole(std::string_view key) const;  // 0 to 2^53
  std::optional<double> number(std::string_view key) const;        // finite
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  std::optional<JsonFields> object(std::string_view key) const;
  // The same, but the field must be there.
  std::uint64_t need_whole(std::string_view key) const;
  [[noreturn]] void refuse(std::string_view key, const std::string& must, Code code = Code::format) const;

 private:
  std::string where(std::string_view key) const;
  const Json* object_;
  std::string file_;
  std::string path_;
};

// The whole of a small text file; Error(format) when it is larger than the limit.
std::string read_text_file(const File& file, std::size_t limit);
Json read_json_file(const std::string& path, const JsonLimits& limits = {});

}  // namespace puna
