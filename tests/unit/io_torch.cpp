// Torch checkpoints: tensors are read, everything else is refused, and nothing is ever run.
#include "puna/io/torch_checkpoint.hpp"

#include "io_containers.hpp"
#include "zip_writer.hpp"

using namespace puna;
using puna_test::fixture;
using puna_test::path_text;
using puna_test::refusal;
using puna_test::TextFile;

namespace {

TorchCheckpoint open(const std::string& name) {
  return TorchCheckpoint(File::open(path_text(fixture("meta/hostile/" + name))));
}

std::vector<float> floats(const StoredTensor& t) {
  std::vector<float> out(static_cast<std::size_t>(t.rows() * t.columns()));
  read_tensor_rows(t, 0, t.rows(), reinterpret_cast<std::byte*>(out.data()), t.columns() * sizeof(float));
  return out;
}

using Floats = std::vector<float>;

}  // namespace

TEST_CASE("torch: every file of the hostile set is read or refused as its list says") {
  std::istringstream lines(puna_test::read_text(fixture("meta/hostile/list.tsv")));
  std::string line;
  std::getline(lines, line);
  std::size_t accepted = 0, refused = 0;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string name, expect;
    std::getline(fields, name, '\t');
    std::getline(fields, expect, '\t');
    CAPTURE(line);
    const auto bytes = puna_test::read_file(fixture("meta/hostile/" + name));
    TextFile text(std::string(bytes.begin(), bytes.end()), name);
    for (const bool mapped : {true, false}) {
      bool opened = false;
      try {
        const TorchCheckpoint checkpoint(mapped ? text.mapped() : text.streamed());
        opened = true;
        for (const StoredTensor& t : checkpoint.tensors())
          if (t.dtype == DType::f32 && !t.shape.empty()) CHECK(floats(t).size() * 4 == t.bytes);
      } catch (const Error& error) {
        const Code code = error.code();
        CHECK((code == Code::format || code == Code::unsupported || code == Code::io));
        CHECK(error.text().find(name) != std::string::npos);
      }
      if (expect == "accept") CHECK(opened);
      if (expect == "refuse") CHECK_FALSE(opened);
      ++(opened ? accepted : refused);
    }
  }
  CHECK(accepted > 20);
  CHECK(refused > 200);
}

TEST_CASE("torch: values, offsets, views and scalars as torch saved them") {
  CHECK(floats(open("ok_plain.pth").tensors()[0]) == Floats{1, 2, 3, 4, 5, 6});
  CHECK(floats(open("ok_view.pth").tensors()[0]) == Floats{1, 4, 2, 5, 3, 6});
  CHECK(tensor_in_place(open("ok_view.pth").tensors()[0]) == nullptr);
  CHECK(floats(open("ok_offset.pth").tensors()[0]) == Floats{4, 5, 6});
  CHECK(floats(open("ok_scalar_tensor.pth").tensors()[0]) == Floats{6});
  CHECK(floats(open("ok_parameter.pth").tensors()[0]) == Floats{1, 2, 3, 4, 5, 6});
  CHECK(floats(open("ok_zip64.pth").tensors()[0]) == Floats{1, 2, 3, 4, 5, 6});
  const TorchCheckpoint nested(File::open(path_text(fixture("meta/nested/nested.pth"))));
  CHECK(nested.tensors()[0].type == "torch.float32");
  REQUIRE(nested.scalar("model_args.dim") != nullptr);
  CHECK(std::get<std::int64_t>(nested.scalar("model_args.dim")->value) == 32);
  CHECK(std::get<double>(nested.scalar("best_val_loss")->value) == 1.25);
  CHECK(std::get<bool>(nested.scalar("flag")->value));
  CHECK(std::get<std::string>(nested.scalar("name")->value) == "na\xc3\xafve run");
}

TEST_CASE("CVE-2025-32434: no opcode and no global beyond tensors, by name and place") {
  const auto refused = [](const char* name, std::initializer_list<std::string_view> parts) {
    CAPTURE(name);
    refusal(Code::unsupported, parts, [&] { open(name); });
  };
  refused("os_system.pth", {"os_system.pth", "\"os.system\"", "at byte 2"});
  refused("posix_system_in_tensor.pth", {"\"posix.system\""});
  refused("builtins_eval.pth", {"\"builtins.eval\""});
  refused("builtins_getattr.pth", {"\"builtins.getattr\""});
  refused("stack_global.pth", {"\"os.system\""});
  refused("inst.pth", {"opcode INST"});
  refused("obj.pth", {"\"os.system\""});
  refused("newobj.pth", {"\"subprocess.Popen\""});
  refused("ext1.pth", {"opcode EXT1"});
  refused("torch_load_global.pth", {"\"torch.load\""});
  refused("dotted_global.pth", {"__globals__"});
  refused("build_on_tensor.pth", {"BUILD"});
  refused("reduce_storage_class.pth", {"a call of a type"});
  refused("deflate_bomb.pth", {"data.pkl", "compressed"});
  refused("encrypted.pth", {"encrypted"});
  refused("legacy_format.pth", {"before 1.6"});
  refusal(Code::format, {"byte 255 is no pickle opcode"}, [] { open("unknown_opcode.pth"); });
}

TEST_CASE("torch: entries that lie over one another are refused") {
  const std::string seed = puna_test::read_text(fixture("../fuzz/corpus/torch/ok_plain.pkl")).substr(1);
  const std::string numbers(24, '\0');
  std::string inner;  // an entry inside another's bytes, its own local header right
  puna_test::ZipWriter::local(inner, "a/data/0", numbers);
  puna_test::ZipWriter apart, within;
  apart.add("a/data.pkl", seed);
  apart.add("a/other", inner);
  apart.add("a/data/0", numbers);
  const TextFile good(apart.finish());
  CHECK(TorchCheckpoint(good.mapped()).tensors().size() == 1);
  within.add("a/data.pkl", seed);
  within.list("a/data/0", numbers.size(), within.add("a/other", inner));
  const TextFile bad(within.finish());
  refusal(Code::format, {"\"a/other\"", "\"a/data/0\"", "overlap"}, [&] { TorchCheckpoint{bad.mapped()}; });
}

TEST_CASE("CVE-2024-37032: names with ../ name nothing outside the file") {
  refusal(Code::format, {"../../data.pkl"}, [] { open("key_traversal.pth"); });
  refusal(Code::format, {"name_traversal.pth"}, [] { open("name_traversal.pth"); });
}

TEST_CASE("CVE-2025-53630 class: sizes that wrap or exceed the file") {
  for (const char* name : {"size_wraps.pth", "size_wraps_bytes.pth", "size_expanded.pth", "stride_wraps.pth",
                           "numel_wraps.pth", "offset_far.pth", "stride_huge.pth"}) {
    CAPTURE(name);
    refusal(Code::format, {name, "\"w\""}, [&] { open(name); });
  }
}

TEST_CASE("torch: cut anywhere, it is refused") {
  for (const char* path : {"meta/train_ckpt/ckpt.pt", "meta/mp2/consolidated.01.pth"}) {
    CAPTURE(path);
    const auto bytes = puna_test::read_file(fixture(path));
    const std::string text(bytes.begin(), bytes.end());
    for (std::size_t n = 64; n < text.size(); n += 64) {
      CAPTURE(n);
      TextFile cut(text.substr(0, n));
      refusal(Code::format, {"test.bin"}, [&] { TorchCheckpoint{cut.mapped()}; });
      refusal(Code::format, {"test.bin"}, [&] { TorchCheckpoint{cut.streamed()}; });
    }
  }
}

TEST_CASE("torch: any byte turned over gives an error or a checkpoint, never more") {
  const auto bytes = puna_test::read_file(fixture("meta/hostile/ok_plain.pth"));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
      std::string text(bytes.begin(), bytes.end());
      text[i] = static_cast<char>(text[i] ^ static_cast<char>(flip));
      const TextFile file(std::move(text));
      try {
        const TorchCheckpoint checkpoint(file.mapped());
        for (const StoredTensor& t : checkpoint.tensors()) CHECK(t.offset + t.bytes <= file.mapped()->size());
      } catch (const Error&) {
      }
    }
}

TEST_CASE("torch: inspect lists tensors below their keys") {
  const Listing listing = inspect_torch(File::open(path_text(fixture("meta/train_ckpt/ckpt.pt"))));
  bool seen = false;
  for (const auto& t : listing.tensors) seen = seen || t.name == "model.tok_embeddings.weight";
  CHECK(seen);
  CHECK(listing.format == "torch");
}
