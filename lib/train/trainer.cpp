#include "puna/train/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "preference.hpp"
#include "rows.hpp"

namespace puna {
namespace {

constexpr std::size_t chunk_floats = std::size_t{1} << 14;

TrainOptions with_objective(TrainOptions o, bool pairs) {
  if (o.objective == TrainObjective::automatic) o.objective = pairs ? TrainObjective::preference : TrainObjective::tokens;
  return o;
}

TrainOptions of_tokens(TrainOptions o) {
  o.objective = TrainObjective::tokens;
  return o;
}

}  // namespace

TrainOptions settled(TrainOptions o, const Config& config, std::uint32_t width) {
  const auto bad = [](const char* name, const std::string& value, const char* must) {
    fail(Code::argument, std::string("options.") + name + " is " + value + ", " + must);
  };
  const auto positive = [&](const char* name, std::uint64_t v, std::uint64_t most) {
    if (v == 0 || v > most) bad(name, std::to_string(v), ("not in 1 to " + std::to_string(most)).c_str());
  };
  const auto between = [&](const char* name, double v, double low, double high) {
    if (!(v >= low && v <= high)) bad(name, std::to_string(v), ("not in " + std::to_string(low) + " to " + std::to_string(high)).c_str());
  };
  if (o.fresh && o.method != TrainMethod::full) fail(Code::argument, "options.method trains an adapter: from scratch, the whole model is trained");
  if (o.nf4 && o.dora) fail(Code::argument, "options: DoRA on NF4 weights is not there");
  if (o.nf4 && o.method != TrainMethod::lora) fail(Code::argument, "options.method trains the model's own weights: NF4 is what an adapter is trained on");
  if (o.preference() && o.method == TrainMethod::full)
    fail(Code::unsupported, "preferences are trained with an adapter: without it the model is its own reference, a whole model that changes is not");
  if (o.learning_rate == 0) o.learning_rate = o.preference() ? 5e-6 : o.fresh ? 1e-3 : o.method == TrainMethod::full ? 2e-5 : 2e-4;
  positive("rank", o.rank, 4096);
  positive("epochs", o.epochs, 1u << 20);
  positive("batch", o.batch, 1u << 12);
  positive("accumulate", o.accumulate, 1u << 16);
  if (o.length < 2 || o.length > config.context)
    bad("length", std::to_string(o.length), ("not in 2 to the model's context, " + std::to_string(config.context)).c_str());
  between("alpha", o.alpha, 0, 1e6);
  between("dropout", o.dropout, 0, 0.99);
  between("learning_rate", o.learning_rate, 0, 1e3);
  between("final_rate", o.final_rate, 0, 1);
  between("weight_decay", o.weight_decay, 0, 10);
  between("beta1", o.beta1, 0, 0.999999999);
  between("beta2", o.beta2, 0, 0.999999999);
  between("epsilon", o.epsilon, 1e-30, 1);
  between("beta", o.beta, 0, 1e6);
  between("clip", o.clip, 0, 1e9);
  if (o.targets & ~(target_projections | target_head)) bad("targets", std::to_string(o.targets), "with bits that this library does not know");
  o.threads = o.threads == 0 ? width : std::min(o.threads, width);
  return o;
}

namespace {

std::uint64_t step_count(const TrainOptions& o, const Batches& rows) {
  return o.steps ? o.steps : rows.steps_per_epoch() * o.epochs;
}

}  // namespace

double learning_rate(const TrainOptions& o, std::uint64_t step, std::uint64_t steps) {
  if (step < o.warmup) return o.learning_rate * static_cast<double>(step + 1) / o.warmup;
  if (o.schedule == LearningSchedule::constant || steps <= o.warmup) return o.learning_rate;
  const double part = static_cast<double>(step - o.warmup) / static_cast<double>(steps - o.warmup);
  const double left = o.schedule == LearningSchedule::linear ? 1 - part : 0.5 * (1 + std::cos(3.14159265358979323846 * part));
  return o.learning_rate * (o.final_rate + (1 - o.final_rate) * left);
}

Trainer::Trainer(std::shared_ptr<const Model> model, const TrainOptions& options, TrainData rows, TrainData held_out, Examples general)
    : model_(std::move(model)),
      options_(settled(with_objective(options, !rows.rejected.empty()), model_->config(), model_->runtime()->tasks.width())),
      rows_(std::move(rows), options_, model_->config().V, "row"),
      held_out_(std::move(held_out), options_, model_->config().V, "held-out row"),
      general_(std::move(general), of_tokens(options_), model_->config().V, "general row"),
      trainable_(*model_, options_),
      rope_(model_->runtime()->memory, model_->config(), options_.length),
      pass_(model_->runtime()->tasks, options_.threads),
      before_(std::numeric_limits<double>::quiet_NaN()),
      after_(before_),
      general_before_(before_),
      general_after_(before_) {
  if (rows_.rows() == 0) fail(Code::argument, "there are no rows to train on");
  steps_ = step_count(options_, rows_);
  const TrainShape shape{model_->config(), options_};
  scratch_stride_ = shape.scratch();
  slab_ = Buffer<std::byte>(model_->runtime()->memory, shape.bytes(), "training rows", Raw{});
  r_ = shape.carve(slab_.data(), scratch_);
  for (std::uint32_t i = 0; i < trainable_.tensors().size(); ++i)
    for (std::size_t first = 0; first < trainable_.tensors()[i].size(); first += chunk_floats)
      chunk_tensor_.push_back(i), chunk_first_.push_back(first);
  chunk_squares_.resize(chunk_tensor_.size());
  // A token's gradient costs about three times its forward.
  const std::uint64_t between = options_.evaluate_every ? (steps_ - 1) / options_.evaluate_every : 0;
  total_ = 3 * steps_ * (rows_.tokens() / rows_.steps_per_epoch()) + (2 + between) * held_out_.tokens() + 2 * general_.tokens();
  make_digest();
  if (options_.patience) {
    if (held_out_.rows() == 0 || options_.evaluate_every == 0)
      fail(Code::argument, "options.patience is " + std::to_string(options_.patience) + ", but nothing is held out and measured on the way");
    best_ = Buffer<float>(model_->runtime()->memory, trainable_.size(), "best weights", Raw{});
  }
  phase_ = general_.rows() ? Phase::general_before : held_out_.rows() ? Phase::before : Phase::train;
}

void Trainer::make_digest() {
  Sha256 sha;
  const auto put = [&](const auto& v) { sha.update(&v, sizeof v); };
  const TrainOptions& o = options_;
  const Config& c = model_->config();
  for (const std::uint32_t v : {static_cast<std::uint32_t>(o.method), o.rank, o.rank_stabilized ? 1u : 0u, o.dora ? 1u : 0u, o.adam8 ? 1u : 0u, static_cast<std::uint32_t>(o.objective), o.targets,
                                static_cast<std::uint32_t>(o.schedule), o.warmup, o.epochs, o.steps, o.batch, o.accumulate, o.length,
                                o.pack ? 1u : 0u, o.shuffle ? 1u : 0u, o.fresh ? 1u : 0u, o.nf4 ? 1u : 0u, c.V, c.D, c.F, c.N, c.H, c.K, c.E})
    put(v);
  for (const double v : {o.alpha, o.dropout, o.beta, o.learning_rate, o.final_rate, o.weight_decay, o.beta1, o.beta2, o.epsilon, o.clip}) put(v);
  put(o.seed);
  put(o.patience);
  put(o.patience ? o.evaluate_every : 0u);  // else it changes nothing
  for (const Examples* all : {&rows_.examples(), &rows_.rejected(), &held_out_.examples(), &held_out_.rejected(), &general_.examples()}) {
    put(static_cast<std::uint64_t>(all->size()));
    for (const Example& e : *all) {
      put(static_cast<std::uint64_t>(e.ids.size()));
      sha.update(e.ids.data(), e.ids.size() * sizeof(std::int32_t));
      sha.update(e.loss.data(), e.loss.size());
    }
  }
  // The base by its norms and a few rows: a wrong file is noticed without reading all of a large one.
  const Params& p = model_->params();
  for (std::uint32_t r = 0; r < std::min<std::uint32_t>(16, p.embedding.rows); ++r)
    sha.update(p.embedding.row(r), static_cast<std::size_t>(row_bytes(p.embedding.type, p.embedding.columns)));
  for (const BlockParams& b : p.blocks) sha.update(b.attn_norm, c.D * sizeof(float)), sha.update(b.ffn_norm, c.D * sizeof(float));
  const auto digest = sha.finish();
  std::copy(digest.begin(), digest.end(), digest_.begin());
}

bool Trainer::run_pass(const Deadline& deadline, const CancelToken* cancel, bool learn) {
  const double weight = 1.0 / static_cast<double>(std::max<std::uint64_t>(1, learnt_));
  if (!in_pass_) {
    pass_.start(), in_pass_ = true;
    std::fill(batch_.weights.begin(), batch_.weights.end(), static_cast<float>(weight));
  }
  pass_.resume(deadline, cancel);
  const Compute compute{machine_kernels(), pass_, scratch_, scratch_stride_};
  TrainInput in;
  in.ids = batch_.ids.data();
  in.T = static_cast<std::uint32_t>(batch_.ids.size());
  in.segments = {batch_.begin.data(), batch_.end.data()};
  in.wanted = batch_.wanted.data();
  in.targets = batch_.targets.data();
  in.L = static_cast<std::uint32_t>(batch_.wanted.size());
  in.weights = batch_.weights.data();
  if (learn && options_.method == TrainMethod::lora)
    in.dropout = {static_cast<float>(options_.dropout), options_.seed, step_ * options_.accumulate + micro_ + 1};
  const TrainCompute s{compute, model_->config(), rope_, r_, in};
  if (pairs())
    preference_pass(s, trainable_, options_.beta, weight, batch_, learn);
  else
    train_pass(s, trainable_.params(), learn);
  if (pass_.stopped()) return false;
  in_pass_ = false;
  count_pass();
  done_ += in.T * (learn ? 3 : 1);
  return true;
}

void Trainer::count_pass() {
  if (!pairs()) {
    for (std::size_t i = 0; i < batch_.wanted.size(); ++i) sum_ += r_.losses[i];
    return;
  }
  for (std::size_t i = 0; i < batch_.margins.size(); ++i) {
    sum_ += batch_.pair_losses[i];
    margins_ += batch_.margins[i], right_ += batch_.margins[i] > 0;
  }
}

void Trainer::take_preferences(TrainEvent& event, std::uint64_t count) {
  if (pairs()) event.accuracy = right_ / static_cast<double>(count), event.margin = margins_ / static_cast<double>(count);
  margins_ = right_ = 0;
}

// True when all of them are measured.
bool Trainer::measure(const Deadline& deadline, const CancelToken* cancel, const Batches& rows, double& loss) {
  while (micro_ < rows.passes()) {
    if (!in_pass_) rows.fill_plain(micro_, batch_);
    if (!run_pass(deadline, cancel, false)) return false;
    measured_ += pairs() ? batch_.margins.size() : batch_.wanted.size();
    ++micro_;
  }
  loss = sum_ / static_cast<double>(measured_);
  TrainEvent event;
  take_preferences(event, measured_);
  sum_ = 0, measured_ = 0, micro_ = 0;
  event.kind = &rows == &general_ ? TrainEvent::Kind::general : TrainEvent::Kind::evaluation;
  event.loss = loss;
  tell(event);
  return true;
}

// Keeps the weights of the best measurement. True where the run has waited long enough for a better one.
bool Trainer::judge(double loss) {
  if (phase_ == Phase::before || loss < best_loss_) {
    best_loss_ = loss, best_step_ = step_, worse_ = 0;
    std::copy_n(trainable_.weights(), trainable_.size(), best_.data());
    return false;
  }
  return ++worse_ >= options_.patience;
}

void Trainer::take_best() {
  std::copy_n(best_.data(), trainable_.size(), trainable_.weights());
  after_ = best_loss_;
}

// One of the phases that only measure, and what comes after it.
bool Trainer::measure_phase(const Deadline& deadline, const CancelToken* cancel) {
  const bool general = phase_ == Phase::general_before || phase_ == Phase::general_after;
  double loss = 0;
  try {
    if (!measure(deadline, cancel, general ? general_ : held_out_, loss)) return false;
  } catch (const Error& error) {
    if (error.code() != Code::callback) throw;
    end_measure(loss);
    throw;
  }
  end_measure(loss);
  return true;
}

void Trainer::end_measure(double loss) {
  const Phase end = general_.rows() ? Phase::general_after : Phase::finished;
  switch (phase_) {
    case Phase::general_before: general_before_ = loss, phase_ = held_out_.rows() ? Phase::before : Phase::train; return;
    case Phase::general_after: general_after_ = loss, phase_ = Phase::finished; return;
    case Phase::after: after_ = loss; break;
    case Phase::before: before_ = loss; break;
    default: break;
  }
  const bool stop = options_.patience && judge(loss);
  if (phase_ == Phase::after) {
    if (options_.patience && best_step_ != step_) take_best();
    phase_ = end;
  } else if (stop) {
    take_best();
    phase_ = end;
  } else {
    phase_ = Phase::train;
  }
}

// True when a whole step is done.
bool Trainer::train_some(const Deadline& deadline, const CancelToken* cancel) {
  if (micro_ == 0 && !in_pass_ && !updating_) learnt_ = rows_.learnt_in(step_);
  while (micro_ < rows_.passes_in(step_)) {
    if (!in_pass_) rows_.fill(step_, micro_, batch_);
    if (!run_pass(deadline, cancel, true)) return false;
    step_tokens_ += batch_.ids.size();
    ++micro_;
  }
  const auto start = Clock::now();
  const bool done = update(deadline, cancel);
  update_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  return done;
}

double Trainer::norm() const {
  double sum = 0;
  for (const double s : chunk_squares_) sum += s;
  return std::sqrt(sum);
}

// AdamW with decoupled decay, on gradients that are clipped by their norm; they are zero afterwards.
bool Trainer::update(const Deadline& deadline, const CancelToken* cancel) {
  if (!updating_) pass_.start(), updating_ = true;
  pass_.resume(deadline, cancel);
  const auto chunks = static_cast<std::uint32_t>(chunk_tensor_.size());
  const auto part = [&](std::uint32_t chunk) {
    const Trained& t = trainable_.tensors()[chunk_tensor_[chunk]];
    return std::pair{t.offset + chunk_first_[chunk], std::min(chunk_floats, t.size() - chunk_first_[chunk])};
  };
  pass_(chunks, trainable_.size(), [&](std::uint32_t chunk, std::uint32_t) {
    const auto [first, n] = part(chunk);
    chunk_squares_[chunk] = square_sum(trainable_.gradients() + first, n);
  });
  AdamStep adam;
  const double length = norm();
  adam.scale = options_.clip > 0 ? static_cast<float>(std::min(1.0, options_.clip / (length + 1e-6))) : 1.0f;
  adam.rate = learning_rate(options_, step_, steps_);
  adam.beta1 = options_.beta1, adam.beta2 = options_.beta2, adam.epsilon = options_.epsilon;
  adam.step = step_ + 1;
  pass_(chunks, trainable_.size() * 16, [&](std::uint32_t chunk, std::uint32_t) {
    const auto [first, n] = part(chunk);
    AdamStep a = adam;
    a.decay = trainable_.tensors()[chunk_tensor_[chunk]].decays() ? options_.weight_decay : 0;
    trainable_.update(a, first, n);
  });
  if (pass_.stopped()) return false;
  updating_ = false;
  return true;
}

void Trainer::tell(TrainEvent event) {
  event.step = step_;
  event.steps = steps_;
  event.epoch = static_cast<double>(step_) / static_cast<double>(rows_.steps_per_epoch());
  if (trained_ != 0 && seconds_ > 0) {
    event.tokens_per_second = static_cast<double>(trained_) / seconds_;
    event.seconds_left = static_cast<double>(total_ > done_ ? total_ - done_ : 0) / 3.0 / event.tokens_per_second;
  }
  event.memory = model_->runtime()->memory.used();
  if (!on_event) return;
  if (const std::int32_t code = on_event(event)) throw Error(Code::callback, "the callback stopped the training", code);
}

void Trainer::end_step(bool told) {
  TrainEvent event;
  event.loss = sum_ / static_cast<double>(learnt_);
  event.rate = learning_rate(options_, step_, steps_);
  event.gradient_norm = norm();
  event.tokens = step_tokens_;
  take_preferences(event, learnt_);
  losses_.push_back(event.loss);
  trained_ += step_tokens_;
  sum_ = 0, micro_ = 0, step_tokens_ = 0;
  if (++step_ == steps_) phase_ = held_out_.rows() ? Phase::after : general_.rows() ? Phase::general_after : Phase::finished;
  else if (held_out_.rows() && options_.evaluate_every && step_ % options_.evaluate_every == 0) phase_ = Phase::between;
  if (!std::isfinite(event.loss))
    fail(Code::state, "the loss of step " + std::to_string(step_) + " is not finite: a smaller learning rate may help");
  if (!state_path_.empty() && state_every_ && (step_ % state_every_ == 0 || step_ == steps_)) save_state(state_path_);
  if (told) tell(event);
}

bool Trainer::step(const Deadline& deadline, const CancelToken* cancel) {
  while (phase_ != Phase::finished) {
    if (cancel && cancel->tripped()) fail(Code::cancelled, "training was cancelled");
    if (phase_ == Phase::train) {
      const auto start = Clock::now();
      const bool whole = train_some(deadline, cancel);
      seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
      if (whole) end_step();
    } else {
      measure_phase(deadline, cancel);
    }
    if (phase_ != Phase::finished && deadline.passed()) return false;
  }
  return true;
}

}  // namespace puna
