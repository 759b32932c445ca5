#include "puna/io/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

// A failed check inside the parser must not end the host.
#define JSON_ASSERT(x) static_cast<void>(0)
#include <nlohmann/json.hpp>

#include "puna/io/printable.hpp"

namespace puna {
namespace {

// nlohmann's parser calls this; it keeps its own state in a vector, so depth costs no stack.
class Handler {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  Handler(const std::string& file, const JsonLimits& limits, JsonEvents& events)
      : file_(file), limits_(limits), events_(events) {}

  bool null() { return count(), events_.null(), true; }
  bool boolean(bool v) { return count(), events_.boolean(v), true; }
  bool number_unsigned(number_unsigned_t v) { return count(), events_.whole(v), true; }
  bool number_float(number_float_t v, const string_t&) { return count(), events_.number(v), true; }
  bool string(string_t& v) { return count(), events_.string(std::move(v)), true; }
  bool key(string_t& v) { return events_.key(std::move(v)), true; }
  bool binary(binary_t&) { return false; }
  bool number_integer(number_integer_t v) {
    count();
    if (v >= 0)
      events_.whole(static_cast<std::uint64_t>(v));
    else
      events_.negative(v);
    return true;
  }
  bool start_object(std::size_t) { return enter(), events_.begin_object(), true; }
  bool start_array(std::size_t) { return enter(), events_.begin_array(), true; }
  bool end_object() { return --depth_, events_.end_object(), true; }
  bool end_array() { return --depth_, events_.end_array(), true; }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    position_ = position;
    return false;
  }
  std::size_t position() const { return position_; }

 private:
  void count() {
    if (++values_ > limits_.values)
      fail(Code::format, file_ + ": more than " + std::to_string(limits_.values) + " JSON values");
  }
  void enter() {
    count();
    if (++depth_ > limits_.depth)
      fail(Code::format, file_ + ": JSON is nested more than " + std::to_string(limits_.depth) + " deep");
  }

  const std::string& file_;
  const JsonLimits& limits_;
  JsonEvents& events_;
  std::size_t values_ = 0;
  std::size_t depth_ = 0;
  std::size_t position_ = 0;
};

// Builds the tree. Depth is limited before, so that the tree's recursive destructor is bounded too.
class Builder final : public JsonEvents {
 public:
  explicit Builder(const std::string& file) : file_(file) {}
  Json take() { return std::move(root_); }

  void null() override { add(Json()); }
  void boolean(bool v) override { add(Json(v)); }
  void whole(std::uint64_t v) override { add(Json(v)); }
  void negative(std::int64_t v) override { add(Json(v)); }
  void number(double v) override { add(Json(v)); }
  void string(std::string&& v) override { add(Json(std::move(v))); }
  void begin_object() override { open_.push_back({Json(Json::Members{}), {}}); }
  void begin_array() override { open_.push_back({Json(Json::Items{}), {}}); }
  void key(std::string&& v) override { open_.back().key = std::move(v); }
  void end_array() override { close(); }
  void end_object() override {
    auto& members = *open_.back().value.members();
    const auto less = [](const JsonMember& a, const JsonMember& b) { return a.key < b.key; };
    std::sort(members.begin(), members.end(), less);
    const auto same = [](const JsonMember& a, const JsonMember& b) { return a.key == b.key; };
    const auto twice = std::adjacent_find(members.begin(), members.end(), same);
    if (twice != members.end()) fail(Code::format, file_ + ": the key " + puna::quoted(twice->key) + " stands twice");
    close();
  }

 private:
  struct Open {
    Json value;
    std::string key;
  };
  void close() {
    Json done = std::move(open_.back().value);
    open_.pop_back();
    add(std::move(done));
  }
  void add(Json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (auto* items = open_.back().value.items()) {
      items->push_back(std::move(value));
    } else {
      open_.back().value.members()->push_back({std::move(open_.back().key), std::move(value)});
    }
  }
  const std::string& file_;
  std::vector<Open> open_;
  Json root_;
};

std::string number_text(double v) {  // the shortest that reads back the same, whatever the locale
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, v).ptr;
  return std::string(text, end);
}

void escape(std::string& out, const std::string& text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code;
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

void parse_json(std::string_view text, const std::string& file, const JsonLimits& limits, JsonEvents& events) {
  if (text.size() > limits.bytes)
    fail(Code::format, file + ": " + std::to_string(text.size()) + " bytes of JSON, but at most " +
                           std::to_string(limits.bytes) + " are read");
  // The parser takes a NUL for the end and would not see what follows it.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos)
    fail(Code::format, file + ": not JSON: a NUL at byte " + std::to_string(nul));
  Handler handler(file, limits, events);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &handler))
    fail(Code::format, file + ": not JSON from byte " + std::to_string(handler.position()) + " on");
}

Json Json::parse(std::string_view text, const std::string& file, const JsonLimits& limits) {
  Builder builder(file);
  parse_json(text, file, limits, builder);
  return builder.take();
}

std::optional<double> Json::number() const {
  if (const auto* v = std::get_if<double>(&value_)) return *v;
  if (const auto* v = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*v);
  if (const auto* v = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*v);
  return std::nullopt;
}

const Json* Json::find(std::string_view key) const {
  const auto* all = members();
  if (!all) return nullptr;
  const auto less = [](const JsonMember& m, std::string_view k) { return m.key < k; };
  const auto at = std::lower_bound(all->begin(), all->end(), key, less);
  return at != all->end() && at->key == key ? &at->value : nullptr;
}

std::string Json::dump(std::size_t limit) const {
  std::string out;
  struct Writer {
    std::string& out;
    std::size_t limit;
    void operator()(const std::monostate&) { out += "null"; }
    void operator()(bool v) { out += v ? "true" : "false"; }
    void operator()(std::uint64_t v) { out += std::to_string(v); }
    void operator()(std::int64_t v) { out += std::to_string(v); }
    void operator()(double v) { out += number_text(v); }
    void operator()(const std::string& v) { escape(out, v); }
    void operator()(const Items& v) {
      out += '[';
      for (std::size_t i = 0; i < v.size() && out.size() <= limit; ++i) {
        if (i) out += ',';
        std::visit(*this, v[i].value_);
      }
      out += ']';
    }
    void operator()(const Members& v) {
      out += '{';
      for (std::size_t i = 0; i < v.size() && out.size() <= limit; ++i) {
        if (i) out += ',';
        escape(out, v[i].key);
        out += ':';
        std::visit(*this, v[i].value.value_);
      }
      out += '}';
    }
  };
  std::visit(Writer{out, limit}, value_);
  if (out.size() > limit) {
    std::size_t cut = limit;
    while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xC0) == 0x80) --cut;
    out.resize(cut);
    out += "...";
  }
  return out;
}

JsonFields::JsonFields(const Json& object, std::string file, std::string path)
    : object_(&object), file_(std::move(file)), path_(std::move(path)) {
  if (!object.members())
    fail(Code::format, file_ + ": " + (path_.empty() ? "the whole" : path_) + " is " + object.dump() +
                           ", but must be an object");
}

std::string JsonFields::where(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const Json* JsonFields::find(std::string_view key) const {
  const Json* value = object_->find(key);
  return value && !value->is_null() ? value : nullptr;
}

void JsonFields::refuse(std::string_view key, const std::string& must, Code code) const {
  const Json* value = object_->find(key);
  fail(code, file_ + ": " + where(key) + (value ? " is " + value->dump() : " is missing") + ", but must be " + must);
}

std::optional<std::uint64_t> JsonFields::whole(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  const std::uint64_t* n = value->whole();
  if (!n || *n > (std::uint64_t{1} << 53)) refuse(key, "a whole number from 0 to 2^53");
  return *n;
}

std::optional<double> JsonFields::number(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  const auto n = value->number();
  if (!n || !std::isfinite(*n)) refuse(key, "a number");
  return n;
}

std::optional<bool> JsonFields::boolean(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  const bool* b = value->boolean();
  if (!b) refuse(key, "true or false");
  return *b;
}

std::optional<std::string> JsonFields::string(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  const std::string* s = value->string();
  if (!s) refuse(key, "a string");
  return *s;
}

std::optional<JsonFields> JsonFields::object(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->members()) refuse(key, "an object");
  return JsonFields(*value, file_, where(key));
}

std::uint64_t JsonFields::need_whole(std::string_view key) const {
  const auto value = whole(key);
  if (!value) refuse(key, "a whole number");
  return *value;
}

std::string read_text_file(const File& file, std::size_t limit) {
  if (file.size() > limit)
    fail(Code::format, file.name() + ": " + std::to_string(file.size()) + " bytes, but at most " +
                           std::to_string(limit) + " are read");
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

Json read_json_file(const std::string& path, const JsonLimits& limits) {
  const auto file = File::open(path);
  return Json::parse(read_text_file(*file, limits.bytes), path, limits);
}

}  // namespace puna
