// What the tool writes, held against programs that nobody here wrote: llama.cpp and transformers have read the same
// bytes (fixtures/scripts/outsiders.py recorded their hash and what came out), and Puna gives the same text, loss and
// logits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "puna/base/sha256.hpp"
#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;

namespace {

std::string sha256(const fs::path& path) {
  std::string bytes;
  if (fs::is_directory(path)) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(path))
      files[entry.path().filename().string()] = sha256(entry.path());
    for (const auto& [name, hash] : files) bytes += name + " " + hash + "\n";
  } else {
    bytes = puna_test::read_text(path);
  }
  puna::Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return puna::to_hex(hash.finish());
}

struct Row {
  Json how, found;
};

std::vector<Row> rows(const std::string& kind) {
  std::map<std::string, Json> found;
  std::ifstream lines(fixture("outsiders/expected.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json row = Json::parse(line);
    found[row["name"]] = row;
  }
  std::vector<Row> out;
  for (const Json& how : Json::parse(puna_test::read_text(fixture("outsiders/list.json"))))
    if (how["kind"] == kind) out.push_back({how, found.at(how["name"])});
  REQUIRE(!out.empty());
  return out;
}

bool is_shared(const Row& row) { return row.how["in"].get<std::string>().rfind("shared:", 0) == 0; }

// "shared:models/…", or a fixture.
std::optional<fs::path> place(const std::string& name) {
  if (name.rfind("shared:", 0) == 0) return puna_test::shared_data(name.substr(7));
  return fixture(name);
}

// Runs a row's steps, as the script does, and checks that the last file is the one that was read.
fs::path write(const Row& row, const fs::path& folder) {
  std::map<std::string, std::string> names{{"IN", place(row.how["in"])->string()}};
  fs::path out;
  for (const Json& step : row.how["steps"]) {
    out = folder / step[2].get<std::string>();
    Arguments arguments{step[0], names.at(step[1]), out.string()};
    for (std::size_t i = 3; i < step.size(); ++i) arguments.push_back(step[i]);
    arguments.push_back("-q");
    const Ran ran = run(arguments);
    CAPTURE(ran.err);
    REQUIRE(ran.code == 0);
    names[step[2]] = out.string();
  }
  CHECK(sha256(out) == row.found["sha256"].get<std::string>());
  return out;
}

void check_text(const Row& row) {
  const puna_test::TempDir folder;
  const fs::path file = write(row, folder.path());
  const std::vector<std::int32_t> prompt = row.how["ids"], expected = row.found["ids"];
  const Json said = run({"generate", "-m", file.string(), "--ids", joined(prompt), "-n",
                         std::to_string(expected.size()), "--temperature", "0", "--ignore-eos", "--json", "-q"})
                        .json();
  CHECK(said["ids"].get<std::vector<std::int32_t>>() == expected);
  CHECK(said["text"] == row.found["text"]);
}

// Where so many UTF-8 characters end.
std::size_t bytes_of(const std::string& text, std::size_t characters) {
  std::size_t at = 0;
  for (; at < text.size(); ++at)
    if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80 && characters-- == 0) break;
  return at;
}

double check_loss(const Row& row) {
  const puna_test::TempDir folder;
  const fs::path file = write(row, folder.path());
  std::string text = puna_test::read_text(*place(row.how["text"]));
  text.resize(bytes_of(text, row.how.value("characters", text.size())));
  const Json measured =
      run({"perplexity", "-m", file.string(), "-f", "-", "--ctx", row.how["ctx"].dump(), "--json", "-q"}, text).json();
  CHECK(measured["tokens"] == row.found["tokens"]);
  const double difference = measured["nll"].get<double>() - row.found["nll"].get<double>();
  CHECK(std::fabs(difference) < 1e-3);
  return difference;
}

void check_losses(bool shared) {
  double worst = 0;
  for (const Row& row : rows("nll")) {
    if (is_shared(row) != shared) continue;
    const std::string name = row.how["name"];
    if (puna_test::sanitized() && !name.ends_with("q4_0") && !name.ends_with("q6_k")) continue;  // minutes there
    CAPTURE(name);
    worst = std::max(worst, std::fabs(check_loss(row)));
  }
  MESSAGE("largest difference to llama.cpp " << worst);
}

}  // namespace

TEST_CASE("a written GGUF gives llama.cpp's greedy text") {
  for (const Row& row : rows("greedy")) {
    if (is_shared(row)) continue;
    const std::string name = row.how["name"];
    CAPTURE(name);
    check_text(row);
  }
}

TEST_CASE("stories260K: written again and quantized, it gives llama.cpp's greedy text") {
  PUNA_SHARED(model, "models/stories260K/stories260K.gguf");
  for (const Row& row : rows("greedy")) {
    if (!is_shared(row)) continue;
    const std::string name = row.how["name"];
    CAPTURE(name);
    check_text(row);
  }
}

TEST_CASE("perplexity of the demo model in every mix is llama.cpp's within 1e-3") { check_losses(false); }

TEST_CASE("stories260K: perplexity in every mix is llama.cpp's within 1e-3") {
  PUNA_SHARED(model, "models/stories260K/stories260K.gguf");
  PUNA_SHARED(text, "text/tinystories_a.txt");
  check_losses(true);
}

TEST_CASE("a written folder gives transformers' logits within 1e-4") {
  for (const Row& row : rows("logits")) {
    const std::string name = row.how["name"];
    CAPTURE(name);
    const puna_test::TempDir folder;
    const fs::path model = write(row, folder.path());
    const fs::path npy = folder / "logits.npy";
    const std::vector<std::int32_t> ids = row.how["ids"];
    REQUIRE(run({"logits", "-m", model.string(), "--ids", joined(ids), "--out", npy.string(), "--cache", "f32", "-q"})
                .code == 0);
    const auto expected = puna_test::read_file(fixture("outsiders/" + name + ".f32"));
    const auto got = puna_test::read_file(npy);
    REQUIRE(got.size() > expected.size());
    const std::size_t header = got.size() - expected.size();  // the numbers come last
    REQUIRE(header == 10u + got[8] + 256u * got[9]);
    float worst = 0;
    for (std::size_t at = 0; at < expected.size(); at += sizeof(float)) {
      float a, b;
      std::memcpy(&a, got.data() + header + at, sizeof a);
      std::memcpy(&b, expected.data() + at, sizeof b);
      worst = std::max(worst, std::fabs(a - b));
    }
    CHECK(worst < 1e-4f);
  }
}
