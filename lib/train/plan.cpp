#include "puna/train/plan.hpp"

#include <algorithm>
#include <map>


#include "puna/base/machine.hpp"
#include "puna/base/rng.hpp"
#include "puna/infer/synthetic.hpp"
#include "puna/train/trainer.hpp"
#include "rows.hpp"

namespace puna {
namespace {

std::string megabytes(std::uint64_t bytes) {
  const std::uint64_t tenths = (bytes + 99'999) / 100'000;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MB";
}

// The type that most weights of a layer have.
DType main_type(const WeightPlan& weights) {
  std::map<DType, std::uint64_t> bytes;
  for (const WeightPlan::Item& item : weights.items)
    if (part_is_per_layer(item.part)) bytes[item.type] += item.bytes;
  return std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

std::shared_ptr<const Model> layers_of(const RuntimeRef& runtime, const Config& c, const WeightPlan& weights, std::uint32_t layers, const TrainOptions& o) {
  std::string spec;
  for (const auto& [name, n] : {std::pair{"dim", c.D}, {"layers", layers}, {"heads", c.H}, {"kv_heads", c.K}, {"ffn", c.F}, {"vocab", c.V},
                                {"context", std::max(o.length, 2u)}, {"tied", weights.tied ? 1u : 0u}})
    spec += (spec.empty() ? "" : ",") + std::string(name) + "=" + std::to_string(n);
  spec += ":" + std::string(info(main_type(weights)).name);
  ModelLoader loader(runtime, nullptr, [&] { return synthetic_weights(spec); }, {});
  while (!loader.step({}, nullptr)) {
  }
  return loader.take();
}

// Of one step after a first that warms up.
TrainPace one_step(const RuntimeRef& runtime, const Config& c, const WeightPlan& weights, std::uint32_t layers, TrainOptions o) {
  o.steps = 2, o.batch = o.accumulate = 1, o.pack = false, o.fresh = false, o.objective = TrainObjective::tokens, o.evaluate_every = 0, o.warmup = 0, o.patience = 0;
  Examples rows(1);
  Rng rng(1, layers);
  for (std::uint32_t i = 0; i < o.length; ++i) rows[0].ids.push_back(static_cast<std::int32_t>(rng.next() % c.V));
  rows[0].loss.assign(o.length, 1);
  Trainer trainer(layers_of(runtime, c, weights, layers, o), o, rows, {});
  TrainPace before;
  trainer.on_event = [&](const TrainEvent& e) {
    if (e.step == 1) before = {trainer.seconds(), trainer.update_seconds()};
    return 0;
  };
  while (!trainer.step({}, nullptr)) {
  }
  const double update = trainer.update_seconds() - before.update;
  return {trainer.seconds() - before.pass - update, update / static_cast<double>(trainer.trainable().parameters())};
}

}  // namespace

TrainForecast forecast_training(const Config& config, const WeightPlan& weights, const TrainOptions& o) {
  TrainForecast f;
  f.copied_bytes = weights.copied_bytes;
  f.mapped_bytes = weights.weight_bytes - weights.copied_bytes;
  const TrainState state = train_state(config, weights.tied, o);
  f.state_bytes = state.bytes + state.norms + (o.patience ? state.slab : 0);
  if (o.nf4) f.copied_bytes += Nf4Base::bytes(config);
  f.parameters = state.parameters;
  f.checkpoint_bytes = state.checkpoint_bytes + (o.patience ? state.slab : 0);
  f.workspace_bytes = TrainShape{config, o}.bytes() + RopeTable::bytes(config, o.length);
  return f;
}

bool fit_training(const Config& config, const WeightPlan& weights, std::uint64_t save_bytes, std::uint64_t budget, TrainOptions& options) {
  TrainOptions o = options;
  const auto fits = [&] { return forecast_training(config, weights, o).memory() + save_bytes <= budget; };
  const auto smaller_passes = [&] {
    while (!fits() && o.batch > 1) o.batch = (o.batch + 1) / 2, o.accumulate *= 2;
    while (!fits() && o.length > 64) o.length = std::max(64u, o.length / 2);
    return fits();
  };
  bool found = smaller_passes();
  if (!found && o.method == TrainMethod::full && !o.fresh) {
    o = options;
    o.method = TrainMethod::lora, save_bytes = 0;
    found = smaller_passes();
  }
  while (!found && o.method == TrainMethod::lora && o.rank > 4) o.rank = std::max(4u, o.rank / 2), found = fits();
  if (found) options = o;
  return found;
}

void require_memory(const Model& model, const TrainOptions& o, std::uint64_t save_bytes) {
  const Memory& memory = model.runtime()->memory;
  WeightPlan held;  // what is copied is in the account, with all else that the host has there
  held.tied = model.tied();
  held.copied_bytes = memory.used();
  held.weight_bytes = std::max(model.weight_bytes(), memory.used());
  TrainForecast f = forecast_training(model.config(), held, o);
  f.save_bytes = save_bytes;
  const std::uint64_t machine = physical_memory(), limit = memory.limit();
  const bool limited = limit != 0 && f.counted() > limit;
  if (!limited && (machine == 0 || f.memory() <= machine)) return;
  std::string text = "training needs " + megabytes(limited ? f.counted() : f.memory()) + " of memory: " + megabytes(f.state_bytes) + " for what is trained, " +
                     megabytes(f.workspace_bytes + f.save_bytes) + " for rows, " + megabytes(limited ? f.copied_bytes : f.copied_bytes + f.mapped_bytes) +
                     " that are in use; the " + (limited ? "runtime's limit is " : "machine has ") + megabytes(limited ? limit : machine);
  if (limited) held.weight_bytes = held.copied_bytes;
  if (TrainOptions fit = o; fit_training(model.config(), held, save_bytes, limited ? limit : machine, fit)) {
    const std::uint64_t needed = forecast_training(model.config(), held, fit).memory() + (fit.method == o.method ? save_bytes : 0);
    text += std::string("; ") + (fit.method == o.method ? "" : "LoRA, ") + "batch " + std::to_string(fit.batch) + ", accumulate " + std::to_string(fit.accumulate) +
            ", length " + std::to_string(fit.length) + (fit.method == TrainMethod::lora ? ", rank " + std::to_string(fit.rank) : "") + " needs " + megabytes(needed);
  }
  fail(Code::memory, text);
}

TrainPace measure_training(const RuntimeRef& runtime, const Config& c, const WeightPlan& weights, const TrainOptions& options) {
  constexpr double most_work = 1.5e11;  // operations of a measured step: a second or two
  const auto rows = [&](std::uint32_t length) {
    TrainOptions o = options;
    o.length = length;
    return o;
  };
  const double layer = 2.0 * c.D * (c.q_dim() + c.kv_dim()) + 3.0 * c.D * c.F, head = static_cast<double>(c.D) * c.V;
  const auto length = static_cast<std::uint32_t>(std::clamp(most_work / (6 * (2 * layer + head)), 64.0, static_cast<double>(options.length)));
  try {
    const TrainOptions o = rows(std::min(length, options.length));
    const TrainPace one = one_step(runtime, c, weights, 1, o);
    const TrainPace two = c.N > 1 ? one_step(runtime, c, weights, 2, o) : one;
    const double block = std::max(0.0, two.pass - one.pass), rest = std::max(0.0, one.pass - block);
    const double scale = static_cast<double>(options.length) * options.batch / o.length;
    const std::uint64_t parameters = train_state(c, weights.tied, options).parameters;
    return {scale * (c.N > 1 ? block * c.N + rest : one.pass), two.update * static_cast<double>(parameters)};
  } catch (const Error& error) {
    if (error.code() == Code::memory) return {};
    throw;
  }
}

}  // namespace puna
