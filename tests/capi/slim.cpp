// Slimming as a host sees it: its allocator's patterns stay out of what is written, its callback, its cancel, its
// steps.
#include "support.hpp"

#include <algorithm>
#include <cstring>

using namespace puna_test;

namespace {

constexpr unsigned char magic[8] = {0xa5, 0x5a, 0xc3, 0x3c, 0x96, 0x69, 0xf0, 0x0f};

// A host whose fresh memory is full of a known word, and whose freed memory as well.
struct Poisoning {
  static void fill(void* memory, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) static_cast<unsigned char*>(memory)[i] = magic[i % sizeof magic];
  }
  static void* PUNA_CALL allocate(void* user, size_t bytes, size_t alignment) {
    void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory) fill(memory, bytes);
    *static_cast<size_t*>(user) += bytes;
    return memory;
  }
  static void PUNA_CALL release(void*, void* memory, size_t bytes, size_t) {
    fill(memory, bytes);
    std::free(memory);
  }
};

// The word at any offset, whole.
bool holds_magic(const fs::path& path) {
  const auto bytes = read_file(path);
  return std::search(bytes.begin(), bytes.end(), std::begin(magic), std::end(magic)) != bytes.end();
}

puna_source path_source(const std::string& name) {
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.path = name.c_str();
  return source;
}

puna_quantize_options to(const char* type) {
  puna_quantize_options o;
  puna_quantize_options_init(&o, sizeof o);
  o.type = type;
  o.flags = PUNA_QUANTIZE_REQUANTIZE;
  return o;
}

}  // namespace

TEST_CASE("a host's heap full of a known word: none of it is in any output") {
  size_t taken = 0;
  puna_runtime_options options;
  puna_runtime_options_init(&options, sizeof options);
  options.threads = 2;
  options.allocate = Poisoning::allocate;
  options.release = Poisoning::release;
  options.allocator_user = &taken;
  puna_runtime* raw = nullptr;
  PUNA_OKAY(puna_runtime_create(&raw, &options, e));
  const Runtime runtime(raw);
  const TempDir folder;
  int n = 0;
  for (const char* model :
       {"tiny/model.gguf", "hf/gqa_sharded", "meta/mp2", "llama2c/v0_tied/model.bin", "gguf/mixed.gguf"})
    for (const char* type : {"q4_0", "q5_0", "q8_0", "q3_k_m", "q4_k_m", "q6_k", "iq4_nl", "f16", "f32"})
      for (const int32_t format : {PUNA_FORMAT_GGUF, PUNA_FORMAT_SAFETENSORS}) {
        if (format == PUNA_FORMAT_SAFETENSORS && type[0] != 'f') continue;
        CAPTURE(std::string(model));
        CAPTURE(std::string(type));
        const std::string in = fixture(model).string(), out = (folder / std::to_string(n++)).string();
        const puna_source source = path_source(in);
        puna_quantize_options o = to(type);
        o.format = format;
        PUNA_OKAY(puna_quantize(raw, &source, out.c_str(), &o, nullptr, 0, e));
      }
  const Model model = open_model(fixture("tiny/model.gguf"), raw);
  const std::string text = read_text(fixture("outsiders/text.txt"));
  puna_calibrate_options c;
  puna_calibrate_options_init(&c, sizeof c);
  c.context = 32;
  c.chunks = 2;
  for (const char* name : {"i.gguf", "i.dat"})
    PUNA_OKAY(puna_calibrate(model.get(), text.data(), text.size(), (folder / name).string().c_str(), &c, e));
  CHECK(taken > 0);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path()))
    if (entry.is_regular_file()) {
      const std::string name = entry.path().string();
      CAPTURE(name);
      CHECK_FALSE(holds_magic(entry.path()));
      ++files;
    }
  CHECK(files > n);
}

TEST_CASE("quantize in steps, started, from a callback: the same file; cancelled or refused by the callback: none") {
  const TempDir folder;
  const auto bytes = read_file(fixture("tiny/model.gguf"));
  struct Host {
    const std::vector<std::uint8_t>* bytes;
    puna_cancel* cancel = nullptr;
    int reads = 0, stop_at = 0;
    uint64_t last = 0;
    bool ordered = true;
  } host{&bytes};
  puna_source source;
  puna_source_init(&source, sizeof source);
  source.kind = PUNA_SOURCE_CALLBACK;
  source.size = bytes.size();
  source.user = &host;
  source.read = [](void* user, uint64_t offset, void* dst, size_t n) -> int32_t {
    auto& h = *static_cast<Host*>(user);
    if (++h.reads == h.stop_at) return 7;
    std::memcpy(dst, h.bytes->data() + offset, n);
    return 0;
  };
  puna_quantize_options o = to("q4_0");
  o.format = PUNA_FORMAT_GGUF;
  const std::string whole = (folder / "whole").string(), stepped = (folder / "stepped").string();
  puna_quantize_result result;
  PUNA_OKAY(puna_quantize(nullptr, &source, whole.c_str(), &o, &result, sizeof result, e));
  CHECK(result.bytes == fs::file_size(whole));
  const int reads = host.reads;
  {
    puna_job* raw = nullptr;
    PUNA_OKAY(puna_quantize_job(&raw, nullptr, &source, stepped.c_str(), &o, e));
    const Job job(raw);
    int32_t done = 0;
    int steps = 0;
    uint64_t last = 0;
    while (!done) {
      CHECK_FALSE(fs::exists(stepped));
      PUNA_OKAY(puna_job_step(raw, 0, &done, e));
      puna_progress p;
      PUNA_OKAY(puna_job_progress(raw, &p, sizeof p, e));
      CHECK(p.phase == PUNA_PHASE_WRITE);
      CHECK(p.done >= last);
      CHECK(p.done <= p.total);
      last = p.done;
      ++steps;
    }
    CHECK(steps > 38);
  }
  CHECK(read_file(stepped) == read_file(whole));
  fs::remove(stepped);
  // A job that is dropped halfway, one that is cancelled, and sources that fail at any of their reads.
  {
    puna_job* raw = nullptr;
    PUNA_OKAY(puna_quantize_job(&raw, nullptr, &source, stepped.c_str(), &o, e));
    const Job job(raw);
    PUNA_OKAY(puna_job_step(raw, 0, nullptr, e));
  }
  puna_cancel* token = nullptr;
  PUNA_OKAY(puna_cancel_create(&token, e));
  const Cancel cancel(token);
  puna_cancel_trip(token);
  o.cancel = token;
  Error error;
  CHECK(puna_quantize(nullptr, &source, stepped.c_str(), &o, nullptr, 0, &error) == PUNA_E_CANCELLED);
  o.cancel = nullptr;
  for (int at = 1; at <= reads; at += 1 + reads / 40) {
    host.reads = 0;
    host.stop_at = at;
    CHECK(puna_quantize(nullptr, &source, stepped.c_str(), &o, nullptr, 0, &error) == PUNA_E_CALLBACK);
    CHECK(error.user_code == 7);
  }
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
}
