// JSON of foreign files: limits, repeated keys, exact numbers.
#include "puna/io/json.hpp"

#include "refusal.hpp"

using namespace puna;
using puna_test::refusal;

namespace {

Json parse(std::string_view text, const JsonLimits& limits = {}) { return Json::parse(text, "f.json", limits); }

}  // namespace

TEST_CASE("JSON: values") {
  const Json json = parse(R"( {"b": [1, -2, 2.5, "x\u00e9\ud83d\ude00", true, null], )"
                          R"("a": {"c": 18446744073709551615}} )");
  REQUIRE(json.members() != nullptr);
  CHECK(json.dump() == "{\"a\":{\"c\":18446744073709551615},\"b\":[1,-2,2.5,\"x\xc3\xa9\xf0\x9f\x98\x80\",true,null]}");
  CHECK(*json.find("a")->find("c")->whole() == 18446744073709551615ull);
  CHECK(json.find("z") == nullptr);
  CHECK(json.find("b")->find("a") == nullptr);
  CHECK(parse("-0").dump() == "0");
  CHECK(parse("1e2").whole() == nullptr);
}

TEST_CASE("JSON: a long value is cut for a message") {
  const std::string text = parse("[" + std::string(1000, ' ') + "\"" + std::string(1000, 'x') + "\"]").dump(50);
  CHECK(text.size() <= 60);
  CHECK(text.ends_with("..."));
}

TEST_CASE("JSON: what is none") {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "nul", "01", "1.", "+1", "NaN", "Infinity",
                           "1e999", "'a'", "\"\\x\"", "\"\\ud800\"", "\"\xff\"", "\"\xc0\x80\"", "// c\n1", "1 2", "\"\n\""}) {
    CAPTURE(text);
    refusal(Code::format, {"f.json", "not JSON"}, [&] { parse(text); });
  }
  refusal(Code::format, {"NUL at byte 2"}, [] { parse(std::string_view("{}\0{", 4)); });
}

TEST_CASE("JSON: limits of size, depth and count") {
  JsonLimits limits;
  limits.depth = 3;
  CHECK(parse("[[[]]]", limits).items() != nullptr);
  refusal(Code::format, {"f.json", "more than 3 deep"}, [&] { parse("[[[[]]]]", limits); });
  refusal(Code::format, {"more than 64 deep"}, [] { parse(std::string(10'000'000, '[')); });
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
  refusal(Code::format, {"more than 64 deep"}, [&] { parse(objects); });
  limits.values = 5;
  CHECK(parse("[1,2,3,4]", limits).items()->size() == 4);
  refusal(Code::format, {"more than 5 JSON values"}, [&] { parse("[1,2,3,4,5]", limits); });
  limits.bytes = 4;
  refusal(Code::format, {"5 bytes", "at most 4"}, [&] { parse("12345", limits); });
}

TEST_CASE("JSON: a repeated key is refused, at any depth") {
  refusal(Code::format, {"f.json", "\"a\"", "twice"}, [] { parse(R"({"a":1,"b":2,"a":3})"); });
  refusal(Code::format, {"\"x\""}, [] { parse(R"([{"a":{"x":1,"\u0078":2}}])"); });
}

TEST_CASE("JSON: fields are taken only where they are exactly what is meant") {
  const Json json = parse(R"({"n":7,"neg":-1,"big":9007199254740993,"max":9007199254740992,"f":7.0,"s":"t","b":true,)"
                          R"("o":{"i":[1]},"z":null})");
  const JsonFields fields(json, "f.json");
  CHECK(fields.whole("n") == 7u);
  CHECK(fields.whole("max") == 9007199254740992ull);
  CHECK_FALSE(fields.whole("z").has_value());
  CHECK_FALSE(fields.whole("absent").has_value());
  CHECK(fields.number("n") == 7.0);
  CHECK(fields.number("neg") == -1.0);
  CHECK(fields.string("s") == "t");
  CHECK(fields.boolean("b") == true);
  const auto refused = [&](std::string_view part, auto get) { refusal(Code::format, {"f.json: ", part}, get); };
  refused("neg is -1, but must be a whole number", [&] { fields.whole("neg"); });
  refused("big is 9007199254740993", [&] { fields.whole("big"); });
  refused("f is 7", [&] { fields.whole("f"); });
  refused("s is \"t\"", [&] { fields.whole("s"); });
  refused("b is true", [&] { fields.number("b"); });
  refused("n is 7, but must be true or false", [&] { fields.boolean("n"); });
  refused("o is {\"i\":[1]}, but must be a string", [&] { fields.string("o"); });
  refused("o.i is [1], but must be a whole number", [&] { fields.object("o")->whole("i"); });
  refused("absent is missing", [&] { fields.need_whole("absent"); });
  refused("n is 7, but must be an object", [&] { fields.object("n"); });
  refused("the whole is 5", [] {
    const Json five = parse("5");
    JsonFields(five, "f.json");
  });
}
