// Adapters at inference and on disk: PEFT's, llama.cpp's, and those that were trained here.
#include <algorithm>
#include <cmath>

#include "puna/io/weight_sink.hpp"
#include "puna/slim/quantize.hpp"
#include "puna/train/save.hpp"
#include "train_support.hpp"

using namespace puna_test;
using puna::AdapterUse;

namespace {

std::vector<float> adapted_logits(const std::shared_ptr<const puna::Model>& model, const std::vector<std::int32_t>& ids, std::vector<AdapterUse> uses,
                                  std::uint32_t chunk = 512) {
  puna::SessionOptions options;
  options.batch = options.max_logits = chunk;
  options.cache_type = puna::DType::f32;
  puna::Session session(model, options);
  session.set_adapters(std::move(uses));
  return run_logits(session, ids, chunk);
}

std::shared_ptr<const puna::Adapter> open_adapter(const puna::Model& model, const fs::path& path) {
  return puna::Adapter::open(path.string(), model.config(), model.runtime()->memory);
}

void write_model(const puna::RuntimeRef& runtime, std::shared_ptr<const puna::WeightSource> source, const fs::path& path) {
  puna::QuantizeOptions options;
  options.requantize = true;
  puna::Quantizer writer(runtime, std::move(source), puna::gguf_sink(path.string()), options);
  while (!writer.step({}, nullptr)) {
  }
}

}  // namespace

TEST_CASE("an adapter that PEFT made gives PEFT's logits, whole and in chunks: LoRA, DoRA, rsLoRA") {
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  for (const std::string name : {"train/peft", "train/peft_dora", "train/peft_rslora"}) {
    CAPTURE(name);
    const auto adapter = open_adapter(*model, fixture(name));
    const std::vector<float> theirs = read_floats(fixture(name + ".logits.f32"));
    const std::vector<float> ours = adapted_logits(model, rows[0].ids, {{adapter, 1.0f}});
    CHECK(max_difference(ours, theirs) <= 1e-4f);
    CHECK(adapted_logits(model, rows[0].ids, {{adapter, 1.0f}}, 7) == ours);
    CHECK(max_difference(adapted_logits(model, rows[0].ids, {}), theirs) > 0.1f);
    // Two halves are the whole, except of DoRA, which is not linear.
    const float halves = max_difference(adapted_logits(model, rows[0].ids, {{adapter, 0.25f}, {adapter, 0.75f}}), theirs);
    if (name == "train/peft_dora") CHECK(halves > 1e-2f);
    else CHECK(halves <= 1e-4f);
  }
}

TEST_CASE("a trained adapter: live, merged to f32 and loaded again, the same logits") {
  const TempDir dir;
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  puna::TrainOptions o = fixture_options(puna::TrainMethod::lora);
  SUBCASE("LoRA") {}
  SUBCASE("DoRA") { o.dora = true; }
  SUBCASE("rsLoRA") { o.rank_stabilized = true; }
  puna::Trainer trainer(model, o, rows, {});
  run(trainer);
  const auto live = puna::current_adapter(trainer);
  const std::vector<float> expected = adapted_logits(model, rows[0].ids, {{live, 1.0f}});
  CHECK(max_difference(expected, adapted_logits(model, rows[0].ids, {})) > 1e-2f);
  puna::save_peft(trainer, (dir / "adapter").string());
  const auto read = open_adapter(*model, dir / "adapter");
  CHECK(adapted_logits(model, rows[0].ids, {{read, 1.0f}}) == expected);
  write_model(model->runtime(), puna::merged_source(model->source(), {{read, 1.0f}}), dir / "merged.gguf");
  CHECK(max_difference(run_logits(load_model(dir / "merged.gguf"), rows[0].ids), expected) <= 1e-4f);

  // Beside another one.
  const std::vector<AdapterUse> both{{read, 0.5f}, {open_adapter(*model, fixture("train/peft_dora")), 1.0f}};
  write_model(model->runtime(), puna::merged_source(model->source(), both), dir / "both.gguf");
  CHECK(max_difference(run_logits(load_model(dir / "both.gguf"), rows[0].ids), adapted_logits(model, rows[0].ids, both)) <= 1e-4f);
}

TEST_CASE("a fresh DoRA adapter is the model as it is; its folder needs its magnitudes, and says so") {
  const TempDir dir;
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  puna::TrainOptions o = fixture_options(puna::TrainMethod::lora);
  o.dora = true;
  puna::Trainer trainer(model, o, rows, {});
  const auto fresh = puna::current_adapter(trainer);
  CHECK(max_difference(adapted_logits(model, rows[0].ids, {{fresh, 1.0f}}), adapted_logits(model, rows[0].ids, {})) <= 1e-5f);
  const auto refused = [&](const char* from, bool dora, const char* part) {
    const fs::path folder = dir / "adapter";
    fs::remove_all(folder);
    fs::copy(fixture(from), folder);
    std::string text = read_text(folder / "adapter_config.json");
    const std::string was = std::string("\"use_dora\": ") + (dora ? "false" : "true");
    text.replace(text.find(was), was.size(), std::string("\"use_dora\": ") + (dora ? "true" : "false"));
    write_file(folder / "adapter_config.json", text);
    try {
      open_adapter(*model, folder);
      FAIL("not refused");
    } catch (const puna::Error& error) {
      CHECK(error.text().find(part) != std::string::npos);
    }
  };
  refused("train/peft", true, "without its lora_magnitude_vector");
  refused("train/peft_dora", false, "use_dora is false");
}

TEST_CASE("an adapted head that is tied to the embedding is merged into a head of its own") {
  const TempDir dir;
  const auto model = load_model(fixture("tiny/model.gguf"));
  REQUIRE(model->tied());
  puna::TrainOptions o;
  o.targets = puna::target_head | puna::target_v;
  o.steps = 6;
  o.learning_rate = 2e-2;
  o.length = 32;
  puna::Examples rows(6);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < 32; ++j) rows[i].ids.push_back(static_cast<std::int32_t>(j ? 3 + (7 * i + 11 * j) % 500 : 1));
    rows[i].loss.assign(32, 1);
  }
  puna::Trainer trainer(model, o, rows, {});
  run(trainer);
  const auto live = puna::current_adapter(trainer);
  const std::vector<float> expected = adapted_logits(model, rows[0].ids, {{live, 1.0f}});
  CHECK(max_difference(expected, adapted_logits(model, rows[0].ids, {})) > 0.1f);
  write_model(model->runtime(), puna::merged_source(model->source(), {{live, 1.0f}}), dir / "merged.gguf");
  const auto merged = load_model(dir / "merged.gguf");
  CHECK_FALSE(merged->tied());
  CHECK(max_difference(adapted_logits(merged, rows[0].ids, {}), expected) <= 1e-4f);
}

TEST_CASE("a whole model that was trained is written, and loaded again gives the loss it had") {
  const TempDir dir;
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  puna::TrainOptions o = fixture_options(puna::TrainMethod::full);
  puna::Trainer trainer(model, o, rows, rows);
  run(trainer);
  CHECK(trainer.held_out_after() < trainer.held_out_before());
  write_model(model->runtime(), puna::trained_source(trainer), dir / "tuned.gguf");
  puna::Trainer again(load_model(dir / "tuned.gguf"), o, rows, rows);
  while (std::isnan(again.held_out_before())) again.step(puna::Deadline::after(0), nullptr);
  CHECK(again.held_out_before() == trainer.held_out_after());
}

TEST_CASE("an adapter written here gives in PEFT the logits that it gives here, and is written so today") {
  const TempDir dir;
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  const auto ours = open_adapter(*model, fixture("train/ours"));
  CHECK(max_difference(adapted_logits(model, rows[0].ids, {{ours, 1.0f}}), read_floats(fixture("train/ours.logits.f32"))) <= 1e-4f);
  puna::Trainer trainer(model, fixture_options(puna::TrainMethod::lora), rows, {});
  for (const puna::Trained& t : trainer.trainable().tensors()) {
    const puna::Adapter::Module* m = ours->find(t.part, t.layer);
    REQUIRE(m);
    const auto& from = t.kind == puna::Trained::Kind::lora_a ? m->a : m->b;
    REQUIRE(from.size() == t.size());
    std::copy_n(from.data(), from.size(), trainer.trainable().weights() + t.offset);
  }
  puna::save_peft(trainer, (dir / "again").string());
  CHECK(read_file(dir / "again" / "adapter_model.safetensors") == read_file(fixture("train/ours/adapter_model.safetensors")));
  std::string config = read_text(dir / "again" / "adapter_config.json"), base = model->name();
  config.replace(config.find(base), base.size(), "base");
  CHECK(config == read_text(fixture("train/ours/adapter_config.json")));
}

TEST_CASE("an adapter written as GGUF, from training, from PEFT's folder and from itself, is the same adapter") {
  const TempDir dir;
  const auto model = load_model(fixture("train/base"));
  const auto rows = read_examples(fixture("train/rows.txt"));
  puna::TrainOptions o = fixture_options(puna::TrainMethod::lora);
  o.rank_stabilized = true;
  puna::Trainer trainer(model, o, rows, {});
  run(trainer);
  const auto live = puna::current_adapter(trainer), peft = open_adapter(*model, fixture("train/peft"));
  for (const auto& adapter : {live, peft}) {
    puna::save_gguf_adapter(*adapter, (dir / "a.gguf").string());
    const auto read = open_adapter(*model, dir / "a.gguf");
    REQUIRE(read->modules().size() == adapter->modules().size());
    for (const puna::Adapter::Module& m : adapter->modules()) {
      const puna::Adapter::Module* same = read->find(m.part, m.layer);
      REQUIRE(same);
      CHECK(same->rank == m.rank);
      CHECK(std::fabs(same->scale - m.scale) <= 1e-7f * m.scale);
      CHECK(std::ranges::equal(same->a.span(), m.a.span()));
      CHECK(std::ranges::equal(same->b.span(), m.b.span()));
    }
    puna::save_gguf_adapter(*read, (dir / "b.gguf").string());
    CHECK(read_file(dir / "a.gguf") == read_file(dir / "b.gguf"));
  }
}

TEST_CASE("a GGUF adapter gives llama.cpp's logits") {
  PUNA_SHARED(path, "lora/stories260K/lora_r4_a8.gguf");
  PUNA_SHARED(base, "models/stories260K/stories260K.gguf");
  PUNA_SHARED(ids_path, "lora/stories260K/logits_input.ids.txt");
  PUNA_SHARED(logits_path, "lora/stories260K/logits_32x512.scale1.llamacpp.f32");
  const auto model = load_model(base);
  const std::vector<float> ours = adapted_logits(model, read_ids(ids_path), {{open_adapter(*model, path), 1.0f}});
  const float difference = max_difference(ours, read_floats(logits_path));
  CHECK(difference <= 1e-4f);
}
