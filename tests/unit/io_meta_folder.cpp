// Meta folders and single checkpoints: shards put together, parameters read, what does not fit refused by name.
#include "puna/io/meta_folder.hpp"

#include "io_containers.hpp"
#include "puna/io/check_weights.hpp"
#include "puna/io/torch_checkpoint.hpp"

using namespace puna;
namespace fs = std::filesystem;
using puna_test::fixture;
using puna_test::path_text;
using puna_test::refusal;
using puna_test::TempDir;

namespace {

std::string folder(const std::string& name) { return path_text(fixture("meta/" + name)); }

// A copy of a fixture that may be damaged.
void copy_folder(const std::string& name, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& file : fs::directory_iterator(fixture("meta/" + name)))
    fs::copy_file(file.path(), to / file.path().filename());
}

void params(const fs::path& folder_path, std::string_view text) {
  puna_test::write_file(folder_path / "params.json", text);
}

}  // namespace

TEST_CASE("Meta folders: every weight of 1, 2, 4 and 8 shards is what torch puts together") {
  for (const char* name : {"mp1_bf16", "mp2", "mp4_theta", "mp8_gqa", "strided"}) {
    CAPTURE(name);
    const auto source = open_meta_folder(folder(name));
    puna_test::check_against_hashes(*source, std::string("meta/") + name);
    check_weights(*source);
    CHECK(source->format() == "torch");
  }
}

TEST_CASE("Meta: a single contiguous checkpoint is borrowed, shards and strided tensors are copied") {
  const auto one = open_meta_folder(folder("mp1_bf16"));
  for (const Part part : {Part::wq, Part::wo, Part::down, Part::attn_norm}) CHECK(one->borrow(part, 1) != nullptr);
  CHECK(open_meta_folder(folder("mp2"))->borrow(Part::wq, 0) == nullptr);
  CHECK(open_meta_folder(folder("strided"))->borrow(Part::wq, 0) == nullptr);
  CHECK(open_meta_folder(folder("strided"))->borrow(Part::gate, 0) != nullptr);
}

TEST_CASE("Meta: a checkpoint nested under a key, its arguments within or beside") {
  for (const char* name : {"nested/nested.pth", "train_ckpt/ckpt.pt"}) {
    CAPTURE(name);
    const auto source = open_torch_file(File::open(folder(name)));
    puna_test::check_against_hashes(*source, std::string("meta/") + name);
    check_weights(*source);
    CHECK(source->hyperparameters().context == 64);
  }
  CHECK(open_torch_file(File::open(folder("train_ckpt/ckpt.pt")))->find(Part::output, 0) == nullptr);
  const auto folder_of_one = open_meta_folder(folder("nested"));
  puna_test::check_against_hashes(*folder_of_one, "meta/nested/nested.pth");
}

TEST_CASE("Meta: hyperparameters from params.json and the tensors") {
  const auto source = open_meta_folder(folder("mp8_gqa"));
  const Hyperparameters& h = source->hyperparameters();
  CHECK(h.dim == 128);
  CHECK(h.heads == 16);
  CHECK(h.kv_heads == 8);
  CHECK(h.ffn_dim == 64);
  CHECK(h.vocab == source->find(Part::token_embedding, 0)->rows);  // params.json says -1
  CHECK(h.context == 4096);
  CHECK(open_meta_folder(folder("mp2"))->hyperparameters().kv_heads == 4);  // not in params.json: as many as heads
  const auto code = open_meta_folder(folder("mp4_theta"));
  CHECK(code->hyperparameters().rope_theta == 1e6);
  CHECK(code->hyperparameters().context == 16384);
}

TEST_CASE("Meta: one shard given by its name opens the folder") {
  const auto source = open_torch_file(File::open(folder("mp4_theta/consolidated.02.pth")));
  puna_test::check_against_hashes(*source, "meta/mp4_theta");
  const auto single = open_torch_file(File::open(folder("mp1_bf16/consolidated.00.pth")));
  puna_test::check_against_hashes(*single, "meta/mp1_bf16");
}

TEST_CASE("Meta: a checkpoint without a path looks for nothing on the disk") {
  const auto bytes = puna_test::read_file(fixture("meta/train_ckpt/ckpt.pt"));
  const puna_test::TextFile nested(std::string(bytes.begin(), bytes.end()));
  puna_test::check_against_hashes(*open_torch_file(nested.mapped()), "meta/train_ckpt/ckpt.pt");
  const auto plain = puna_test::read_file(fixture("meta/mp1_bf16/consolidated.00.pth"));
  const puna_test::TextFile alone(std::string(plain.begin(), plain.end()), folder("mp1_bf16/consolidated.00.pth"));
  refusal(Code::format, {"no params.json beside it"}, [&] { open_torch_file(alone.mapped()); });
}

TEST_CASE("Meta: newer checkpoints cut the embedding by rows") {
  const auto source = open_meta_folder(path_text(fixture("containers/meta_rows")));
  puna_test::check_against_hashes(*source, "meta/mp2");
  // Two copies of a one-shard checkpoint are no two shards: the embedding could be cut by rows, the rest not.
  TempDir dir;
  copy_folder("mp1_bf16", dir / "x");
  fs::copy_file(dir / "x" / "consolidated.00.pth", dir / "x" / "consolidated.01.pth");
  refusal(Code::format, {"consolidated.00.pth", "attention.wq", "2 shards", "[64, 64]"},
          [&] { open_meta_folder(path_text(dir / "x")); });
}

TEST_CASE("Meta: tokenizer.model beside the shards or in the folder above") {
  TempDir dir;
  const fs::path top = dir / "na\xc3\xafve \xe6\xa8\xa1";  // a non-ASCII path
  copy_folder("mp1_bf16", top / "7B");
  CHECK(open_meta_folder(path_text(top / "7B"))->vocab().kind == VocabSource::Kind::none);
  puna_test::write_file(top / "tokenizer.model", "above");
  CHECK(open_meta_folder(path_text(top / "7B"))->vocab().kind == VocabSource::Kind::spm_model);
  puna_test::write_file(top / "7B" / "tokenizer.model", "beside!");
  CHECK(open_meta_folder(path_text(top / "7B"))->vocab().file->size() == 7);
}

TEST_CASE("Meta: what is missing or does not fit is named") {
  TempDir dir;
  const fs::path at = dir / "m";
  copy_folder("mp4_theta", at);
  const std::string path = path_text(at);
  const auto refused = [&](Code code, std::initializer_list<std::string_view> parts) {
    refusal(code, parts, [&] { open_meta_folder(path); });
  };
  SUBCASE("a shard in the middle") {
    fs::remove(at / "consolidated.01.pth");
    refused(Code::format, {"consolidated.02.pth", "shard 1 is missing"});
  }
  SUBCASE("the last shard") {
    fs::remove(at / "consolidated.03.pth");
    refused(Code::format, {"consolidated.00.pth", "3 shards", "[96, 8]"});
  }
  SUBCASE("another model's shard") {
    fs::copy_file(fixture("meta/mp2/consolidated.00.pth"), at / "consolidated.01.pth",
                  fs::copy_options::overwrite_existing);
    refused(Code::format, {"consolidated.01.pth", "tok_embeddings.weight", "consolidated.00.pth"});
  }
  SUBCASE("a shard cut short") {
    fs::resize_file(at / "consolidated.02.pth", fs::file_size(at / "consolidated.02.pth") / 2);
    refused(Code::format, {"consolidated.02.pth"});
  }
  SUBCASE("more layers than there are") {
    params(at, R"({"dim":32,"n_heads":8,"n_kv_heads":4,"n_layers":2000000000,"norm_eps":1e-05,"vocab_size":96})");
    refused(Code::format, {"layers.1.attention_norm.weight", "missing"});
  }
  SUBCASE("another width") {
    params(at, R"({"dim":64,"n_heads":8,"n_layers":1})");
    refused(Code::format, {"tok_embeddings.weight", "[96, 8]", "[any, 64]"});
  }
  SUBCASE("another vocabulary") {
    params(at, R"({"dim":32,"n_heads":8,"n_kv_heads":4,"n_layers":1,"vocab_size":97})");
    refused(Code::format, {"tok_embeddings.weight", "[96, 8]", "[97, 32]"});
  }
  SUBCASE("zero heads") {
    params(at, R"({"dim":32,"n_heads":0,"n_layers":1})");
    refused(Code::format, {"params.json", "n_heads is 0"});
  }
  SUBCASE("heads that do not divide") {
    params(at, R"({"dim":32,"n_heads":5,"n_layers":1})");
    refused(Code::format, {"n_heads is 5", "32"});
  }
  SUBCASE("negative, fractional, huge") {
    params(at, R"({"dim":-32,"n_heads":8,"n_layers":1})");
    refused(Code::format, {"dim is -32"});
    params(at, R"({"dim":32.5,"n_heads":8,"n_layers":1})");
    refused(Code::format, {"dim is 32.5"});
    params(at, R"({"dim":18446744073709551615,"n_heads":8,"n_layers":1})");
    refused(Code::format, {"dim is 18446744073709551615"});
  }
  SUBCASE("no parameters") {
    fs::remove(at / "params.json");
    refused(Code::format, {"no params.json"});
    params(at, "{}");
    refused(Code::format, {"dim is missing"});
    params(at, "[]");
    refused(Code::format, {"must be an object"});
    params(at, "{\"dim\":NaN}");
    refused(Code::format, {"params.json", "not JSON"});
  }
  SUBCASE("scaled rope of later models") {
    params(at, R"({"dim":32,"n_heads":8,"n_kv_heads":4,"n_layers":1,"use_scaled_rope":true})");
    refused(Code::unsupported, {"use_scaled_rope"});
  }
}

TEST_CASE("Meta: tensors that share their bytes claim no more memory than the files justify") {
  refusal(Code::format, {"meta_shared", "layers.0.attention.w", "justify"},
          [] { open_meta_folder(path_text(fixture("containers/meta_shared"))); });
}

TEST_CASE("Meta: inspect shows whole tensors, whatever the shards") {
  const Listing listing = inspect_meta_folder(folder("mp8_gqa"));
  REQUIRE(listing.hyperparameters.has_value());
  CHECK(listing.tensors.size() == 13);  // twelve parts of one layer, and rope.freqs
  for (const auto& t : listing.tensors)
    if (t.name == "layers.0.attention.wo.weight") CHECK(t.shape == std::vector<std::uint64_t>{128, 128});
  TempDir dir;
  copy_folder("mp2", dir / "x");
  fs::remove(dir / "x" / "params.json");
  CHECK_FALSE(inspect_meta_folder(path_text(dir / "x")).hyperparameters.has_value());
}
