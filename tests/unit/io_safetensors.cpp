// safetensors: what is right is read, in place and by callback; what breaks the format is refused by name.
#include "puna/io/safetensors.hpp"

#include "io_containers.hpp"

using namespace puna;
using puna_test::refusal;
using puna_test::safetensors;
using puna_test::TextFile;

namespace {

std::size_t parse(std::string bytes) {
  const TextFile text(std::move(bytes));
  return SafetensorsFile(text.mapped()).tensors().size();
}

std::string entry(const std::string& name, const std::string& type, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]}";
}

void refused(const std::string& header, std::size_t data, std::initializer_list<std::string_view> parts,
             Code code = Code::format) {
  CAPTURE(header.substr(0, 200));
  refusal(code, parts, [&] { parse(safetensors(header, data)); });
}

}  // namespace

TEST_CASE("safetensors: names, types, shapes and places") {
  const std::string header = "{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "F16", "3", "8,14") + "," +
                             entry("a", "F32", "1,2", "0,8") + "," + entry("e", "I64", "0,5", "14,14") + "," +
                             entry("s", "U8", "", "14,15") + "}   ";
  TextFile text(safetensors(header, 15), "dir/x.safetensors");
  for (const bool mapped : {true, false}) {
    CAPTURE(mapped);
    const SafetensorsFile f(mapped ? text.mapped() : text.streamed());
    REQUIRE(f.tensors().size() == 4);
    CHECK(f.tensors()[0].name == "a");
    CHECK(f.tensors()[0].dtype == DType::f32);
    CHECK(f.tensors()[0].shape == std::vector<std::uint64_t>{1, 2});
    CHECK(f.tensors()[0].offset == 8 + header.size());
    CHECK(f.tensors()[1].name == "b");
    CHECK(f.tensors()[1].bytes == 6);
    CHECK(f.tensors()[2].name == "e");
    CHECK_FALSE(f.tensors()[2].dtype.has_value());
    CHECK(f.tensors()[3].shape.empty());
    CHECK((tensor_in_place(f.tensors()[0]) != nullptr) == mapped);
    REQUIRE(f.metadata().size() == 1);
    CHECK(f.metadata()[0].value == "pt");
  }
}

TEST_CASE("safetensors: a header alone is an empty file of tensors") {
  CHECK(parse(safetensors("{}")) == 0);
  refused("{}", 1, {"the tensors take 0 bytes, but the file has 1"});
}

TEST_CASE("safetensors: sizes that are lies") {
  refusal(Code::format, {"test.bin", "7 bytes"}, [] { parse(std::string(7, '\0')); });
  refusal(Code::format, {"18446744073709551615"}, [] { parse(puna_test::little_endian(~0ull, 8) + "{}"); });
  refusal(Code::format, {"9223372036854775808"}, [] { parse(puna_test::little_endian(1ull << 63, 8) + "{}"); });
  refusal(Code::format, {"100000001", "100000000"}, [] {
    parse(puna_test::little_endian(100000001, 8) + "{}" + std::string(100000010, ' '));
  });
  refusal(Code::format, {"header length 3", "exceeds 2"}, [] { parse(puna_test::little_endian(3, 8) + "{}"); });
  refused(entry("a", "F32", "1", "0,4"), 4, {"does not begin with {"});
  refused("", 0, {"does not begin with {"});
}

TEST_CASE("safetensors: shapes and offsets must agree") {
  refused("{" + entry("a", "F32", "2", "0,4") + "}", 4, {"\"a\"", "[0, 4]", "[2]", "8 bytes"});
  refused("{" + entry("a", "F32", "1", "4,0") + "}", 4, {"\"a\"", "[4, 0]"});
  refused("{" + entry("a", "F32", "4294967296,4294967296", "0,4") + "}", 4, {"\"a\"", "overflows"});
  refused("{" + entry("a", "F32", "4611686018427387905", "0,4") + "}", 4, {"\"a\"", "overflows"});
  refused("{" + entry("a", "F32", "18446744073709551616", "0,4") + "}", 4, {"\"a\"", "18446744073709551616"});
  refused("{" + entry("a", "F32", "-1", "0,4") + "}", 4, {"\"a\"", "-1"});
  refused("{" + entry("a", "F32", "1.0", "0,4") + "}", 4, {"\"a\""});
  refused("{" + entry("a", "F4", "3", "0,1") + "}", 1, {"\"a\"", "ends inside a byte"});
  refused("{" + entry("a", "F32", "1", "0,4,8") + "}", 4, {"\"a\"", "8"});
  refused("{" + entry("a", "F32", "1", "4") + "}", 4, {"\"a\"", "data_offsets"});
  refused("{" + entry("a", "Q9", "1", "0,4") + "}", 4, {"\"a\"", "\"Q9\""}, Code::unsupported);
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, {"\"a\"", "data_offsets is missing"});
  refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"\"a\"", "dtype is missing"});
  refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, {"\"a\"", "shape is missing"});
}

TEST_CASE("safetensors advisory: header bloat, gaps, overlaps, duplicate keys, deep nesting") {
  SUBCASE("overlap") {
    refused("{" + entry("a", "F32", "2", "0,8") + "," + entry("b", "F32", "2", "4,12") + "}", 12, {"\"b\"", "inside"});
    refused("{" + entry("a", "F32", "1", "0,4") + "," + entry("b", "F32", "1", "0,4") + "}", 4, {"inside"});
  }
  SUBCASE("hole") {
    refused("{" + entry("a", "F32", "1", "0,4") + "," + entry("b", "F32", "1", "8,12") + "}", 12, {"\"b\"", "hole"});
    refused("{" + entry("a", "F32", "1", "4,8") + "}", 8, {"\"a\"", "hole"});
  }
  SUBCASE("the end") {
    refused("{" + entry("a", "F32", "1", "0,4") + "}", 3, {"4 bytes", "3"});
    refused("{" + entry("a", "F32", "1", "0,4") + "}", 5, {"4 bytes", "5"});
  }
  SUBCASE("duplicates") {
    refused("{" + entry("a", "F32", "1", "0,4") + "," + entry("a", "F32", "1", "4,8") + "}", 8, {"\"a\"", "twice"});
    refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, {"second dtype"});
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, {"second __metadata__"});
  }
  SUBCASE("deep nesting") {
    std::string deep = "{\"a\":";
    deep.append(1000000, '[');
    refused(deep, 0, {"array"});
    std::string objects = "{";
    for (int i = 0; i < 100000; ++i) objects += "\"a\":{";
    refused(objects, 0, {"\"a\""});
  }
  SUBCASE("100,000 keys") {
    std::string header = "{";
    for (int i = 0; i < 100000; ++i) {
      const std::string begin = std::to_string(i * 2), end = std::to_string(i * 2 + 2);
      header += (i ? "," : "") + entry("tensor." + std::to_string(i), "F16", "1", begin + "," + end);
    }
    CHECK(parse(safetensors(header + "}", 200000)) == 100000);
  }
  SUBCASE("what has no place in a header") {
    refused("{\"a\":[]}", 0, {"array"});
    refused("{\"a\":null}", 0, {"null"});
    refused("{\"a\":{\"dtype\":\"F32\",\"x\":1}}", 0, {"\"x\""});
    refused("{\"__metadata__\":{\"a\":1}}", 0, {"1"});
    refused("[]", 0, {"does not begin with {"});
    refused("{\"a\":{\"dtype\":\"F32\"", 0, {"not JSON"});
    refused(std::string("{}\0", 3), 0, {"NUL"});
    refused("{\"\xff\":1}", 0, {"not JSON"});
  }
}

TEST_CASE("safetensors: cut anywhere, it is refused") {
  const auto bytes = puna_test::read_file(puna_test::fixture("hf/rope_linear/model.safetensors"));
  const std::string text(bytes.begin(), bytes.end());
  for (std::size_t n = 64; n < text.size(); n += 64) {
    CAPTURE(n);
    TextFile cut(text.substr(0, n));
    refusal(Code::format, {"test.bin"}, [&] { SafetensorsFile{cut.mapped()}; });
    refusal(Code::format, {"test.bin"}, [&] { SafetensorsFile{cut.streamed()}; });
  }
}

TEST_CASE("safetensors: inspect lists a file of any architecture") {
  const TextFile text(safetensors("{" + entry("conv.weight", "F64", "1,1,2", "0,16") + "}", 16));
  const Listing listing = inspect_safetensors(text.mapped());
  REQUIRE(listing.tensors.size() == 1);
  CHECK(listing.format == "safetensors");
  CHECK(listing.tensors[0].type == "F64");
  CHECK(listing.tensors[0].shape.size() == 3);
  CHECK_FALSE(listing.hyperparameters.has_value());
}
