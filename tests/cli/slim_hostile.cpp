// quantize, convert, calibrate, inspect and plan on files that lie, in a process that is killed, and in a heap full of
// a known pattern: an error or a whole output, nothing else, and no byte of the process's memory in what is written.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "made_weights.hpp"
#include "puna/io/weight_sink.hpp"
#include "puna/slim/quantize.hpp"
#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;
using puna_test::TempDir;

namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Cut short, with flipped bits, and with the largest numbers over each place of the header.
std::vector<Bytes> damaged(const Bytes& whole, std::size_t header, std::size_t each) {
  std::vector<Bytes> out;
  puna::Rng rng(11, 0);
  for (std::size_t i = 0; i < each; ++i) {
    const std::size_t upto = i % 2 ? whole.size() : std::min(header, whole.size());
    out.emplace_back(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(rng.next() % upto));
    Bytes flipped = whole;
    flipped[rng.next() % upto] ^= static_cast<std::uint8_t>(1u << (rng.next() % 8));
    out.push_back(flipped);
    Bytes huge = whole;
    const std::size_t width = i % 2 ? 8 : 4;
    const std::size_t at = rng.next() % (std::min(header, whole.size()) - width);
    std::fill_n(huge.begin() + static_cast<std::ptrdiff_t>(at), width, std::uint8_t{0xff});
    if (i % 3 == 0) huge[at + width - 1] = 0x7f;
    out.push_back(huge);
  }
  return out;
}

// A refusal leaves `before`; a success adds "out" and nothing else.
void check_outcome(const Ran& ran, const fs::path& folder, std::vector<std::string> before, bool writes) {
  CAPTURE(ran.err);
  REQUIRE((ran.code == 0 || ran.code == 1));
  if (ran.code == 1) check_refused(ran, 1);
  if (ran.code == 0 && writes) before.push_back("out");
  std::sort(before.begin(), before.end());
  CHECK(names_in(folder) == before);
  fs::remove_all(folder / "out");
}

struct Command {
  const char* name;
  Arguments before, after;  // the damaged file stands between
  bool writes;
};

// How many were refused.
int run_all(const Command& command, const std::vector<Bytes>& files) {
  const TempDir folder;
  const std::string file = (folder / "in").string(), out = (folder / "out").string();
  int refused = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    CAPTURE(std::string(command.name));
    CAPTURE(i);
    puna_test::write_file(file, files[i].data(), files[i].size());
    Arguments arguments = command.before;
    arguments.push_back(file);
    for (const std::string& a : command.after) arguments.push_back(a == "OUT" ? out : a);
    const Ran ran = run(arguments);
    check_outcome(ran, folder.path(), {"in"}, command.writes);
    refused += ran.code == 1;
  }
  return refused;
}

std::size_t rounds() { return puna_test::long_tests() ? 300 : 16; }

}  // namespace

TEST_CASE("damaged models: each command refuses or succeeds, and leaves no other file") {
  const std::string text = fixture("outsiders/text.txt").string();
  const auto files = damaged(puna_test::read_file(fixture("gguf/f16.gguf")), 9000, rounds());
  const Command commands[] = {
      {"quantize", {"quantize"}, {"OUT", "--format", "gguf", "--type", "q4_0", "-q"}, true},
      {"convert", {"convert"}, {"OUT", "--format", "gguf", "--dtype", "f32", "-q"}, true},
      {"convert to a folder", {"convert"}, {"OUT", "-q"}, true},
      {"calibrate", {"calibrate", "-m"}, {"-f", text, "--out", "OUT", "--ctx", "16", "--chunks", "1", "-q"}, true},
      {"inspect", {"inspect"}, {"-q"}, false},
      {"inspect --diff", {"inspect", fixture("gguf/f32.gguf").string(), "--diff"}, {"-q"}, false},
      {"plan", {"plan", "--task", "quantize", "-m"}, {"--type", "q4_0", "-q"}, false},
  };
  for (const Command& command : commands) {
    const int refused = run_all(command, files);
    CHECK(refused > static_cast<int>(rounds() / 2));  // half of those cut inside the header, at the very least
    MESSAGE(std::string(command.name) << ": " << refused << " of " << files.size() << " refused");
  }
}

TEST_CASE("damaged safetensors: quantize and convert refuse or succeed, and leave no other file") {
  const TempDir folder;
  const fs::path model = folder / "model";
  fs::create_directories(model);
  for (const char* name : {"config.json", "tokenizer.model"}) fs::copy_file(fixture("hf/tied") / name, model / name);
  int refused = 0;
  for (const Bytes& bytes : damaged(puna_test::read_file(fixture("hf/tied/model.safetensors")), 1200, rounds())) {
    puna_test::write_file(model / "model.safetensors", bytes.data(), bytes.size());
    for (const char* command : {"quantize", "convert"}) {
      Arguments arguments{command, model.string(), (folder / "out").string(), "--format", "gguf", "-q"};
      if (std::string(command) == "quantize") arguments.insert(arguments.end(), {"--type", "q4_0"});
      const Ran ran = run(arguments);
      check_outcome(ran, folder.path(), {"model"}, true);
      refused += ran.code == 1;
    }
  }
  CHECK(refused > static_cast<int>(rounds()));
}

TEST_CASE("damaged importance matrices: quantize refuses or succeeds, and leaves no other file") {
  const TempDir made;
  const std::string model = fixture("tiny/model.gguf").string();
  for (const char* name : {"i.gguf", "i.dat"}) {
    const std::string matrix = (made / name).string();
    REQUIRE(run({"calibrate", "-m", model, "-f", fixture("outsiders/text.txt").string(), "--out", matrix, "--ctx", "16",
                 "--chunks", "1", "-q"})
                .code == 0);
    const Command command{name, {"quantize", model, "OUT", "--type", "q4_0", "-q", "--imatrix"}, {}, true};
    const TempDir folder;
    const std::string file = (folder / "in").string(), out = (folder / "out").string();
    int refused = 0;
    for (const Bytes& bytes : damaged(puna_test::read_file(matrix), 3000, rounds())) {
      puna_test::write_file(file, bytes.data(), bytes.size());
      const Ran ran = run({"quantize", model, out, "--format", "gguf", "--type", "q4_0", "-q", "--imatrix", file});
      check_outcome(ran, folder.path(), {"in"}, true);
      refused += ran.code == 1;
    }
    CHECK(refused > static_cast<int>(rounds() / 2));
  }
}

TEST_CASE("a kill at ten moments leaves the old file or the new one, whole") {
  const TempDir folder;
  const fs::path model = folder / "model.gguf";
  {
    const puna_test::Shape shape{"kill", 512, 1024, 4, 8, 8, 3000, false};
    puna::Quantizer writer(std::make_shared<puna::Runtime>(puna::RuntimeOptions{}),
                           std::make_shared<puna_test::Made>(shape), puna::gguf_sink(model.string()), {});
    while (!writer.step({}, nullptr)) {
    }
  }
  const fs::path place = folder / "place";
  const std::vector<Arguments> commands{
      {"quantize", model.string(), (place / "out").string(), "--format", "gguf", "--type", "q8_0", "-q"},
      {"convert", model.string(), (place / "out").string(), "--format", "gguf", "--dtype", "f16", "-q"},
      {"convert", model.string(), (place / "out").string(), "--dtype", "bf16", "--shard-bytes", "4M", "-q"}};
  for (const Arguments& command : commands) {
    fs::create_directories(place);
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(run(command).code == 0);
    const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
    const bool is_folder = fs::is_directory(place / "out");
    const Bytes expected = is_folder ? Bytes{} : puna_test::read_file(place / "out");
    const std::vector<std::string> members = is_folder ? names_in(place / "out") : std::vector<std::string>{};
    puna::Rng rng(5, 1);
    int absent = 0;
    for (int i = 0; i < 10; ++i) {
      CAPTURE(i);
      const bool old = i % 2 && !is_folder;
      fs::remove_all(place / "out");
      if (old) puna_test::write_file(place / "out", "old");
      {
        Child child(cli_path(), command);
        std::this_thread::sleep_for(whole * (static_cast<double>(rng.next() % 1000) / 1000));
        child.kill_now();
        child.wait();
      }
      const bool there = fs::exists(place / "out");
      absent += !there || old;
      CHECK((there || !old));
      if (there && is_folder) CHECK(names_in(place / "out") == members);
      if (there && !is_folder) {
        const Bytes left = puna_test::read_file(place / "out");
        CHECK((left == expected || (old && left == Bytes{'o', 'l', 'd'})));
      }
      for (const std::string& name : names_in(place)) CHECK((name == "out" || name.rfind("out.tmp-", 0) == 0));
      if (is_folder) fs::remove_all(place / "out");
      CHECK(run(command).code == 0);  // what was left behind hinders nobody
      if (!is_folder) CHECK(puna_test::read_file(place / "out") == expected);
    }
    CHECK(absent > 0);  // or the moments were too late to show anything
    fs::remove_all(place);
  }
}

#ifdef __GLIBC__
namespace {

bool holds_run(const fs::path& path, std::uint8_t byte) {
  const Bytes bytes = puna_test::read_file(path);
  std::size_t run = 0;
  for (const std::uint8_t b : bytes)
    if ((run = b == byte ? run + 1 : 0) == 8) return true;
  return false;
}

}  // namespace

TEST_CASE("a heap full of a pattern: none of it is in any output") {
  if (puna_test::sanitized()) PUNA_SKIP("a sanitizer's allocator knows no MALLOC_PERTURB_");
  struct Perturbed {  // fresh memory is filled with 0xa5, freed memory with 0x5a
    Perturbed() { ::setenv("MALLOC_PERTURB_", "90", 1); }
    ~Perturbed() { ::unsetenv("MALLOC_PERTURB_"); }
  } const perturbed;
  const TempDir folder;
  const std::string text = fixture("outsiders/text.txt").string();
  std::vector<Arguments> commands;
  const auto out = [&] { return (folder / std::to_string(commands.size())).string(); };
  for (const char* model :
       {"tiny/model.gguf", "hf/gqa_sharded", "meta/mp2", "llama2c/v2_group32/model.bin", "gguf/mixed.gguf"}) {
    const std::string in = fixture(model).string();
    for (const char* type : {"q4_0", "q5_1", "q8_0", "q4_k_m", "q6_k", "q2_k", "iq4_xs", "bf16"})
      commands.push_back({"quantize", in, out() + ".gguf", "--type", type, "--requantize"});
    commands.push_back({"convert", in, out() + ".gguf"});
    commands.push_back({"convert", in, out(), "--dtype", "f16"});
    commands.push_back({"convert", in, out(), "--dtype", "f32", "--shard-bytes", "30K"});
  }
  const std::string tiny = fixture("tiny/model.gguf").string();
  commands.push_back({"calibrate", "-m", tiny, "-f", text, "--out", out() + ".gguf", "--ctx", "32", "--chunks", "2"});
  commands.push_back({"calibrate", "-m", tiny, "-f", text, "--out", out() + ".dat", "--ctx", "32", "--chunks", "2"});
  for (const Arguments& command : commands) {
    const Ran ran = run(command);
    CAPTURE(ran.err);
    CHECK(ran.code == 0);
  }
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().string();
    CAPTURE(name);
    CHECK_FALSE(holds_run(entry.path(), 0xa5));
    CHECK_FALSE(holds_run(entry.path(), 0x5a));
    ++files;
  }
  CHECK(files > static_cast<int>(commands.size()));
}
#endif
