// puna_trainer: rows in, steps, an adapter or a model out.
#include <iterator>
#include <limits>
#include <string_view>

#include "handles.hpp"
#include "job.hpp"
#include "puna/train/data.hpp"
#include "puna/slim/quantize.hpp"
#include "puna/train/plan.hpp"
#include "puna/train/save.hpp"
#include "puna/train/trainer.hpp"
#include "quantize.hpp"
#include "source.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

// A model whose every tensor is f32 rows, as a full run writes it: for its plan.
class Floats final : public puna::ChangedSource {
 public:
  explicit Floats(std::shared_ptr<const puna::WeightSource> base, std::uint32_t layers) : ChangedSource(std::move(base)) {
    for (int i = 0; i < puna::part_count; ++i)
      for (std::uint32_t layer = 0; layer < (puna::part_is_per_layer(static_cast<puna::Part>(i)) ? layers : 1); ++layer)
        if (base_->find(static_cast<puna::Part>(i), layer)) change(static_cast<puna::Part>(i), layer);
  }

 private:
  void rows(puna::Part, std::uint32_t, std::uint64_t, std::uint64_t, float*) const override {}
};

std::uint64_t save_bytes(const std::shared_ptr<const puna::WeightSource>& source, const puna::Config& config, const puna::TrainOptions& o) {
  if (o.method != puna::TrainMethod::full) return 0;
  return puna::plan_quantize(Floats(source, config.N), {}, o.threads).buffer_bytes;
}

}  // namespace

namespace puna::capi {

struct TrainerBox {
  std::shared_ptr<const Model> model;
  TrainOptions options;
  std::string checkpoint;
  std::uint32_t checkpoint_every = 0;
  puna_train_fn event = nullptr;
  void* event_user = nullptr;
  TrainData rows, held_out, general;
  std::uint32_t held_out_permille = 0;
  std::unique_ptr<Trainer> trainer;  // once the rows are complete
  std::atomic<bool> busy{false};

  Trainer& ready() {
    if (trainer) return *trainer;
    TrainData train = rows, measure = held_out;  // copies: a refusal leaves the rows to be mended
    split(train, measure);
    TrainOptions o = options;
    if (o.objective == TrainObjective::automatic && !train.rejected.empty()) o.objective = TrainObjective::preference;
    o = settled(o, model->config(), model->runtime()->tasks.width());
    require_memory(*model, o, save_bytes(model->source(), model->config(), o));
    trainer = std::make_unique<Trainer>(model, options, std::move(train), std::move(measure), general.examples);
    rows = {}, held_out = {}, general = {};
    if (!checkpoint.empty()) trainer->keep_state(checkpoint, checkpoint_every ? checkpoint_every : std::numeric_limits<std::uint32_t>::max());
    trainer->on_event = [this](const TrainEvent& e) -> std::int32_t {
      if (!event) return 0;
      puna_train_event told{};
      told.struct_size = sizeof told;
      told.kind = static_cast<std::int32_t>(e.kind);
      told.step = e.step, told.steps = e.steps, told.epoch = e.epoch, told.loss = e.loss;
      told.learning_rate = e.rate, told.gradient_norm = e.gradient_norm, told.tokens = e.tokens;
      told.tokens_per_second = e.tokens_per_second, told.seconds_left = e.seconds_left;
      told.accuracy = e.accuracy, told.margin = e.margin;
      told.memory_bytes = e.memory;
      return event(event_user, &told);
    };
    return *trainer;
  }

  void split(TrainData& train, TrainData& measure) const {
    const std::size_t all = train.examples.size(), n = all * held_out_permille / 1000;
    if (held_out_permille && (n == 0 || n == all))
      fail(Code::argument, "options.held_out_permille is " + std::to_string(held_out_permille) + ", of " + std::to_string(all) +
                               " rows none would be " + (n ? "left" : "held out"));
    const auto last = [n](Examples& from, Examples& to) {
      if (from.empty()) return;
      std::move(from.end() - static_cast<std::ptrdiff_t>(n), from.end(), std::back_inserter(to));
      from.resize(from.size() - n);
    };
    last(train.examples, measure.examples), last(train.rejected, measure.rejected);
  }
};

}  // namespace puna::capi

struct puna_trainer {
  std::shared_ptr<capi::TrainerBox> box;
};

namespace {

puna_train_options train_defaults() {
  const puna::TrainOptions d;
  puna_train_options o{};
  o.struct_size = sizeof o;
  o.targets = d.targets, o.rank = d.rank, o.alpha = d.alpha;
  o.weight_decay = d.weight_decay, o.beta1 = d.beta1, o.beta2 = d.beta2, o.epsilon = d.epsilon, o.clip = d.clip;
  o.schedule = PUNA_SCHEDULE_COSINE;
  o.beta = d.beta;
  o.epochs = o.batch = o.accumulate = 1;
  return o;
}

puna::TrainOptions core_options(const puna_train_options& o, const puna::Config& config) {
  if (o.flags & ~(PUNA_TRAIN_NO_PACKING | PUNA_TRAIN_NO_SHUFFLE | PUNA_TRAIN_RANK_STABILIZED | PUNA_TRAIN_FROM_SCRATCH |
                  PUNA_TRAIN_DORA | PUNA_TRAIN_ADAM8 | PUNA_TRAIN_NF4))
    fail(Code::unsupported, "options.flags is " + std::to_string(o.flags) + ", with bits that this library does not know");
  if (o.method < PUNA_TRAIN_LORA || o.method > PUNA_TRAIN_FULL)
    fail(Code::argument, "options.method is " + std::to_string(o.method) + ", not a PUNA_TRAIN_ value");
  if (o.objective < PUNA_OBJECTIVE_AUTO || o.objective > PUNA_OBJECTIVE_DPO)
    fail(Code::argument, "options.objective is " + std::to_string(o.objective) + ", not a PUNA_OBJECTIVE_ value");
  if (o.schedule < PUNA_SCHEDULE_CONSTANT || o.schedule > PUNA_SCHEDULE_COSINE)
    fail(Code::argument, "options.schedule is " + std::to_string(o.schedule) + ", not a PUNA_SCHEDULE_ value");
  if (o.threads < 0) fail(Code::argument, "options.threads is " + std::to_string(o.threads));
  puna::TrainOptions t;
  t.method = static_cast<puna::TrainMethod>(o.method);
  t.schedule = static_cast<puna::LearningSchedule>(o.schedule);
  t.objective = static_cast<puna::TrainObjective>(o.objective), t.beta = o.beta;
  t.targets = o.targets, t.rank = o.rank, t.alpha = o.alpha, t.dropout = o.dropout;
  t.rank_stabilized = (o.flags & PUNA_TRAIN_RANK_STABILIZED) != 0, t.dora = (o.flags & PUNA_TRAIN_DORA) != 0;
  t.adam8 = (o.flags & PUNA_TRAIN_ADAM8) != 0;
  t.nf4 = (o.flags & PUNA_TRAIN_NF4) != 0;
  t.fresh = (o.flags & PUNA_TRAIN_FROM_SCRATCH) != 0;
  t.pack = (o.flags & PUNA_TRAIN_NO_PACKING) == 0, t.shuffle = (o.flags & PUNA_TRAIN_NO_SHUFFLE) == 0;
  t.learning_rate = o.learning_rate, t.final_rate = o.final_rate, t.weight_decay = o.weight_decay;
  t.beta1 = o.beta1, t.beta2 = o.beta2, t.epsilon = o.epsilon, t.clip = o.clip;
  t.warmup = o.warmup, t.epochs = o.epochs, t.steps = o.steps, t.batch = o.batch, t.accumulate = o.accumulate;
  t.length = o.length ? o.length : std::min<std::uint32_t>(512, config.context);
  t.evaluate_every = o.evaluate_every, t.patience = o.patience, t.seed = o.seed;
  t.threads = static_cast<std::uint32_t>(o.threads);
  return t;
}

class TrainWork final : public capi::Work {
 public:
  explicit TrainWork(std::shared_ptr<capi::TrainerBox> box) : box_(std::move(box)), claim_(std::in_place, box_->busy, "the trainer") {
    box_->ready();
  }
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override {
    try {
      if (!box_->trainer->step(deadline, cancel)) return false;
    } catch (...) {
      claim_.reset();
      throw;
    }
    claim_.reset();
    return true;
  }
  capi::WorkProgress progress() const override { return {PUNA_PHASE_TRAIN, box_->trainer->done(), box_->trainer->total()}; }

 private:
  std::shared_ptr<capi::TrainerBox> box_;
  std::optional<capi::Claim> claim_;
};

template <class F>
std::int32_t with_trainer(puna_trainer* trainer, puna_error* error, F&& body) {
  return capi::entry(error, [&] {
    capi::TrainerBox& box = *capi::required(trainer, "trainer").box;
    capi::Claim claim(box.busy, "the trainer");
    body(box);
  });
}

puna::TrainData& rows_of(capi::TrainerBox& box, std::int32_t held_out) {
  if (box.trainer) fail(Code::state, "the rows are complete: the run has begun");
  if (held_out < 0 || held_out > 2) fail(Code::argument, "held_out is " + std::to_string(held_out) + ", none of 0, 1 and 2");
  return held_out == 2 ? box.general : held_out ? box.held_out : box.rows;
}

puna::Example example_of(const std::int32_t* ids, const std::uint8_t* loss, std::size_t count, const char* name) {
  if (count) capi::required(ids, name);
  puna::Example e;
  e.ids.assign(ids, ids + count);
  if (loss) e.loss.assign(loss, loss + count);
  else e.loss.assign(count, 1);
  return e;
}

// All rows are pairs, or none.
void add_rows(puna::TrainData& to, puna::TrainData from, const std::string& name) {
  if (!to.examples.empty() && to.rejected.empty() != from.rejected.empty())
    fail(Code::argument, name + (from.rejected.empty() ? ": rows without a rejected answer, those before were pairs" : ": pairs of answers, the rows before were none"));
  std::move(from.examples.begin(), from.examples.end(), std::back_inserter(to.examples));
  std::move(from.rejected.begin(), from.rejected.end(), std::back_inserter(to.rejected));
}

std::unique_ptr<puna_job> train_job(puna_trainer* trainer, puna_cancel* cancel, puna_progress_fn progress, void* user) {
  auto work = std::make_unique<TrainWork>(capi::required(trainer, "trainer").box);
  return std::make_unique<puna_job>(std::move(work), capi::JobOptions{capi::cancel_of(cancel), progress, user});
}

}  // namespace

extern "C" {

void PUNA_CALL puna_train_options_init(puna_train_options* options, size_t size) { capi::init_options(options, size, train_defaults()); }

int32_t PUNA_CALL puna_trainer_create(puna_trainer** out, const puna_model* model, const puna_train_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const auto o = capi::read_options(options, train_defaults(), "options");
    auto box = std::make_shared<capi::TrainerBox>();
    box->model = capi::required(model, "model").ref;
    box->options = core_options(o, box->model->config());
    if (o.checkpoint) box->checkpoint = o.checkpoint;
    box->checkpoint_every = o.checkpoint_every;
    if (o.held_out_permille > 999) fail(Code::argument, "options.held_out_permille is " + std::to_string(o.held_out_permille) + ", more than 999");
    box->held_out_permille = o.held_out_permille;
    box->event = o.event, box->event_user = o.event_user;
    *out = new puna_trainer{std::move(box)};
  });
}

void PUNA_CALL puna_trainer_destroy(puna_trainer* trainer) { delete trainer; }

int32_t PUNA_CALL puna_trainer_add(puna_trainer* trainer, int32_t held_out, const int32_t* ids, const uint8_t* loss, size_t count,
                                   puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    add_rows(rows_of(box, held_out), puna::Examples{example_of(ids, loss, count, "ids")}, "the row");
  });
}

int32_t PUNA_CALL puna_trainer_add_pair(puna_trainer* trainer, int32_t held_out, const int32_t* chosen, const uint8_t* chosen_loss,
                                        size_t chosen_count, const int32_t* rejected, const uint8_t* rejected_loss,
                                        size_t rejected_count, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    add_rows(rows_of(box, held_out),
             {{example_of(chosen, chosen_loss, chosen_count, "chosen")}, {example_of(rejected, rejected_loss, rejected_count, "rejected")}}, "the row");
  });
}

int32_t PUNA_CALL puna_trainer_add_text(puna_trainer* trainer, int32_t held_out, const char* text, size_t length, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    puna::TrainData& rows = rows_of(box, held_out);
    const auto& tokenizer = box.model->tokenizer();
    if (!tokenizer) fail(Code::state, box.model->name() + ": the model has no tokenizer, texts cannot be encoded");
    puna::EncodeOptions encode;
    encode.bos = encode.eos = true;
    const std::vector<std::int32_t> ids = tokenizer->encode({&capi::required(text, "text"), length}, encode);
    if (ids.size() <= 2) fail(Code::argument, "the text is empty: there is nothing to learn");
    // Pieces share a token at their seams, so that each token is predicted once.
    const std::size_t most = box.options.length;
    puna::Examples pieces;
    for (std::size_t first = 0; first + 1 < ids.size(); first += most - 1) {
      puna::Example e;
      const std::size_t n = std::min(most, ids.size() - first);
      e.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.begin() + static_cast<std::ptrdiff_t>(first + n));
      e.loss.assign(n, 1);
      pieces.push_back(std::move(e));
    }
    add_rows(rows, std::move(pieces), "the text");
  });
}

int32_t PUNA_CALL puna_trainer_add_file(puna_trainer* trainer, int32_t held_out, const char* path, const char* chat, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    puna::TrainData& rows = rows_of(box, held_out);
    if (!box.model->tokenizer()) fail(Code::state, box.model->name() + ": the model has no tokenizer, texts cannot be encoded");
    puna::DataOptions data;
    data.length = box.options.length;
    data.chat = puna::resolve_chat_template(chat ? chat : "", *box.model->tokenizer());
    puna::DataReader reader(puna::File::open(&capi::required(path, "path")), box.model->tokenizer(), data);
    puna::TrainData read;
    for (puna::Row row; reader.next(row);) {
      if (!row.rejected.ids.empty()) read.rejected.push_back(std::move(row.rejected));
      read.examples.push_back(std::move(row.example));
      row = {};
    }
    add_rows(rows, std::move(read), path);
  });
}

int32_t PUNA_CALL puna_trainer_get_info(puna_trainer* trainer, puna_train_info* out, size_t size, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    const puna::Trainer& t = box.ready();
    puna_train_info info{};
    info.finished = t.finished();
    info.steps = t.steps(), info.steps_done = t.steps_done();
    info.rows = t.rows().rows(), info.tokens = t.rows().tokens(), info.learnt = t.rows().learnt();
    info.parameters = t.trainable().parameters();
    info.loss = t.losses().empty() ? std::numeric_limits<double>::quiet_NaN() : t.losses().back();
    info.held_out_before = t.held_out_before(), info.held_out_after = t.held_out_after();
    info.general_before = t.general_before(), info.general_after = t.general_after(), info.best_step = t.best_step();
    capi::write_output(out, size, info, "out");
  });
}

int32_t PUNA_CALL puna_trainer_loss(puna_trainer* trainer, uint64_t index, double* out, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    const puna::Trainer& t = box.ready();
    if (index >= t.losses().size())
      fail(Code::argument, "index is " + std::to_string(index) + ", " + std::to_string(t.losses().size()) + " steps were taken");
    capi::required(out, "out") = t.losses()[static_cast<std::size_t>(index)];
  });
}

int32_t PUNA_CALL puna_trainer_run(puna_trainer* trainer, puna_cancel* cancel, puna_error* error) {
  return capi::entry(error, [&] { train_job(trainer, cancel, nullptr, nullptr)->run(); });
}

int32_t PUNA_CALL puna_trainer_job(puna_job** out, puna_trainer* trainer, puna_cancel* cancel, puna_progress_fn progress,
                                   void* progress_user, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = train_job(trainer, cancel, progress, progress_user).release();
  });
}

int32_t PUNA_CALL puna_trainer_save(puna_trainer* trainer, const char* path, const char* type, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) {
    puna::Trainer& t = box.ready();
    capi::required(path, "path");
    if (t.options().method == puna::TrainMethod::lora) {
      if (type) fail(Code::argument, std::string("type is ") + type + ": an adapter is written in f32");
      const std::string_view name = path;
      return name.ends_with(".gguf") ? puna::save_gguf_adapter(*puna::current_adapter(t), path) : puna::save_peft(t, path);
    }
    puna_quantize_options o;
    puna_quantize_options_init(&o, sizeof o);
    o.type = type ? type : "f32";
    capi::write_model_job(t.model().runtime(), puna::trained_source(t), path, &o, true)->run();
  });
}

int32_t PUNA_CALL puna_trainer_save_state(puna_trainer* trainer, const char* path, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) { box.ready().save_state(&capi::required(path, "path")); });
}

int32_t PUNA_CALL puna_trainer_restore(puna_trainer* trainer, const char* path, puna_error* error) {
  return with_trainer(trainer, error, [&](capi::TrainerBox& box) { box.ready().restore(&capi::required(path, "path")); });
}

int32_t PUNA_CALL puna_plan_train(puna_runtime* runtime, const puna_source* source, const puna_model_options* model_options,
                                  const puna_train_options* options, uint64_t budget, uint64_t tokens, puna_train_plan* out, size_t size,
                                  puna_error* error) {
  return capi::entry(error, [&] {
    const std::shared_ptr<const puna::WeightSource> weights = capi::open_weights_of(capi::read_source(source));
    const puna::Config config = puna::make_config(weights->hyperparameters(), weights->name());
    const puna::WeightPlan held = capi::plan_model(*weights, config, model_options);
    const puna::RuntimeRef ref = runtime ? runtime->ref : std::make_shared<puna::Runtime>();
    puna::TrainOptions o = puna::settled(core_options(capi::read_options(options, train_defaults(), "options"), config), config, ref->tasks.width());
    puna::TrainForecast f = puna::forecast_training(config, held, o);
    f.save_bytes = save_bytes(weights, config, o);
    puna_train_plan plan{};
    plan.memory_bytes = f.memory(), plan.mapped_bytes = f.mapped_bytes, plan.copied_bytes = f.copied_bytes;
    plan.state_bytes = f.state_bytes, plan.workspace_bytes = f.workspace_bytes + f.save_bytes, plan.disk_bytes = f.checkpoint_bytes;
    plan.parameters = f.parameters;
    plan.fits = budget == 0 || f.memory() <= budget;
    const std::uint64_t step = std::uint64_t{o.length} * o.batch * o.accumulate;
    plan.steps = o.steps ? o.steps : (tokens + step - 1) / step * o.epochs;
    if (const puna::TrainPace pace = plan.fits ? puna::measure_training(ref, config, held, o) : puna::TrainPace{}; pace.pass > 0) {
      plan.seconds_per_step = o.accumulate * pace.pass + pace.update;
      const double part = !o.steps && tokens ? static_cast<double>(tokens) * o.epochs / static_cast<double>(plan.steps * step) : 1;  // full rows
      plan.seconds = static_cast<double>(plan.steps) * (o.accumulate * pace.pass * part + pace.update);
    }
    if (puna::TrainOptions fit = o; !plan.fits && puna::fit_training(config, held, f.save_bytes, budget, fit)) {
      plan.fit_memory_bytes = puna::forecast_training(config, held, fit).memory() + (fit.method == o.method ? f.save_bytes : 0);
      plan.fit_method = static_cast<std::int32_t>(fit.method);
      plan.fit_batch = fit.batch, plan.fit_accumulate = fit.accumulate, plan.fit_length = fit.length, plan.fit_rank = fit.rank;
    }
    capi::write_output(out, size, plan, "out");
  });
}

}  // extern "C"
