// What the rows of each shape say.
#include <array>

#include "data_source.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

constexpr std::size_t max_messages = 4096;

[[noreturn]] void wrong(const std::string& text) { throw RowFault{DataFault::shape, text}; }

const Json* some(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value : nullptr;
}

std::string text_field(const Json& object, std::string_view key) {
  const Json* value = some(object, key);
  if (!value) wrong("there is no " + quoted(key));
  const std::string* text = value->string();
  if (!text) wrong(quoted(key) + " is " + value->dump(60) + ", but must be a text");
  return *text;
}

// The answer under whichever of these names is there.
std::string answer_field(const Json& object, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys)
    if (some(object, key)) return text_field(object, key);
  wrong("there is no " + quoted(*keys.begin()));
}

// OpenAI's "weight": 0 and others' "train": false.
bool learnt(const Json& message) {
  if (const Json* train = some(message, "train")) {
    if (!train->boolean()) wrong("\"train\" is " + train->dump(60) + ", but must be true or false");
    return *train->boolean();
  }
  if (const Json* weight = some(message, "weight")) {
    const auto number = weight->number();
    if (number != 0.0 && number != 1.0) wrong("\"weight\" is " + weight->dump(60) + ", but must be 0 or 1");
    return number == 1.0;
  }
  return true;
}

std::vector<Message> message_list(const Json& list, std::string_view name, std::string_view role_key, std::string_view text_key) {
  if (!list.items()) wrong(quoted(name) + " is " + list.dump(60) + ", but must be a list of messages");
  if (list.items()->size() > max_messages) wrong(quoted(name) + " has " + std::to_string(list.items()->size()) + " messages, at most " + std::to_string(max_messages) + " are read");
  std::vector<Message> out;
  for (const Json& item : *list.items()) {
    const std::string at = "message " + std::to_string(out.size() + 1) + ": ";
    if (!item.members()) wrong(at + item.dump(60) + " is not an object");
    try {
      const std::string role = text_field(item, role_key);
      const auto known = role_of(role);
      if (!known) throw RowFault{DataFault::roles, "the role " + quoted(role) + " is none of system, user (human), assistant (gpt)"};
      out.push_back({*known, text_field(item, text_key), learnt(item)});
    } catch (const RowFault& fault) {
      throw RowFault{fault.fault, at + fault.text};
    }
  }
  return out;
}

std::vector<Message> list_field(const Json& object, std::string_view key) {
  const Json* list = some(object, key);
  if (!list) wrong("there is no " + quoted(key));
  return message_list(*list, key, "role", "content");
}

bool is_list(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value && value->items();
}

// A prompt may be a text or messages, and what follows it as well.
void read_prompt(const Json& object, RowContent& out) {
  if (is_list(object, "prompt")) {
    out.messages = list_field(object, "prompt");
    for (Message& m : out.messages) m.learn = false;
    for (Message& m : list_field(object, "completion")) out.messages.push_back(std::move(m));
    return;
  }
  out.plain = true;
  out.prompt = text_field(object, "prompt");
  out.text = answer_field(object, {"completion", "response"});
}

// Only what the two answers do not share is learnt.
void read_preference(const Json& object, RowContent& out) {
  if (is_list(object, "chosen")) {
    std::vector<Message> before;
    if (is_list(object, "prompt")) before = list_field(object, "prompt");
    const auto whole = [&](const char* key) {
      std::vector<Message> messages = before;
      for (Message& m : list_field(object, key)) messages.push_back(std::move(m));
      return messages;
    };
    out.messages = whole("chosen");
    out.rejected = whole("rejected");
    std::size_t same = 0;
    const auto equal = [](const Message& a, const Message& b) { return a.role == b.role && a.content == b.content; };
    while (same < out.messages.size() && same < out.rejected.size() && equal(out.messages[same], out.rejected[same])) ++same;
    if (same == out.messages.size() && same == out.rejected.size()) throw RowFault{DataFault::all_masked, "\"chosen\" and \"rejected\" are the same"};
    for (std::size_t i = 0; i < same; ++i) out.messages[i].learn = out.rejected[i].learn = false;
    return;
  }
  out.plain = true;
  out.prompt = text_field(object, "prompt");
  out.text = text_field(object, "chosen");
  out.input = text_field(object, "rejected");
  if (out.text == out.input) throw RowFault{DataFault::all_masked, "\"chosen\" and \"rejected\" are the same"};
}

void read_alpaca(const Json& object, RowContent& out) {
  out.messages = {{Role::user, text_field(object, "instruction"), true},
                  {Role::assistant, answer_field(object, {"output", "response"}), true}};
  if (some(object, "input")) out.input = text_field(object, "input");
}

}  // namespace

RowShape recognise_shape(const Json& object) {
  const auto has = [&](std::string_view key) { return object.find(key) != nullptr; };
  if (has("messages")) return RowShape::messages;
  if (has("conversations")) return RowShape::sharegpt;
  if (has("chosen") && has("rejected")) return RowShape::preference;
  if (has("instruction") && (has("output") || has("response"))) return RowShape::alpaca;
  if (has("prompt") && (has("completion") || has("response"))) return RowShape::prompt;
  if (has("text")) return RowShape::text;
  return RowShape::automatic;
}

RowContent read_row(const Json& object, RowShape shape) {
  RowContent out;
  switch (shape) {
    case RowShape::messages: out.messages = list_field(object, "messages"); break;
    case RowShape::sharegpt: {
      const Json* list = some(object, "conversations");
      if (!list) wrong("there is no \"conversations\"");
      out.messages = message_list(*list, "conversations", "from", "value");
      break;
    }
    case RowShape::alpaca: read_alpaca(object, out); break;
    case RowShape::prompt: read_prompt(object, out); break;
    case RowShape::preference: read_preference(object, out); break;
    default: out.text = text_field(object, "text"); break;
  }
  return out;
}

namespace {

constexpr std::array<std::string_view, 5> format_names{"auto", "jsonl", "json", "csv", "text"};
constexpr std::array<std::string_view, 7> shape_names{"auto", "messages", "sharegpt", "alpaca", "prompt", "preference", "text"};
constexpr std::array<std::string_view, data_fault_count> fault_names{"broken", "empty_file", "encoding", "shape", "roles",
                                                                      "empty_answer", "all_masked", "special_tag", "duplicate", "too_long"};

template <class E, std::size_t N>
E by_name(const std::array<std::string_view, N>& names, std::string_view name, const char* what) {
  std::string all;
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<E>(i);
    all += (i ? ", " : "") + std::string(names[i]);
  }
  fail(Code::argument, std::string("there is no ") + what + " " + quoted(name) + "; known are " + all);
}

}  // namespace

std::string_view data_format_name(DataFormat format) { return format_names[static_cast<std::size_t>(format)]; }
std::string_view row_shape_name(RowShape shape) { return shape_names[static_cast<std::size_t>(shape)]; }
std::string_view data_fault_name(DataFault fault) { return fault_names[static_cast<std::size_t>(fault)]; }
DataFormat data_format_of(std::string_view name) { return by_name<DataFormat>(format_names, name, "data format"); }
RowShape row_shape_of(std::string_view name) { return by_name<RowShape>(shape_names, name, "kind of row"); }

}  // namespace puna
