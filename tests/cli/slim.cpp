// quantize, convert, calibrate, inspect --diff and plan --task quantize, as a person uses them.
#include <algorithm>
#include <cmath>
#include <map>

#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;
using puna_test::read_file;
using puna_test::TempDir;

namespace {

const char* const tiny_model = "tiny/model.gguf";

std::map<std::string, std::string> types_of(const fs::path& file) {
  std::map<std::string, std::string> out;
  const Json json = run({"inspect", file.string(), "--json"}).json();
  for (const Json& t : json["tensors"]) out[t["name"]] = t["type"];
  return out;
}

Json quantize(const fs::path& in, const fs::path& out, const Arguments& more) {
  Arguments arguments{"quantize", in.string(), out.string(), "--json", "-q"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run(arguments).json();
}

void convert(const fs::path& in, const fs::path& out, const Arguments& more = {}) {
  Arguments arguments{"convert", in.string(), out.string(), "-q"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Ran ran = run(arguments);
  CAPTURE(ran.err);
  REQUIRE(ran.code == 0);
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("quantize: a mix, --pure, overrides, and what it says of itself") {
  const TempDir folder;
  const fs::path model = fixture(tiny_model), mixed = folder / "mixed.gguf", pure = folder / "pure.gguf",
                 own = folder / "own.gguf";
  const Json said = quantize(model, mixed, {"--type", "Q4_0"});
  CHECK(keys(said) == std::vector<std::string>{"bits_per_weight", "bytes", "out", "tensors"});
  CHECK(said["bytes"] == fs::file_size(mixed));
  CHECK(said["tensors"] == 38);
  CHECK(said["bits_per_weight"].get<double>() > 4.5);
  CHECK(said["bits_per_weight"].get<double>() < 5.5);
  quantize(model, pure, {"--type", "q4_0", "--pure"});
  quantize(model, own,
           {"--type", "q4_0", "--override", "blk.*.ffn_down.weight=q8_0", "--override", "blk.0.attn_q.weight=bf16"});
  auto a = types_of(mixed), b = types_of(pure), c = types_of(own);
  CHECK(a["token_embd.weight"] == "Q8_0");  // also the head, which the mix spares
  CHECK(b["token_embd.weight"] == "Q4_0");
  for (auto* types : {&a, &b, &c}) {
    CHECK((*types)["blk.0.attn_norm.weight"] == "F32");
    CHECK((*types)["blk.2.attn_k.weight"] == "Q4_0");
  }
  CHECK(a["blk.3.ffn_down.weight"] == "Q4_0");
  CHECK(c["blk.3.ffn_down.weight"] == "Q8_0");
  CHECK(c["blk.0.attn_q.weight"] == "BF16");
  const Ran people = run({"quantize", model.string(), (folder / "p.gguf").string(), "--type", "q8_0"});
  CHECK(people.code == 0);
  CHECK(people.out.find("p.gguf: 0.7 MB, 8.5") != std::string::npos);
  // The text goes on where the model left off.
  const Json text =
      run({"generate", "-m", mixed.string(), "-p", "Once upon a time", "-n", "8", "--temperature", "0", "--json"})
          .json();
  CHECK(text["ids"].size() == 8);
}

TEST_CASE("a model is never written over the file that it is made of, by whatever name") {
  const TempDir folder;
  const fs::path model = folder / "model.gguf", link = folder / "link.gguf";
  fs::copy_file(fixture(tiny_model), model);
  fs::create_symlink(model, link);
  const auto before = read_file(model);
  for (const Arguments& arguments : {Arguments{"quantize", model.string(), model.string(), "--type", "q8_0"},
                                     {"quantize", model.string(), link.string(), "--type", "q8_0"},
                                     {"convert", link.string(), model.string(), "--dtype", "f16"}}) {
    const Ran ran = run(arguments);
    CHECK(ran.code == 1);
    CHECK(ran.err.find("is the model that is read") != std::string::npos);
    CHECK(read_file(model) == before);
    CHECK(entries(folder.path()) == 2);
  }
}

TEST_CASE("quantize: the same bytes for every number of threads, over an old file and under any name") {
  const TempDir folder;
  const fs::path out = folder.path() / fs::path(u8"模型 q.gguf");
  puna_test::write_file(out, "old");
  std::vector<std::uint8_t> first;
  for (const char* threads : {"1", "2", "3"}) {
    quantize(fixture(tiny_model), out, {"--type", "q5_1", "--threads", threads});
    if (first.empty()) first = read_file(out);
    CHECK(read_file(out) == first);
  }
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("calibrate, then quantize with what it found; .gguf and .dat say the same") {
  const TempDir folder;
  const std::string model = fixture(tiny_model).string(), text = fixture("outsiders/text.txt").string();
  for (const char* name : {"i.gguf", "i.dat"}) {
    const Json said = run({"calibrate", "-m", model, "-f", text, "--out", (folder / name).string(), "--ctx", "64",
                           "--chunks", "4", "--json"})
                          .json();
    CHECK(keys(said) == std::vector<std::string>{"out", "tokens"});
    CHECK(said["tokens"] == 256);
    quantize(model, folder / (std::string(name) + ".q"),
             {"--format", "gguf", "--type", "q4_0", "--imatrix", (folder / name).string()});
  }
  CHECK(read_file(folder / "i.gguf.q") == read_file(folder / "i.dat.q"));
  quantize(model, folder / "plain.gguf", {"--type", "q4_0"});
  CHECK(read_file(folder / "i.gguf.q") != read_file(folder / "plain.gguf"));
  // The text may come from stdin, and must be long enough.
  const Ran from_stdin = run({"calibrate", "-m", model, "-f", "-", "--out", (folder / "s.gguf").string(), "--ctx", "64",
                              "--chunks", "4", "-q"},
                             puna_test::read_text(text));
  CHECK(from_stdin.code == 0);
  CHECK(read_file(folder / "s.gguf") == read_file(folder / "i.gguf"));
  const Ran short_text =
      run({"calibrate", "-m", model, "-f", "-", "--out", (folder / "n.gguf").string(), "--ctx", "64"}, "Once");
  check_refused(short_text, 1);
  CHECK(short_text.err.find("64") != std::string::npos);
  CHECK_FALSE(fs::exists(folder / "n.gguf"));
}

TEST_CASE("convert: HF to GGUF to HF to GGUF keeps every bit, and the logits, whatever the route") {
  const TempDir folder;
  int n = 0;
  for (const char* name :
       {"hf/tied", "hf/gqa_sharded", "hf/f16", "hf/bf16", "hf/rope_yarn", "gguf/f32.gguf", "gguf/f16.gguf",
        "meta/mp8_gqa", "meta/mp2", "llama2c/v1_untied/model.bin", "tiny/model.gguf"}) {
    CAPTURE(std::string(name));
    const fs::path source = fixture(name), dir = folder / std::to_string(n++);
    fs::create_directories(dir);
    convert(source, dir / "a.gguf");
    convert(dir / "a.gguf", dir / "b");
    convert(dir / "b", dir / "c.gguf");
    convert(dir / "c.gguf", dir / "d", {"--shard-bytes", "20K"});
    convert(dir / "d", dir / "e.gguf");
    CHECK(read_file(dir / "b/model.safetensors").size() > 0);
    CHECK(read_file(dir / "c.gguf") == read_file(dir / "e.gguf"));
    convert(dir / "e.gguf", dir / "f");
    CHECK(read_file(dir / "b/model.safetensors") == read_file(dir / "f/model.safetensors"));
    const auto logits = [&](const fs::path& model) {
      const fs::path out = dir / "l.npy";
      const Ran ran = run({"logits", "-m", model.string(), "--ids", "1,5,9,33,2,60,7", "--out", out.string(), "-q"});
      CAPTURE(ran.err);
      REQUIRE(ran.code == 0);
      return read_file(out);
    };
    const auto expected = logits(source);
    for (const char* route : {"a.gguf", "b", "c.gguf", "d", "e.gguf", "f"}) CHECK(logits(dir / route) == expected);
    fs::remove_all(dir);
  }
}

TEST_CASE("convert: a quantized GGUF keeps its blocks, or becomes floats of the same values") {
  const TempDir folder;
  const fs::path source = fixture("gguf/mixed.gguf");
  convert(source, folder / "same.gguf");
  CHECK(types_of(source) == types_of(folder / "same.gguf"));
  convert(source, folder / "f32.gguf", {"--dtype", "f32"});
  convert(source, folder / "f32", {"--dtype", "f32"});
  convert(folder / "f32", folder / "again.gguf");
  const auto first = types_of(folder / "f32.gguf");
  CHECK(first == types_of(folder / "again.gguf"));
  for (const auto& [name, type] : first) CHECK(type == "F32");
  const Ran blocks = run({"convert", source.string(), (folder / "no").string(), "-q"});
  check_refused(blocks, 1);
  CHECK(blocks.err.find("holds F32, F16 and BF16") != std::string::npos);
  CHECK_FALSE(fs::exists(folder / "no"));
}

TEST_CASE("convert --pack: no byte larger but the header's, mapped as it is, the same logits; foreign kernels and tools refuse it") {
  const TempDir folder;
  for (const char* type : {"q4_0", "q6_k", "q4_k_m"}) {
    CAPTURE(type);
    const fs::path plain = folder / "plain.gguf", packed = folder / "packed.gguf";
    quantize(fixture(tiny_model), plain, {"--type", type, "--override", "blk.1.attn_q.weight=f16"});
    convert(plain, packed, {"--pack"});
    CHECK(fs::file_size(packed) < fs::file_size(plain) + 256);
    CHECK(read_file(packed) != read_file(plain));
    const auto logits = [&](const fs::path& model) {
      const fs::path out = folder / "logits.npy";
      REQUIRE(run({"logits", "-m", model.string(), "--ids", "1,5,9,33,2,60,7", "--out", out.string(), "-q"}).code == 0);
      return read_file(out);
    };
    CHECK(logits(packed) == logits(plain));
    const auto copied = [&](const fs::path& model) {
      return run({"plan", "-m", model.string(), "--json"}).json()["copied_bytes"].get<std::int64_t>();
    };
    CHECK(copied(packed) == 0);  // mapped, where the plain one is copied into groups
    CHECK(copied(plain) > 100'000);
    // What is packed cannot be packed or quantized again, nor read as ordinary rows.
    const Ran again = run({"convert", packed.string(), (folder / "again.gguf").string()});
    CHECK(again.code == 1);
    CHECK(again.err.find("packed.gguf: tensor ") != std::string::npos);
    CHECK(again.err.find("is packed for this library's kernels") != std::string::npos);
    CHECK_FALSE(fs::exists(folder / "again.gguf"));
    const Json seen = run({"inspect", packed.string(), "--json"}).json();
    CHECK(seen["metadata"]["general.architecture"] == "puna-packed-llama");
    // Another machine's rows: the count changed in the file.
    const auto raw = read_file(packed);
    std::string bytes(raw.begin(), raw.end());
    const std::size_t key = bytes.find("puna.pack.rows");
    REQUIRE(key != std::string::npos);
    char& rows = bytes[key + 14 + 4];
    const char own = rows;
    rows = own == 4 ? 8 : 4;
    puna_test::write_file(folder / "foreign.gguf", bytes);
    const Ran foreign = run({"generate", "-m", (folder / "foreign.gguf").string(), "-p", "a", "-n", "1"});
    CHECK(foreign.code == 1);
    CHECK(foreign.err.find("foreign.gguf: tensor ") != std::string::npos);
    CHECK(foreign.err.find("is packed for kernels of " + std::to_string(rows) + " rows, this machine's take " + std::to_string(own)) !=
          std::string::npos);
    rows = 7;
    puna_test::write_file(folder / "odd.gguf", bytes);
    CHECK(run({"generate", "-m", (folder / "odd.gguf").string(), "-p", "a", "-n", "1"}).err.find("\"puna.pack.rows\": 7 is not 4, 8 or 16") !=
          std::string::npos);
  }
  const Ran no = run({"convert", fixture(tiny_model).string(), (folder / "hf").string(), "--pack"});
  CHECK(no.code == 1);
  CHECK(no.err.find("only a GGUF can hold packed rows") != std::string::npos);
}

TEST_CASE("inspect --diff names what differs") {
  const TempDir folder;
  const fs::path model = fixture(tiny_model), other = folder / "o.gguf";
  quantize(model, other, {"--type", "q8_0"});
  const Json d = run({"inspect", model.string(), "--diff", other.string(), "--json"}).json();
  CHECK(keys(d) == std::vector<std::string>{"changed", "metadata", "only_first", "only_second"});
  CHECK(d["only_first"].empty());
  CHECK(d["only_second"].empty());
  CHECK(d["changed"].size() == 29);
  for (const Json& t : d["changed"]) {
    CHECK(t["first"]["type"] == "F16");
    CHECK(t["second"]["type"] == "Q8_0");
    CHECK(t["first"]["shape"] == t["second"]["shape"]);
  }
  CHECK(d["metadata"]["general.file_type"][1] == "7");
  const Ran people = run({"inspect", model.string(), "--diff", other.string()});
  CHECK(people.code == 0);
  CHECK(people.out.find("blk.0.attn_q.weight") != std::string::npos);
  CHECK(run({"inspect", model.string(), "--diff", model.string()}).out == "no difference in the headers\n");
  const Json apart = run({"inspect", model.string(), "--diff", fixture("hf/tied").string(), "--json"}).json();
  CHECK(apart["only_first"].size() == 38);
  CHECK(apart["only_second"].size() > 0);
}

TEST_CASE("plan --task quantize: the size of the file to the byte, and memory that is enough") {
  const TempDir folder;
  for (const char* name :
       {"tiny/model.gguf", "hf/gqa_sharded", "hf/f16", "meta/mp2", "llama2c/v0_tied/model.bin", "gguf/q8_0.gguf"})
    for (const char* type : {"q4_0", "q8_0", "q4_k_m", "f32"}) {
      CAPTURE(std::string(name));
      CAPTURE(std::string(type));
      const std::string model = fixture(name).string();
      if (std::string(name) == "gguf/q8_0.gguf" && std::string(type) != "f32") continue;  // would lose quality twice
      const Json plan = run({"plan", "-m", model, "--task", "quantize", "--type", type, "--json"}).json();
      const Json made =
          quantize(model, folder / "o.gguf", {"--type", type, "--memory-limit", plan["memory_bytes"].dump()});
      CHECK(plan["disk_bytes"] == made["bytes"]);
    }
  const std::string model = fixture(tiny_model).string();
  CHECK(run({"plan", "-m", model, "--task", "quantize"}).out.find("disk") != std::string::npos);
  check_refused(run({"plan", "-m", model, "--task", "quantize", "--type", "q9"}), 1);
}

TEST_CASE("slimming: wrong usage is 2, failed work is 1, and the line names file, field and value") {
  const TempDir folder;
  const std::string model = fixture(tiny_model).string(), q8 = fixture("gguf/q8_0.gguf").string(),
                    out = (folder / "o.gguf").string(), missing = (folder / "missing").string(),
                    text = fixture("outsiders/text.txt").string();
  for (const Arguments& wrong :
       std::vector<Arguments>{{"quantize"},
                              {"quantize", model},
                              {"quantize", model, out},
                              {"quantize", model, out, "--type"},
                              {"quantize", model, out, "extra", "--type", "q4_0"},
                              {"quantize", model, out, "--type", "q4_0", "--format", "onnx"},
                              {"quantize", model, out, "--type", "q4_0", "--shard-bytes", "x"},
                              {"convert", model},
                              {"convert", model, out, "--type", "f16"},
                              {"convert", model, out, "--dtype", "f64"},
                              {"calibrate", "-m", model},
                              {"calibrate", "-m", model, "-f", text},
                              {"calibrate", "-f", text, "--out", out},
                              {"calibrate", "-m", model, "-f", text, "--out", out, "--ctx", "1"},
                              {"plan", "--task", "quantize"}}) {
    CAPTURE(wrong.size());
    check_refused(run(wrong), 2);
  }
  const std::vector<std::pair<Arguments, std::vector<std::string>>> failing{
      {{"quantize", missing, out, "--type", "q4_0"}, {missing}},
      {{"quantize", model, out, "--type", "q9_z"}, {"type", "\"q9_z\"", "q4_k_m"}},
      {{"quantize", q8, out, "--type", "q4_0"}, {"q8_0.gguf", "blk.0", "twice"}},
      {{"quantize", model, out, "--type", "q4_0", "--override", "nonsense"}, {"\"nonsense\"", "PATTERN=TYPE"}},
      {{"quantize", model, out, "--type", "q4_0", "--override", "*=q99"}, {"q99"}},
      {{"quantize", model, out, "--type", "q4_0", "--override", "blk.9.*=q8_0"}, {"\"blk.9.*\"", "no tensor"}},
      {{"quantize", model, out, "--type", "q4_0", "--imatrix", missing}, {missing}},
      {{"quantize", model, out, "--type", "q4_0", "--imatrix", model}, {"model.gguf", "general.type", "imatrix"}},
      {{"quantize", model, (folder / "no/o.gguf").string(), "--type", "q4_0"}, {"no/o.gguf", "No such file"}},
      {{"quantize", model, folder.path().string(), "--format", "gguf", "--type", "q4_0"},
       {folder.path().string(), "a folder"}},
      {{"quantize", model, (folder / "f").string(), "--type", "q4_0"}, {"Hugging Face", "q"}},
      {{"convert", fixture("hf/rope_dynamic").string(), out}, {"dynamic"}},
      {{"calibrate", "-m", model, "-f", missing, "--out", out}, {missing}},
      {{"calibrate", "-m", missing, "-f", text, "--out", out}, {missing}},
      {{"calibrate", "-m", model, "-f", text, "--out", (folder / "no/i.gguf").string(), "--ctx", "16", "--chunks", "1"},
       {"no/i.gguf"}},
      {{"inspect", model, "--diff", missing}, {missing}},
      {{"plan", "-m", missing, "--task", "quantize"}, {missing}}};
  for (const auto& [arguments, parts] : failing) {
    const Ran ran = run(arguments);
    CAPTURE(ran.err);
    check_refused(ran, 1);
    for (const std::string& part : parts) CHECK(ran.err.find(part) != std::string::npos);
    CHECK(entries(folder.path()) == 0);
  }
}

TEST_CASE("slimming: Ctrl-C leaves what was there; help is tidy") {
  for (const char* command : {"quantize", "convert", "calibrate"}) {
    const Ran ran = run({command, "--help"});
    CHECK(ran.code == 0);
    CHECK(ran.err.empty());
    CHECK(ran.out.find("--json") != std::string::npos);
    CHECK(ran.out.find("  puna " + std::string(command)) != std::string::npos);
  }
  const TempDir folder;
  puna_test::write_file(folder / "i.gguf", "old");
  std::string text;
  for (int i = 0; i < 40; ++i) text += puna_test::read_text(fixture("outsiders/text.txt"));
  Child child(cli_path(),
              {"calibrate", "-m", fixture(tiny_model).string(), "-f", "-", "--out", (folder / "i.gguf").string(), "-q"},
              text);
  REQUIRE(child.wait_until_catching());
  child.interrupt();
  const Ran ran = child.wait();
  CHECK(ran.code == 130);
  CHECK(puna_test::read_text(folder / "i.gguf") == "old");
  CHECK(entries(folder.path()) == 1);
}
