// Logits of every container, shape and type against programs that nobody here wrote (tests/fixtures/README.md names
// them with versions: transformers 5.23.0 on PyTorch for the fixtures, llama2.c's run.c for stories260K).
#include <algorithm>

#include "model_support.hpp"

using namespace puna_test;

namespace {

constexpr float exact = 1e-4f;  // what f32 arithmetic in another order may differ by

void check_folder(const char* folder, const char* file = "", std::uint32_t context = 0) {
  CAPTURE(folder);
  const fs::path dir = fixture(folder);
  const auto model = load_model(*file ? dir / file : dir);
  const auto ids = read_ids(dir / "ids.txt");
  REQUIRE(!ids.empty());
  CHECK(max_difference(run_logits(model, ids, 512, puna::DType::f32, context), read_floats(dir / "logits.f32")) <= exact);
}

// Block types multiply with activations rounded to int8, the reference does not: the difference must look like rounding.
double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    size += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace

TEST_CASE("Hugging Face folders give transformers' logits") {
  for (const char* folder : {"hf/gqa_sharded", "hf/tied", "hf/tied_lm_head_only", "hf/f16", "hf/bf16", "hf/rope_linear",
                             "hf/rope_linear_old", "hf/rope_yarn", "hf/tok_json", "hf/tok_json_nobytes"})
    check_folder(folder);
}

TEST_CASE("dynamic NTK gives transformers' logits for the session's length") {
  check_folder("hf/rope_dynamic", "", 56);
  const fs::path dir = fixture("hf/rope_dynamic");
  const auto short_ids = read_ids(dir / "ids_short.txt");
  CHECK(max_difference(run_logits(load_model(dir), short_ids, 512, puna::DType::f32, 24), read_floats(dir / "logits_short.f32")) <= exact);
}

TEST_CASE("long positions give transformers' logits") {
  const fs::path dir = fixture("hf/long_positions");
  const auto model = load_model(dir);
  const auto ids = read_ids(dir / "ids.txt");
  const auto all = run_logits(model, ids);
  std::vector<float> rows;
  const std::size_t V = model->config().V;
  for (std::int32_t position : read_ids(dir / "positions.txt"))
    rows.insert(rows.end(), all.begin() + static_cast<std::ptrdiff_t>(position * V), all.begin() + static_cast<std::ptrdiff_t>((position + 1) * V));
  CHECK(max_difference(rows, read_floats(dir / "logits.f32")) <= exact);
}

TEST_CASE("the key forms of 2023 in config.json mean the same") {
  for (const char* folder : {"hf/rope_dynamic", "hf/rope_yarn"}) {
    CAPTURE(folder);
    TempDir temp;
    const fs::path dir = fixture(folder);
    fs::copy(dir / "model.safetensors", temp / "model.safetensors");
    fs::copy(dir / "config.old.json", temp / "config.json");
    const auto ids = read_ids(dir / "ids.txt");
    CHECK(max_difference(run_logits(load_model(temp.path()), ids, 512, puna::DType::f32, static_cast<std::uint32_t>(std::string(folder) == "hf/rope_dynamic" ? 56 : 0)),
                         read_floats(dir / "logits.f32")) <= exact);
  }
}

TEST_CASE("Meta checkpoints, sharded and nested, give transformers' logits") {
  for (const char* folder : {"meta/mp8_gqa", "meta/mp4_theta", "meta/mp2", "meta/mp1_bf16", "meta/strided"}) check_folder(folder);
  check_folder("meta/nested", "nested.pth");
  check_folder("meta/train_ckpt", "ckpt.pt");
}

TEST_CASE("GGUF of float types gives transformers' logits") {
  const fs::path dir = fixture("gguf");
  for (const char* type : {"f32", "f16", "bf16"}) {
    CAPTURE(type);
    const auto ids = read_ids(dir / (std::string(type) + ".ids.txt"));
    const auto model = load_model(dir / (std::string(type) + ".gguf"));
    CHECK(max_difference(run_logits(model, ids), read_floats(dir / (std::string(type) + ".logits.f32"))) <= exact);
  }
}

TEST_CASE("GGUF of every block type gives the logits of its values, within int8 activations") {
  const fs::path dir = fixture("gguf");
  for (const char* type : {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "iq4_nl", "iq4_xs", "mixed"}) {
    CAPTURE(type);
    const auto ids = read_ids(dir / (std::string(type) + ".ids.txt"));
    const auto model = load_model(dir / (std::string(type) + ".gguf"));
    const double error = relative_rms(run_logits(model, ids), read_floats(dir / (std::string(type) + ".logits.f32")));
    MESSAGE(std::string(type) << ": relative error " << error);
    CHECK(error < 0.03);
  }
}

TEST_CASE("llama2.c files of versions 0, 1 and 2 give transformers' logits") {
  for (const char* folder : {"llama2c/v0_tied", "llama2c/v0_untied", "llama2c/v1_tied", "llama2c/v1_untied"})
    check_folder(folder, "model.bin");
  // int8 in groups of 32 and more stays int8, with int8 activations.
  for (const char* folder : {"llama2c/v2_group32", "llama2c/v2_group64"}) {
    CAPTURE(folder);
    const fs::path dir = fixture(folder);
    const double error = relative_rms(run_logits(load_model(dir / "model.bin"), read_ids(dir / "ids.txt")), read_floats(dir / "logits.f32"));
    MESSAGE(std::string(folder) << ": relative error " << error);
    CHECK(error < 0.03);
  }
}

TEST_CASE("stories260K: logits of run.c, from .bin and GGUF") {
  PUNA_SHARED(dir, "models/stories260K");
  const auto expected = read_floats(dir / "logits_storyA_128x512.run_c.f32");
  auto ids = read_ids(dir / "storyA.ids.txt");
  ids.resize(128);
  for (const char* file : {"stories260K.bin", "stories260K.gguf"}) {
    CAPTURE(file);
    puna::LoadOptions options;
    options.no_tokenizer = true;
    const auto model = load_model(dir / file, make_runtime(), options);
    const float difference = max_difference(run_logits(model, ids), expected);
    MESSAGE(std::string(file) << ": largest difference " << difference);
    CHECK(difference <= exact);
  }
}
