#include "puna/io/llama2c.hpp"

#include <cstring>
#include <limits>

#include "allocation_count.hpp"
#include "gguf_builder.hpp"
#include "puna/tensor/blocks.hpp"
#include "puna/tensor/codec.hpp"
#include "refusal.hpp"
#include "support.hpp"

using namespace puna;
using puna_test::Bytes;
using puna_test::HeapWatch;
using puna_test::put;
using puna_test::refusal;

namespace {

std::vector<float> decoded(const WeightSource& source, Part part, std::uint32_t layer) {
  const WeightInfo& w = *source.find(part, layer);
  Bytes bytes(static_cast<std::size_t>(w.rows * row_bytes(w.type, w.columns)));
  source.copy(part, layer, 0, w.rows, bytes.data());
  std::vector<float> values(static_cast<std::size_t>(w.rows * w.columns));
  for (std::size_t r = 0; r < w.rows; ++r)
    decode_row(w.type, bytes.data() + r * static_cast<std::size_t>(row_bytes(w.type, w.columns)),
               values.data() + r * static_cast<std::size_t>(w.columns), static_cast<std::size_t>(w.columns));
  return values;
}

// The seven integers of every version's header, and the smallest file with them: all weights zero.
struct Header {
  std::int32_t dim = 4, hidden = 6, layers = 2, heads = 2, kv_heads = 1, vocab = 5, context = 8;
  Bytes numbers() const {
    Bytes b;
    for (const std::int32_t v : {dim, hidden, layers, heads, kv_heads, vocab, context}) put<std::int32_t>(b, v);
    return b;
  }
  // Elements of a model with these, without rotations and classifier.
  std::size_t elements() const {
    const int kv = dim / heads * kv_heads;
    return static_cast<std::size_t>(vocab * dim + layers * (2 * dim + 2 * dim * dim + 2 * kv * dim + 3 * dim * hidden) +
                                    dim);
  }
  Bytes v0() const {
    Bytes b = numbers();
    b.resize(28 + 4 * (elements() + static_cast<std::size_t>(context * (dim / heads / 2) * 2)));
    return b;
  }
  Bytes versioned(std::int32_t version, std::uint8_t shared, std::int32_t group = 0) const {
    Bytes b;
    put<std::uint32_t>(b, 0x616b3432);
    put<std::int32_t>(b, version);
    const Bytes n = numbers();
    b.insert(b.end(), n.begin(), n.end());
    put<std::uint8_t>(b, shared);
    if (version == 2) put<std::int32_t>(b, group);
    b.resize(256);
    return b;
  }
};

std::unique_ptr<WeightSource> open(const Bytes& bytes) { return open_weights(puna_test::in_memory(bytes)); }

void refused(const Bytes& bytes, std::initializer_list<std::string_view> parts) {
  const auto file = puna_test::in_memory(bytes);
  const HeapWatch heap;
  refusal(Code::format, parts, [&] { open_weights(file); });
  CHECK(heap.peak() < 32768);
}

}  // namespace

TEST_CASE("stories260K: the same weights bit for bit through llama2.c and through GGUF") {
  PUNA_SHARED(bin, "models/stories260K/stories260K.bin");
  PUNA_SHARED(gguf, "models/stories260K/stories260K.gguf");
  const auto a = open_weights(bin.string());
  const auto b = open_weights(gguf.string());
  CHECK(a->format() == "llama2.c v0");
  const Hyperparameters& h = a->hyperparameters();
  CHECK(h.context == 512);
  CHECK(h.vocab == 512);
  CHECK(h.kv_heads == 4);
  for (std::uint32_t layer = 0; layer < h.layers; ++layer)
    for (int p = 0; p < part_count; ++p) {
      const auto part = static_cast<Part>(p);
      CAPTURE(std::string(part_name(part)));
      const WeightInfo* w = a->find(part, layer);
      // The .bin ties its classifier; the GGUF stores it again.
      const Part same = part == Part::output ? Part::token_embedding : part;
      if (!w && part != Part::output) continue;
      const auto size = static_cast<std::size_t>(
          a->find(same, layer) ? a->find(same, layer)->rows * a->find(same, layer)->columns * 4 : 0);
      if (size == 0) continue;
      REQUIRE(b->borrow(part, layer) != nullptr);
      REQUIRE(a->borrow(same, layer) != nullptr);
      CHECK(std::memcmp(a->borrow(same, layer), b->borrow(part, layer), size) == 0);
    }
  CHECK(a->find(Part::output, 0) == nullptr);
}

TEST_CASE("llama2.c fixtures of every version open with what their writer put in") {
  struct Case {
    const char* folder;
    const char* format;
    std::uint64_t dim, layers, heads, kv_heads, ffn, vocab;
    bool tied;
    DType matrices;
  };
  for (const Case& c : {Case{"v0_tied", "llama2.c v0", 32, 1, 2, 1, 32, 320, true, DType::f32},
                        Case{"v0_untied", "llama2.c v0", 32, 2, 2, 1, 32, 64, false, DType::f32},
                        Case{"v1_tied", "llama2.c v1", 32, 2, 2, 1, 32, 64, true, DType::f32},
                        Case{"v1_untied", "llama2.c v1", 32, 2, 4, 4, 32, 64, false, DType::f32},
                        Case{"v2_group64", "llama2.c v2", 64, 2, 4, 2, 64, 64, true, DType::q8_f32},
                        Case{"v2_group32", "llama2.c v2", 96, 1, 3, 1, 64, 64, false, DType::q8_f32}}) {
    CAPTURE(c.folder);
    const auto source = open_weights(puna_test::fixture(std::string("llama2c/") + c.folder + "/model.bin").string());
    const Hyperparameters& h = source->hyperparameters();
    CHECK(source->format() == c.format);
    CHECK(h.dim == c.dim);
    CHECK(h.layers == c.layers);
    CHECK(h.heads == c.heads);
    CHECK(h.kv_heads == c.kv_heads);
    CHECK(h.ffn_dim == c.ffn);
    CHECK(h.vocab == c.vocab);
    CHECK(h.context == 32);
    CHECK((source->find(Part::output, 0) == nullptr) == c.tied);
    CHECK(source->find(Part::wq, 0)->type == c.matrices);
    CHECK(source->find(Part::attn_norm, 0)->type == DType::f32);
    CHECK((source->borrow(Part::wq, 0) == nullptr) == (c.matrices != DType::f32));
    CHECK(source->borrow(Part::attn_norm, 0) != nullptr);
    CHECK(source->find(Part::wq, static_cast<std::uint32_t>(c.layers)) == nullptr);
    CHECK(source->vocab().kind ==
          (std::string_view(c.folder) == "v0_tied" ? VocabSource::Kind::llama2c : VocabSource::Kind::none));
    const Listing listing = inspect(puna_test::fixture(std::string("llama2c/") + c.folder + "/model.bin").string());
    CHECK(listing.format == c.format);
    CHECK(listing.tensors.size() == (c.tied ? 11 : 12));
    CHECK(listing.hyperparameters->dim == c.dim);
  }
}

TEST_CASE("llama2.c v2: every element is its code times the scale of its group, whatever the group") {
  struct Case {
    std::int32_t dim, hidden, group;
    DType type, down;
  };
  // A group of 64 that runs over the ends of rows of 96; groups too small for blocks; plain ones.
  for (const Case& c : {Case{64, 96, 64, DType::q8_f32, DType::q8_f32}, Case{64, 64, 32, DType::q8_f32, DType::q8_f32},
                        Case{64, 172, 64, DType::q8_f32, DType::f32}, Case{8, 12, 4, DType::f32, DType::f32},
                        Case{4, 6, 2, DType::f32, DType::f32}, Case{64, 64, 128, DType::q8_f32, DType::q8_f32}}) {
    CAPTURE(c.hidden);
    CAPTURE(c.group);
    Header h;
    h.dim = c.dim;
    h.hidden = c.hidden;
    h.vocab = 6;
    h.layers = 2;
    Bytes b = h.versioned(2, 0, c.group);
    const int kv = h.dim / 2;
    for (int i = 0; i < h.dim * (2 * h.layers + 1); ++i) put<float>(b, static_cast<float>(i));
    std::vector<std::vector<float>> want;  // each matrix in the order of runq.c: all layers of one part, then the next
    unsigned seed = 1;
    const auto matrix = [&](int rows, int columns) {
      std::vector<std::int8_t> codes(static_cast<std::size_t>(rows * columns));
      std::vector<float> scales(codes.size() / static_cast<std::size_t>(c.group)), values;
      for (auto& q : codes) q = static_cast<std::int8_t>((seed = seed * 1664525u + 1013904223u) >> 24);
      for (auto& s : scales) s = static_cast<float>((seed = seed * 1664525u + 1013904223u) >> 8) * 1e-9f;
      for (std::size_t i = 0; i < codes.size(); ++i)
        values.push_back(static_cast<float>(codes[i]) * scales[i / static_cast<std::size_t>(c.group)]);
      for (const auto q : codes) put<std::int8_t>(b, q);
      for (const float s : scales) put<float>(b, s);
      want.push_back(std::move(values));
    };
    const auto layers = [&](int rows, int columns) {
      for (int i = 0; i < h.layers; ++i) matrix(rows, columns);
    };
    matrix(h.vocab, h.dim);
    layers(h.dim, h.dim), layers(kv, h.dim), layers(kv, h.dim), layers(h.dim, h.dim);
    layers(h.hidden, h.dim), layers(h.dim, h.hidden), layers(h.hidden, h.dim);
    matrix(h.vocab, h.dim);

    const auto source = open(b);
    std::size_t next = 0;
    for (const Part part : {Part::token_embedding, Part::wq, Part::wk, Part::wv, Part::wo, Part::gate, Part::down,
                            Part::up, Part::output}) {
      CAPTURE(std::string(part_name(part)));
      CHECK(source->find(part, 0)->type == (part == Part::down ? c.down : c.type));
      for (std::uint32_t layer = 0; layer < (part_is_per_layer(part) ? 2u : 1u); ++layer)
        CHECK(decoded(*source, part, layer) == want[next++]);
    }
    CHECK(next == want.size());
    CHECK(decoded(*source, Part::attn_norm, 1)[0] == static_cast<float>(h.dim));
    CHECK(decoded(*source, Part::output_norm, 0)[0] == static_cast<float>(4 * h.dim));
    // Rows in the middle are the same as in the whole.
    const WeightInfo& w = *source->find(Part::gate, 1);
    const auto row = static_cast<std::size_t>(row_bytes(w.type, w.columns));
    Bytes all(row * static_cast<std::size_t>(w.rows)), some(row * 2);
    source->copy(Part::gate, 1, 0, w.rows, all.data());
    source->copy(Part::gate, 1, 3, 2, some.data());
    CHECK(std::memcmp(some.data(), all.data() + 3 * row, some.size()) == 0);
  }
}

TEST_CASE("llama2.c v0 is known by its exact size") {
  Header h;
  const Bytes whole = h.v0();
  CHECK(open(whole)->hyperparameters().ffn_dim == 6);
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  refused(longer, {"no model that is known", std::to_string(whole.size()), std::to_string(whole.size() + 1)});
  h.vocab = -5;
  Bytes untied = h.numbers();
  untied.resize(whole.size() + 4 * 5 * 4);
  const auto source = open(untied);
  CHECK(source->hyperparameters().vocab == 5);
  REQUIRE(source->find(Part::output, 0) != nullptr);
  CHECK(source->borrow(Part::output, 0) + 4 * 5 * 4 - source->borrow(Part::token_embedding, 0) ==
        static_cast<std::ptrdiff_t>(untied.size()) - 28);
}

TEST_CASE("llama2.c headers with numbers that no model has") {
  const std::int32_t wrong[] = {0, -1, std::numeric_limits<std::int32_t>::min(),
                                std::numeric_limits<std::int32_t>::max()};
  std::int32_t Header::*const fields[] = {&Header::dim, &Header::hidden, &Header::layers, &Header::heads,
                                          &Header::kv_heads, &Header::vocab, &Header::context};
  const char* names[] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"};
  for (std::size_t f = 0; f < 7; ++f)
    for (const std::int32_t value : wrong) {
      CAPTURE(names[f]);
      CAPTURE(value);
      Header h;
      Bytes v0 = h.v0();
      h.*fields[f] = value;
      const Bytes numbers = h.numbers();
      std::memcpy(v0.data(), numbers.data(), numbers.size());
      refused(v0, {"<memory>", value > 0 || f == 5 ? "" : names[f], value > 0 || f == 5 ? "" : std::to_string(value)});
      Bytes v1 = h.versioned(1, 1);
      v1.resize(4096);
      refused(v1, {"<memory>", value > 0 ? "" : names[f], value > 0 ? "" : std::to_string(value)});
      v1 = h.versioned(2, 1, 2);
      v1.resize(4096);
      refused(v1, {"<memory>", value > 0 ? "" : names[f], value > 0 ? "" : std::to_string(value)});
    }
  Header h;
  h.heads = 3;
  refused(h.v0(), {"n_heads", "3", "4"});
  h.heads = 4;
  h.kv_heads = 3;
  refused(h.v0(), {"n_kv_heads", "3", "4"});
}

TEST_CASE("llama2.c: sizes that wrap, versions and flags that there are not") {
  Header h;
  h.dim = h.hidden = h.layers = h.vocab = h.context = std::numeric_limits<std::int32_t>::max();
  h.heads = h.kv_heads = 1;
  Bytes b = h.numbers();
  b.resize(1000);
  refused(b, {"18446744073709551615", "1000"});
  b = h.versioned(1, 1);
  b.resize(1000);
  refused(b, {"18446744073709551615", "1000"});
  refusal(Code::unsupported, {"version 3"}, [] { open(Header().versioned(3, 1)); });
  refusal(Code::unsupported, {"version -1"}, [] { open(Header().versioned(-1, 1)); });
  refused(Header().versioned(1, 2), {"shared_classifier", "2"});
  for (const std::int32_t group : {0, -32})
    refused(Header().versioned(2, 1, group), {"group_size", std::to_string(group)});
  refused(Header().versioned(2, 1, 7), {"group_size 7"});
  Bytes magic;
  put<std::uint32_t>(magic, 0x616b3432);
  refused(magic, {"version", "ends after 0"});
}

TEST_CASE("llama2.c cut at every 64th byte, every version") {
  for (const char* folder : {"v0_tied", "v0_untied", "v1_tied", "v1_untied", "v2_group64", "v2_group32"}) {
    CAPTURE(folder);
    const auto whole = puna_test::read_file(puna_test::fixture(std::string("llama2c/") + folder + "/model.bin"));
    for (std::size_t n = 64; n < whole.size(); n += 64) {
      const auto file = File::from_memory({reinterpret_cast<const std::byte*>(whole.data()), n});
      const HeapWatch heap;
      try {
        open_weights(file);
        FAIL_CHECK("nothing was refused at " << n);
      } catch (const Error& e) {
        if (e.code() != Code::format || e.text().find("<memory>") == std::string::npos) FAIL_CHECK(e.text());
      }
      if (heap.peak() > 32768) FAIL_CHECK("took " << heap.peak() << " bytes for " << n);
    }
  }
}
