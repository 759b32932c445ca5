// One door for every container: recognised by what is inside, never by a name.
#include <cstring>

#include "gguf_builder.hpp"
#include "puna/io/weight_source.hpp"
#include "refusal.hpp"
#include "support.hpp"

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

using namespace puna;
using puna_test::Bytes;
using puna_test::GgufBuilder;
using puna_test::fixture;
using puna_test::refusal;

namespace {

std::string utf8(const std::filesystem::path& path) {
  const auto text = path.u8string();
  return {text.begin(), text.end()};
}

}  // namespace

TEST_CASE("each container is recognised by its bytes") {
  const puna_test::TempDir folder;
  const struct {
    const char* path;
    const char* format;
  } cases[] = {{"gguf/q4_0.gguf", "GGUF v3"},       {"llama2c/v0_tied/model.bin", "llama2.c v0"},
               {"llama2c/v1_tied/model.bin", "llama2.c v1"}, {"llama2c/v2_group64/model.bin", "llama2.c v2"}};
  for (const auto& c : cases) {
    CAPTURE(c.path);
    std::filesystem::copy_file(fixture(c.path), folder / "any.name", std::filesystem::copy_options::overwrite_existing);
    CHECK(open_weights(utf8(folder / "any.name"))->format() == c.format);
    CHECK(inspect(utf8(folder / "any.name")).format == c.format);
  }
  for (const char* path :
       {"hf/gqa_sharded", "hf/f16", "hf/f16/model.safetensors", "meta/mp2", "meta/mp2/consolidated.00.pth",
        "meta/nested/nested.pth", "hf/gqa_sharded/model.safetensors.index.json"}) {
    CAPTURE(path);
    const Listing listing = inspect(utf8(fixture(path)));
    CHECK(listing.tensors.size() >= 12);
    CHECK(listing.hyperparameters.has_value());
    if (std::string_view(path).ends_with(".json")) continue;
    const auto source = open_weights(utf8(fixture(path)));
    CHECK(source->hyperparameters().dim == listing.hyperparameters->dim);
    CHECK(source->find(Part::wq, 0) != nullptr);
  }
}

TEST_CASE("a model opens from memory, from a descriptor and from a path of any characters") {
  const puna_test::TempDir folder;
  const Bytes bytes = GgufBuilder::llama().build();
  const auto path = folder.path() / std::filesystem::path(std::u8string(u8"Größe 模型 🦙.gguf"));
  puna_test::write_file(path, bytes.data(), bytes.size());
  const auto by_path = open_weights(utf8(path));
  CHECK(by_path->name() == utf8(path));
  const auto same = [&](const WeightSource& other) {
    for (const Part part : {Part::token_embedding, Part::wq, Part::down, Part::output_norm})
      CHECK(std::memcmp(other.borrow(part, 0), by_path->borrow(part, 0),
                        static_cast<std::size_t>(by_path->find(part, 0)->rows * by_path->find(part, 0)->columns * 4)) ==
            0);
  };
  same(*open_weights(puna_test::in_memory(bytes)));
#ifndef _WIN32
  // A model somewhere inside a larger file, as Android's packages give it.
  Bytes package(1000);
  package.insert(package.end(), bytes.begin(), bytes.end());
  package.resize(package.size() + 500);
  puna_test::write_file(folder / "package", package.data(), package.size());
  const int fd = ::open((folder / "package").c_str(), O_RDONLY);
  REQUIRE(fd >= 0);
  const auto by_descriptor = open_weights(File::from_descriptor(fd, 1000, bytes.size()));
  ::close(fd);
  same(*by_descriptor);
#endif
}

TEST_CASE("what is no model says what was tried") {
  const puna_test::TempDir folder;
  refusal(Code::io, {"nowhere"}, [&] { open_weights(utf8(folder / "nowhere")); });
  refusal(Code::io, {"nowhere"}, [&] { inspect(utf8(folder / "nowhere")); });
  refusal(Code::format, {utf8(folder.path()), "config.json", "params.json"},
          [&] { open_weights(utf8(folder.path())); });
  refusal(Code::io, {}, [&] { open_weights(std::string()); });
  refusal(Code::io, {"NUL"}, [&] { open_weights(std::string("a\0b", 3)); });
  puna_test::write_file(folder / "letter.txt", "Dear reader, this is a letter and no model at all.\n");
  for (const auto& work : {+[](const std::string& p) { open_weights(p); }, +[](const std::string& p) { inspect(p); }})
    refusal(Code::format, {"letter.txt", "GGUF", "safetensors", "torch", "llama2.c"},
            [&] { work(utf8(folder / "letter.txt")); });
  puna_test::write_file(folder / "one", "x");
  refusal(Code::format, {"one", "no model"}, [&] { open_weights(utf8(folder / "one")); });
  std::filesystem::copy_file(fixture("hf/f16/model.safetensors"), folder / "alone.safetensors");
  refusal(Code::unsupported, {"alone.safetensors", "config.json"},
          [&] { open_weights(utf8(folder / "alone.safetensors")); });
  CHECK_FALSE(inspect(utf8(folder / "alone.safetensors")).tensors.empty());
  CHECK_FALSE(inspect(utf8(folder / "alone.safetensors")).hyperparameters.has_value());
}

TEST_CASE("a failing callback stops opening with its own value") {
  const Bytes bytes = GgufBuilder::llama().build();
  struct State {
    const Bytes* bytes;
    int left;
  };
  for (int calls = 0; calls < 3; ++calls) {
    State state{&bytes, calls};
    const auto read = [](void* user, std::uint64_t offset, void* dst, std::size_t n) {
      auto& s = *static_cast<State*>(user);
      if (s.left-- == 0) return std::int32_t{-7};
      std::memcpy(dst, s.bytes->data() + offset, n);
      return std::int32_t{0};
    };
    const auto file = File::from_callback(&state, read, bytes.size(), "host file");
    try {
      open_weights(file);
      FAIL_CHECK("nothing was refused");
    } catch (const Error& e) {
      CHECK(static_cast<int>(e.code()) == static_cast<int>(Code::callback));
      CHECK(e.user_code() == -7);
    }
  }
}
