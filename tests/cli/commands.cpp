// The commands that measure and look, end to end.
#include <cmath>
#include <cstring>
#include <fstream>

#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;
using puna_test::read_text;

namespace {

struct Npy {
  std::size_t rows = 0, columns = 0;
  std::vector<float> values;
};

// As NumPy describes the format: magic, version 1.0, a header whose end lies on a multiple of 64, then the numbers.
Npy read_npy(const fs::path& path) {
  const auto bytes = puna_test::read_file(path);
  REQUIRE(bytes.size() > 64);
  CHECK(std::string(bytes.begin(), bytes.begin() + 8) == std::string("\x93NUMPY\x01\x00", 8));
  const std::size_t begin = 10 + bytes[8] + 256u * bytes[9];
  CHECK(begin % 64 == 0);
  const std::string header(bytes.begin() + 10, bytes.begin() + static_cast<std::ptrdiff_t>(begin));
  CHECK(header.back() == '\n');
  Npy out;
  REQUIRE(std::sscanf(header.c_str(), "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", &out.rows,
                      &out.columns) == 2);
  REQUIRE(bytes.size() == begin + out.rows * out.columns * sizeof(float));
  out.values.resize(out.rows * out.columns);
  std::memcpy(out.values.data(), bytes.data() + begin, out.values.size() * sizeof(float));
  return out;
}

double worst_difference(const Npy& npy, const fs::path& expected) {
  const auto bytes = puna_test::read_file(expected);
  REQUIRE(bytes.size() == npy.values.size() * sizeof(float));
  double worst = 0;
  for (std::size_t i = 0; i < npy.values.size(); ++i) {
    float value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    worst = std::max(worst, std::abs(static_cast<double>(npy.values[i]) - value));
  }
  return worst;
}

double log_loss(const float* row, std::size_t n, std::int32_t id) {
  double most = row[0], sum = 0;
  for (std::size_t i = 1; i < n; ++i) most = std::max(most, static_cast<double>(row[i]));
  for (std::size_t i = 0; i < n; ++i) sum += std::exp(row[i] - most);
  return most + std::log(sum) - row[id];
}

}  // namespace

TEST_CASE("tokenize: ids, pieces and text, both ways") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  const Json hello = run({"tokenize", "-m", model.string(), "--bos", "Hello world", "--json"}).json();
  CHECK(hello == Json{{"ids", {1, 15043, 3186}}, {"pieces", {"<s>", "▁Hello", "▁world"}}, {"text", "Hello world"}});
  const Json plain = run({"tokenize", "-m", model.string(), "<s>", "--json"}).json();
  CHECK(plain["ids"] == Json{529, 29879, 29958});
  CHECK(run({"tokenize", "-m", model.string(), "--special", "<s>", "--json"}).json()["ids"] == Json{1});
  CHECK(run({"tokenize", "-m", model.string(), "--json", "--", "-n"}).json()["text"] == "-n");
  const Json back = run({"tokenize", "-m", model.string(), "--decode", "1,15043,3186", "--json"}).json();
  CHECK(back["text"] == "Hello world");
  CHECK(run({"tokenize", "-m", model.string(), "--decode", "15043,3186"}).out == "Hello world\n");
  const Ran table = run({"tokenize", "-m", model.string(), "Hello world"});
  CHECK(table.out == " 15043  ▁Hello\n  3186  ▁world\n");
  CHECK(table.err == "2 tokens\n");
  CHECK(run({"tokenize", "-m", model.string(), "-q", "Hello world"}).err.empty());
  check_refused(run({"tokenize", "-m", model.string(), "--infill-prefix", "def f(", "--infill-suffix", "return x"}), 1);
}

TEST_CASE("tokenize --lines: the published vectors") {
  PUNA_SHARED(model, "tokenizer/tokenizer.model");
  PUNA_SHARED(vectors, "tokenizer/vectors_published.jsonl");
  // Those with one option more (special tokens, no space prefix) carry a note; they are the tokenizer tests' business.
  std::string with_bos, without_bos, expected_with, expected_without;
  std::ifstream in(vectors);
  for (std::string line; std::getline(in, line);) {
    const Json v = Json::parse(line);
    if (v.value("add_eos", false) || v.value("parse_special", false) || v.value("note", "") != "") continue;
    const bool bos = v["add_bos"];
    (bos ? with_bos : without_bos) += v["text"].dump() + "\n";
    (bos ? expected_with : expected_without) += v["ids"].dump() + "\n";
  }
  REQUIRE(expected_with.size() + expected_without.size() > 1000);
  const Ran ran = run({"tokenize", "-m", model.string(), "--bos", "--lines", "-", "--json"}, with_bos);
  CHECK(ran.code == 0);
  CHECK(ran.out == expected_with);
  CHECK(run({"tokenize", "-m", model.string(), "--lines", "-"}, without_bos).out == expected_without);
}

TEST_CASE("tokenize takes a model folder and names a bad line") {
  const std::string folder = fixture("hf/tied").string();
  std::ifstream in(fixture("hf/tied/vectors.jsonl"));
  std::string lines, expected;
  for (std::string line; std::getline(in, line);) {
    const Json v = Json::parse(line);
    if (v.value("add_bos", false) || v.value("add_eos", false) || v.value("parse_special", false)) continue;
    lines += v["text"].dump() + "\n";
    expected += v["ids"].dump() + "\n";
  }
  REQUIRE(!lines.empty());
  CHECK(run({"tokenize", "-m", folder, "--lines", "-"}, lines).out == expected);
  const Ran bad = run({"tokenize", "-m", folder, "--lines", "-"}, "\"good\"\n17\n");
  CHECK(bad.code == 1);
  CHECK(bad.err.find("line 2") != std::string::npos);
}

TEST_CASE("logits: run.c's numbers within 1e-4, the same bytes for every chunk") {
  PUNA_SHARED(dir, "models/stories260K");
  auto ids = read_ids(dir / "storyA.ids.txt");
  REQUIRE(ids.size() >= 128);
  ids.resize(128);
  const puna_test::TempDir folder;
  const auto logits = [&](const std::string& model, const std::string& chunk) {
    const std::string out = (folder / (chunk + ".npy")).string();
    const Json json = run({"logits", "-m", (dir / model).string(), "--ids", joined(ids), "--out", out, "--chunk", chunk,
                           "--cache", "f32", "--json"})
                          .json();
    CHECK(json["shape"] == Json{128, 512});
    return puna_test::read_file(out);
  };
  const auto whole = logits("stories260K.gguf", "512");
  CHECK(worst_difference(read_npy(folder / "512.npy"), dir / "logits_storyA_128x512.run_c.f32") < 1e-4);
  for (const char* chunk : {"1", "7", "64"}) CHECK(logits("stories260K.gguf", chunk) == whole);
  CHECK(logits("stories260K.bin", "64") == whole);  // no tokenizer is asked for
}

TEST_CASE("logits: transformers' numbers, from a folder without a tokenizer, dynamic rope included") {
  const puna_test::TempDir folder;
  for (const char* name : {"gqa_sharded", "rope_dynamic", "rope_yarn"}) {
    CAPTURE(name);
    const fs::path dir = fixture("hf") / name;
    const std::string out = (folder / "l.npy").string();
    const std::string ids = joined(read_ids(dir / "ids.txt"));
    CHECK(run({"logits", "-m", dir.string(), "--ids", ids, "--out", out, "--cache", "f32"}).code == 0);
    CHECK(worst_difference(read_npy(out), dir / "logits.f32") < 1e-4);
  }
}

TEST_CASE("logits: a failure leaves no file, a success replaces the old one") {
  const std::string model = fixture("hf/gqa_sharded").string();
  const puna_test::TempDir folder;
  const std::string out = (folder / "l.npy").string();
  puna_test::write_file(out, "old");
  check_refused(run({"logits", "-m", model, "--ids", "1,2,99999", "--out", out}), 1);
  CHECK(read_text(out) == "old");
  CHECK(run({"logits", "-m", model, "--ids", "1,2", "--out", out, "-q"}).code == 0);
  CHECK(read_npy(out).rows == 2);
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("perplexity: both protocols of a text in one go") {
  PUNA_SHARED(model, "models/stories260K/stories260K.gguf");
  PUNA_SHARED(text, "models/stories260K/storyA.txt");
  const Arguments command{"perplexity", "-m", model.string(), "-f", text.string(), "--ctx", "64"};
  Arguments as_json = command;
  as_json.push_back("--json");
  const Json json = run(as_json).json();
  CHECK(keys(json) == std::vector<std::string>{"ctx", "nll", "nll_windows", "ppl", "tokens"});
  CHECK(json["ppl"].get<double>() == doctest::Approx(std::exp(json["nll"].get<double>())));
  CHECK(json["nll"].get<double>() < json["nll_windows"].get<double>());  // half of a window knows more
  const Ran text_form = run(command);
  CHECK(text_form.code == 0);
  CHECK(text_form.out.rfind("ppl ", 0) == 0);
  Arguments from_stdin = as_json;
  from_stdin[4] = "-";
  CHECK(run(from_stdin, read_text(text)).json() == json);
  const Ran too_short = run({"perplexity", "-m", model.string(), "-f", text.string(), "--ctx", "4096"});
  check_refused(too_short, 1);
  CHECK(too_short.err.find("storyA.txt") != std::string::npos);
}

TEST_CASE("perplexity of documents is the mean loss of `logits`, cut to --ctx tokens with BOS") {
  const std::string model = fixture("tiny/model.gguf").string();
  const puna_test::TempDir folder;
  const std::vector<std::string> texts{"Once upon a time", "The dog ran to the big tree and saw a bird. It was happy."};
  std::string rows;
  double sum = 0;
  std::size_t count = 0;
  for (const std::string& text : texts) {
    rows += Json{{"text", text}}.dump() + "\n\n";
    std::vector<std::int32_t> ids = run({"tokenize", "-m", model, "--bos", text, "--json"}).json()["ids"];
    if (ids.size() > 12) ids.resize(12);
    const std::string out = (folder / "l.npy").string();
    REQUIRE(run({"logits", "-m", model, "--ids", joined(ids), "--out", out}).code == 0);
    const Npy npy = read_npy(out);
    for (std::size_t t = 0; t + 1 < ids.size(); ++t, ++count)
      sum += log_loss(npy.values.data() + t * npy.columns, npy.columns, ids[t + 1]);
  }
  const Json json = run({"perplexity", "-m", model, "--documents", "-", "--ctx", "12", "--json"}, rows).json();
  CHECK(json["tokens"] == count);
  CHECK(json["nll_windows"] == nullptr);
  CHECK(json["nll"].get<double>() == doctest::Approx(sum / static_cast<double>(count)).epsilon(1e-4));
  check_refused(run({"perplexity", "-m", model, "--documents", "-"}, "{\"text\": 3}\n"), 1);
  check_refused(run({"perplexity", "-m", model, "--documents", "-"}, "\n"), 1);
}

TEST_CASE("inspect tells a file by its header") {
  const std::string model = fixture("tiny/model.gguf").string();
  const Json json = run({"inspect", model, "--json"}).json();
  CHECK(json["format"].get<std::string>().find("GGUF") != std::string::npos);
  CHECK(json["config"]["layers"].get<int>() > 0);
  CHECK(json["parameters"].get<std::uint64_t>() > 1000);
  CHECK(json["metadata"]["general.architecture"] == "llama");
  std::uint64_t bytes = 0;
  for (const Json& tensor : json["tensors"]) {
    CHECK(keys(tensor) == std::vector<std::string>{"bytes", "name", "shape", "type"});
    bytes += tensor["bytes"].get<std::uint64_t>();
  }
  CHECK(bytes <= fs::file_size(model));
  CHECK(bytes == json["config"]["weight_bytes"]);
  CHECK(run({"inspect", model}).out.find("token_embd.weight") != std::string::npos);
  for (const auto& [name, tied] : {std::pair{"hf/tied", true}, {"hf/gqa_sharded", false}, {"llama2c/v0_tied/model.bin", true},
                                   {"llama2c/v1_untied/model.bin", false}, {"tiny/model.gguf", true}, {"meta/mp8_gqa", false}}) {
    CAPTURE(name);
    CHECK(run({"inspect", fixture(name).string(), "--json"}).json()["config"]["tied"] == tied);
  }
  // Some tensors without the words that explain them: listed all the same.
  const puna_test::TempDir folder;
  fs::copy_file(fixture("hf/gqa_sharded/model-00001-of-00003.safetensors"), folder / "part.safetensors");
  const Json part = run({"inspect", (folder / "part.safetensors").string(), "--json"}).json();
  CHECK(part["config"] == nullptr);
  CHECK(part["tensors"].size() > 0);
}

TEST_CASE("plan says what generate will take") {
  const std::string model = fixture("tiny/model.gguf").string();
  const Json json = run({"plan", "-m", model, "--task", "generate", "--json"}).json();
  CHECK(keys(json) == std::vector<std::string>{"cache_bytes", "copied_bytes", "decode_tps", "disk_bytes",
                                               "load_ms", "memory_bytes", "prompt_tps", "weight_bytes",
                                               "workspace_bytes"});
  CHECK(json["load_ms"].get<double>() >= 0);
  CHECK(json["prompt_tps"].get<double>() > 0);
  CHECK(json["decode_tps"].get<double>() > 0);
  CHECK(json["disk_bytes"] == fs::file_size(model));
  const Json longer = run({"plan", "-m", model, "--context", "4096", "--json"}).json();
  const Json exact = run({"plan", "-m", model, "--context", "4096", "--cache", "f32", "--json"}).json();
  CHECK(exact["cache_bytes"].get<double>() == 2 * longer["cache_bytes"].get<double>());
  // 32 layers of 4096 keys and values in half precision for 4096 positions: 2 GiB.
  const Json seven = run({"plan", "--synthetic", "7b", "--type", "q4_0", "--context", "4096", "--json"}).json();
  CHECK(seven["cache_bytes"] == 2147483648u);
  // The forecast holds, up to what a sampler takes: a few bytes per piece of the vocabulary.
  const std::uint64_t need = json["copied_bytes"].get<std::uint64_t>() + json["cache_bytes"].get<std::uint64_t>() +
                             json["workspace_bytes"].get<std::uint64_t>() + (64 << 10);
  const Arguments go{"generate", "-m", model, "-p", "Once", "-n", "4", "-q", "--memory-limit"};
  Arguments enough = go, scarce = go;
  enough.push_back(std::to_string(need));
  scarce.push_back(std::to_string(need - (128 << 10)));
  CHECK(run(enough).code == 0);
  check_refused(run(scarce), 1);
}

TEST_CASE("bench measures, and version knows itself") {
  const Json json = run({"bench", "-m", fixture("tiny/model.gguf").string(), "-p", "32", "-n", "8", "--depth", "4",
                         "--reps", "3", "--threads", "1", "--json"})
                        .json();
  for (const char* key : {"prompt_tps", "decode_tps"}) {
    const double median = json[key];
    CHECK(median > 0);
    CHECK(json[std::string(key) + "_min"].get<double>() <= median);
    CHECK(json[std::string(key) + "_max"].get<double>() >= median);
  }
  CHECK(json["threads"] == 1);
  for (const char* key : {"read_gbs", "decode_of_read", "peak_gops", "prompt_of_peak", "decode_bytes", "prompt_operations"})
    CHECK(json[key].get<double>() > 0);
  CHECK(!json["peak_instruction"].get<std::string>().empty());
  // 5 layers of 45,312 weights and the head, which a prompt needs once: two operations each.
  const Json story = run({"bench", "--synthetic", "260k", "--type", "f16", "-p", "3", "-n", "2", "--reps", "1", "--probe-ms",
                          "0", "--json"})
                         .json();
  CHECK(story["prompt_operations"].get<double>() == 2 * (3 * 5 * 45312.0 + 512 * 64));
  CHECK(story["decode_bytes"] == 2 * (5 * 45312 + 512 * 64));
  CHECK(story["decode_of_read"] == nullptr);
  CHECK(story["decode_tps"].get<double>() > 0);
  const Json half =
      run({"bench", "--synthetic", "260k", "--type", "f32", "-p", "0", "-n", "4", "--reps", "1", "--json"}).json();
  CHECK(half["prompt_tps"] == nullptr);
  CHECK(half["decode_tps"].get<double>() > 0);
  const Json version = run({"version", "--json"}).json();
  CHECK(version["abi"].get<int>() >= 1);
  CHECK(!version["isa"].get<std::string>().empty());
  CHECK(run({"--version"}).out.rfind("puna " + version["version"].get<std::string>(), 0) == 0);
}
