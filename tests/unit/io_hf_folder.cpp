// Hugging Face folders: both key forms, single files and shards, tied heads, and what must be refused.
#include "puna/io/hf_folder.hpp"

#include "io_containers.hpp"
#include "puna/io/check_weights.hpp"
#include "puna/io/torch_checkpoint.hpp"

using namespace puna;
namespace fs = std::filesystem;
using puna_test::fixture;
using puna_test::path_text;
using puna_test::refusal;
using puna_test::TempDir;
using RopeScaling = Hyperparameters::RopeScaling;

namespace {

std::string folder(const std::string& name) { return path_text(fixture("hf/" + name)); }

void copy_folder(const std::string& name, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& file : fs::directory_iterator(fixture("hf/" + name)))
    if (file.is_regular_file()) fs::copy_file(file.path(), to / file.path().filename());
}

HfConfig config(const std::string& text) { return read_hf_config(Json::parse(text, "config.json"), "config.json"); }

// A small good config.json with fields put in front.
std::string with(const std::string& fields) {
  return "{" + fields + (fields.empty() ? "" : ",") +
         R"("model_type":"llama","hidden_size":64,"intermediate_size":96,)"
         R"("num_hidden_layers":2,"num_attention_heads":8})";
}

void refused(const std::string& fields, Code code, std::initializer_list<std::string_view> parts) {
  CAPTURE(fields);
  refusal(code, parts, [&] { config(with(fields)); });
}

}  // namespace

TEST_CASE("Hugging Face folders: every weight is what safetensors reads, q and k in Meta's order") {
  for (const char* name : {"gqa_sharded", "tied", "tied_lm_head_only", "f16", "bf16", "rope_linear", "rope_linear_old",
                           "rope_dynamic", "rope_yarn", "long_positions", "tok_json", "tok_json_nobytes"}) {
    CAPTURE(name);
    const auto source = open_hf_folder(folder(name));
    puna_test::check_against_hashes(*source, std::string("hf/") + name);
    check_weights(*source);
    CHECK(source->borrow(Part::wq, 0) == nullptr);
    CHECK(source->borrow(Part::wk, 0) == nullptr);
    for (const Part part : {Part::wv, Part::wo, Part::gate, Part::up, Part::down, Part::attn_norm})
      CHECK(source->borrow(part, 0) != nullptr);
    CHECK(source->borrow(Part::token_embedding, 0) != nullptr);
  }
}

TEST_CASE("Hugging Face: pytorch_model.bin, whole, sharded, or given by itself") {
  for (const char* name : {"hf_bin", "hf_bin_sharded"}) {
    CAPTURE(name);
    const auto source = open_hf_folder(path_text(fixture(std::string("containers/") + name)));
    CHECK(source->format() == "torch");
    puna_test::check_against_hashes(*source, "hf/tok_json");
  }
  const auto file = File::open(path_text(fixture("containers/hf_bin/pytorch_model.bin")));
  puna_test::check_against_hashes(*open_torch_file(file), "hf/tok_json");
}

TEST_CASE("Hugging Face: hyperparameters of both key forms are the same") {
  const auto linear = open_hf_folder(folder("rope_linear"))->hyperparameters();
  const auto old = open_hf_folder(folder("rope_linear_old"))->hyperparameters();
  CHECK(linear.rope_scaling == RopeScaling::linear);
  CHECK(linear.rope_factor == 4.0);
  CHECK(linear.rope_theta == 50000.0);
  CHECK(linear.norm_epsilon == 1e-6);
  CHECK(old.rope_scaling == linear.rope_scaling);
  CHECK(old.rope_factor == linear.rope_factor);
  CHECK(old.rope_theta == linear.rope_theta);
  CHECK(old.norm_epsilon == linear.norm_epsilon);
  CHECK(old.kv_heads == linear.kv_heads);
  for (const char* file : {"config.json", "config.old.json"}) {
    CAPTURE(file);
    const auto yarn = read_hf_config(read_json_file(folder("rope_yarn") + "/" + file), file).hyperparameters;
    CHECK(yarn.rope_scaling == RopeScaling::yarn);
    CHECK(yarn.rope_factor == 4.0);
    CHECK(yarn.rope_original_context == 32);
    CHECK(yarn.context == 128);
    const auto dynamic = read_hf_config(read_json_file(folder("rope_dynamic") + "/" + file), file).hyperparameters;
    CHECK(dynamic.rope_scaling == RopeScaling::dynamic);
    CHECK(dynamic.rope_factor == 2.0);
    CHECK(dynamic.context == 24);
  }
}

TEST_CASE("Hugging Face: defaults of the missing keys") {
  const auto h = config(with("")).hyperparameters;
  CHECK(h.kv_heads == 8);
  CHECK(h.head_dim == 0);
  CHECK(h.context == 2048);
  CHECK(h.norm_epsilon == 1e-6);
  CHECK(h.rope_theta == 10000.0);
  CHECK(h.rope_scaling == RopeScaling::none);
  CHECK_FALSE(config(with("")).tied.has_value());
  const auto nulls = config(with(R"("rope_scaling":null,"num_key_value_heads":null,"head_dim":null)")).hyperparameters;
  CHECK(nulls.kv_heads == 8);
  const auto theta = config(with(R"("rope_theta":5e5,"rope_scaling":{"type":"default"})")).hyperparameters;
  CHECK(theta.rope_theta == 500000.0);
  CHECK(theta.rope_scaling == RopeScaling::none);
}

TEST_CASE("Hugging Face: YaRN's optional fields") {
  const auto h = config(with(R"("max_position_embeddings":128,"rope_scaling":{"rope_type":"yarn","factor":null,)"
                             R"("original_max_position_embeddings":32,"beta_fast":16,"beta_slow":2,)"
                             R"("attention_factor":1.5})"))
                     .hyperparameters;
  CHECK(h.rope_factor == 4.0);
  CHECK(h.yarn_beta_fast == 16.0);
  CHECK(h.yarn_beta_slow == 2.0);
  CHECK(h.yarn_attention_factor == 1.5);
}

TEST_CASE("Hugging Face: what is no Llama, or needs more, is unsupported by name") {
  const Code no = Code::unsupported;
  refusal(no, {"model_type", "\"mistral\""}, [] { config(R"({"model_type":"mistral"})"); });
  refusal(no, {"model_type is missing"}, [] { config("{}"); });
  refused(R"("architectures":["LlamaForSequenceClassification"])", no, {"LlamaForSequenceClassification"});
  refused(R"("hidden_act":"gelu")", no, {"hidden_act", "gelu"});
  refused(R"("attention_bias":true)", no, {"attention_bias"});
  refused(R"("mlp_bias":true)", no, {"mlp_bias"});
  refused(R"("quantization_config":{"quant_method":"gptq"})", no, {"quantization_config", "gptq"});
  refused(R"("rope_scaling":{"rope_type":"llama3","factor":8})", no, {"rope_scaling.rope_type", "llama3"});
  refused(R"("rope_scaling":{"type":"su","factor":8})", no, {"rope_scaling.type", "su"});
  refused(R"("rope_parameters":{"full_attention":{"rope_theta":1}})", no, {"rope_parameters.full_attention"});
  refused(R"("partial_rotary_factor":0.5)", no, {"partial_rotary_factor", "0.5"});
  refused(R"("rope_scaling":{"type":"yarn","factor":2,"mscale":1})", no, {"rope_scaling.mscale"});
}

TEST_CASE("Hugging Face: wrong values name the file, the field and the value") {
  const Code bad = Code::format;
  refusal(bad, {"config.json", "hidden_size is missing"}, [] { config(R"({"model_type":"llama"})"); });
  refused(R"("num_key_value_heads":0)", bad, {"num_key_value_heads is 0"});
  refused(R"("num_key_value_heads":-1)", bad, {"num_key_value_heads is -1"});
  refused(R"("vocab_size":1e3)", bad, {"vocab_size is 1000"});
  refused(R"("vocab_size":9007199254740993)", bad, {"vocab_size is 9007199254740993"});
  refused(R"("vocab_size":4294967296)", bad, {"vocab_size is 4294967296"});
  refused(R"("vocab_size":"32000")", bad, {"vocab_size is \"32000\""});
  refused(R"("rms_norm_eps":"small")", bad, {"rms_norm_eps is \"small\""});
  refused(R"("rope_scaling":7)", bad, {"rope_scaling is 7"});
  refused(R"("rope_scaling":{"type":"linear"})", bad, {"rope_scaling.factor is missing"});
  refused(R"("tie_word_embeddings":1)", bad, {"tie_word_embeddings is 1"});
  refused(R"("vocab_size":10,"vocab_size":11)", bad, {"\"vocab_size\"", "twice"});
  refusal(bad, {"num_attention_heads is 7", "64"}, [] {
    config(R"({"model_type":"llama","hidden_size":64,"intermediate_size":1,"num_hidden_layers":1,)"
           R"("num_attention_heads":7})");
  });
  refusal(bad, {"num_attention_heads is 0"}, [] {
    config(R"({"model_type":"llama","hidden_size":64,"intermediate_size":1,"num_hidden_layers":1,)"
           R"("num_attention_heads":0})");
  });
  refusal(bad, {"nested more than 64"}, [] { config(std::string(100000, '[')); });
  refusal(bad, {"not JSON"}, [] { config(with(R"("rms_norm_eps":NaN)")); });
  refusal(bad, {"not JSON"}, [] { config(with(R"("rms_norm_eps":1e999)")); });
  refusal(bad, {"NUL"}, [] { config(std::string("{}\0{", 4)); });
}

TEST_CASE("Hugging Face: CVE-2024-37032, a shard's name is a plain name") {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "a/b", "a\\\\b", "..", ".", "", "C:x", "a\\u0000b"}) {
    CAPTURE(name);
    const std::string text = std::string(R"({"weight_map":{"lm_head.weight":")") + name + "\"}}";
    refusal(Code::format, {"i.json", "\"lm_head.weight\"", "plain file name"},
            [&] { read_weight_map(Json::parse(text, "i.json"), "i.json"); });
  }
  refusal(Code::format, {"weight_map is missing"}, [] { read_weight_map(Json::parse("{}", "i.json"), "i.json"); });
  refusal(Code::format, {"5", "plain file name"},
          [] { read_weight_map(Json::parse(R"({"weight_map":{"a":5}})", "i.json"), "i.json"); });
}

TEST_CASE("Hugging Face: damaged folders say what is wrong with them") {
  TempDir dir;
  const fs::path at = dir / "m\xc3\xb6" "del";
  copy_folder("gqa_sharded", at);
  const fs::path index = at / "model.safetensors.index.json";
  std::string text = puna_test::read_text(index);
  const auto replace = [&](const std::string& from, const std::string& to) {
    const auto where = text.find(from);
    REQUIRE(where != std::string::npos);
    text.replace(where, from.size(), to);
    puna_test::write_file(index, text);
  };
  const auto broken = [&](Code code, std::initializer_list<std::string_view> parts) {
    refusal(code, parts, [&] { open_hf_folder(path_text(at)); });
  };
  SUBCASE("whole") { puna_test::check_against_hashes(*open_hf_folder(path_text(at)), "hf/gqa_sharded"); }
  SUBCASE("a shard is missing") {
    fs::remove(at / "model-00002-of-00003.safetensors");
    broken(Code::io, {"model-00002-of-00003.safetensors"});
  }
  SUBCASE("a shard is cut short") {
    fs::resize_file(at / "model-00002-of-00003.safetensors", 1000);
    broken(Code::format, {"model-00002-of-00003.safetensors"});
  }
  SUBCASE("the index claims what the shard has not") {
    replace("\"model.norm.weight\": \"model-00003-of-00003", "\"model.norm.weight\": \"model-00001-of-00003");
    broken(Code::format, {"model-00001-of-00003.safetensors", "\"model.norm.weight\"", "missing"});
  }
  SUBCASE("the index forgets a tensor") {
    replace("\"model.norm.weight\"", "\"model.norm.bias\"");
    broken(Code::format, {"\"model.norm.bias\"", "missing"});
  }
  SUBCASE("two names for one part") {
    replace("\"lm_head.weight\": ", "\"norm.weight\": \"model-00003-of-00003.safetensors\",\n\"lm_head.weight\": ");
    broken(Code::format, {"\"norm.weight\"", "missing"});
  }
  SUBCASE("no index") {
    fs::remove(index);
    broken(Code::format, {"no model.safetensors"});
  }
  SUBCASE("no config") {
    fs::remove(at / "config.json");
    broken(Code::format, {"no config.json"});
  }
  SUBCASE("another config") {
    fs::copy_file(fixture("hf/tied/config.json"), at / "config.json", fs::copy_options::overwrite_existing);
    broken(Code::format, {"model.embed_tokens.weight", "shape", "[384, 32]"});
  }
  SUBCASE("more layers than tensors, fewer layers than tensors") {
    const std::string config_text = puna_test::read_text(at / "config.json");
    const auto layers = [&](const char* n) {
      std::string changed = config_text;
      changed.replace(changed.find("\"num_hidden_layers\": 2"), 22, std::string("\"num_hidden_layers\": ") + n);
      puna_test::write_file(at / "config.json", changed);
    };
    layers("2147483647");
    broken(Code::format, {"model.layers.2.input_layernorm.weight", "missing"});
    layers("1");
    broken(Code::unsupported, {"model.layers.1.", "no place"});
  }
}

TEST_CASE("Hugging Face: the head, tied or not, by what is stored and said") {
  TempDir dir;
  copy_folder("tied", dir / "x");
  const fs::path config_path = dir / "x" / "config.json";
  std::string text = puna_test::read_text(config_path);
  const std::string said = "\"tie_word_embeddings\": true";
  REQUIRE(text.find(said) != std::string::npos);
  text.replace(text.find(said), said.size(), "\"tie_word_embeddings\": false");
  puna_test::write_file(config_path, text);
  refusal(Code::format, {"\"lm_head.weight\" is missing"}, [&] { open_hf_folder(path_text(dir / "x")); });
  CHECK(open_hf_folder(folder("tied"))->find(Part::output, 0) == nullptr);
  CHECK(open_hf_folder(folder("tied_lm_head_only"))->find(Part::output, 0) == nullptr);
  CHECK(open_hf_folder(folder("gqa_sharded"))->find(Part::output, 0) != nullptr);
}

TEST_CASE("Hugging Face: the vocabulary and what stands beside it") {
  CHECK(open_hf_folder(folder("tied"))->vocab().kind == VocabSource::Kind::spm_model);
  CHECK(open_hf_folder(folder("tok_json"))->vocab().kind == VocabSource::Kind::hf_json);
  CHECK(open_hf_folder(folder("f16"))->vocab().kind == VocabSource::Kind::none);
  TempDir dir;
  const std::string at = path_text(dir.path());
  const Json json = Json::parse(R"({"bos_token_id":5,"eos_token_id":[7,8],"pad_token_id":-1})", "c");
  CHECK(find_hf_vocab(at, json, "c").arrays.bos == 5);
  CHECK(find_hf_vocab(at, json, "c").arrays.eos == 7);
  CHECK(find_hf_vocab(at, json, "c").arrays.pad == -1);
  CHECK(find_hf_vocab(at, json, "c").arrays.add_bos);
  puna_test::write_file(dir / "generation_config.json", R"({"eos_token_id":9})");
  puna_test::write_file(dir / "tokenizer_config.json",
                        R"({"add_bos_token":false,"add_eos_token":true,)"
                        R"("model_max_length":1000000000000000019884624838656,)"
                        R"("chat_template":[{"name":"tool","template":"T"},{"name":"default","template":"D"}]})");
  const VocabData said = find_hf_vocab(at, json, "c").arrays;
  CHECK(said.eos == 9);
  CHECK_FALSE(said.add_bos);
  CHECK(said.add_eos);
  CHECK(said.chat_template == "D");
  puna_test::write_file(dir / "chat_template.jinja", "J");
  CHECK(find_hf_vocab(at, json, "c").arrays.chat_template == "J");
  refusal(Code::format, {"bos_token_id is 1e+30"},
          [&] { find_hf_vocab(at, Json::parse(R"({"bos_token_id":1000000000000000000000000000000})", "c"), "c"); });
}

TEST_CASE("Hugging Face: config.json cut at any byte is refused") {
  const std::string text = puna_test::read_text(fixture("hf/rope_yarn/config.json"));
  for (std::size_t n = 0; n + 2 < text.size(); ++n) {
    CAPTURE(n);
    refusal(Code::format, {"config.json"}, [&] { config(text.substr(0, n)); });
  }
}

TEST_CASE("Hugging Face: inspect lists what it cannot load, too") {
  const Listing whole = inspect_hf_folder(folder("gqa_sharded"));
  CHECK(whole.format == "safetensors, 3 shards");
  CHECK(whole.tensors.size() == 21);
  CHECK(whole.hyperparameters.has_value());
  TempDir dir;
  copy_folder("f16", dir / "x");
  puna_test::write_file(dir / "x" / "config.json", R"({"model_type":"bert"})");
  const Listing other = inspect_hf_folder(path_text(dir / "x"));
  CHECK(other.tensors.size() == 21);
  CHECK_FALSE(other.hyperparameters.has_value());
}
