#include "puna/infer/probe.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "puna/kernels/probe.hpp"
#include "puna/tensor/pack.hpp"

namespace puna {
namespace {

struct Stretch {
  const std::byte* data;
  std::size_t bytes;
};

constexpr std::size_t stretch_bytes = std::size_t{256} << 10;
constexpr std::size_t buffer_bytes = std::size_t{64} << 20;

template <class F>
void each_matrix(const Params& params, const F& see) {
  for (const BlockParams& b : params.blocks)
    for (const Matrix* w : {&b.wq, &b.wk, &b.wv, &b.wo, &b.gate, &b.up, &b.down}) see(*w);
}

std::uint64_t bytes_of(const Matrix& w) {
  if (w.pack) return packed_bytes(w.type, w.rows, w.columns, w.pack);
  return w.rows ? (std::uint64_t{w.rows} - 1) * w.stride + row_bytes(w.type, w.columns) : 0;
}
std::uint64_t weights_of(const Matrix& w) { return std::uint64_t{w.rows} * w.columns; }

void cut(const std::byte* data, std::uint64_t bytes, std::vector<Stretch>& out) {
  for (std::uint64_t at = 0; at < bytes; at += stretch_bytes)
    out.push_back({data + at, static_cast<std::size_t>(std::min<std::uint64_t>(stretch_bytes, bytes - at))});
}

// Runs tile after tile on all threads for a while; what they did, by done(tile), over the time it took.
template <class Tile, class Done>
double rate(TaskSystem& tasks, double seconds, std::uint32_t round, const Tile& tile, const Done& done) {
  const auto start = Clock::now();
  const Deadline deadline = Deadline::after(seconds * 1e3);
  double sum = 0;
  do {  // no round is empty, so that this ends
    const std::uint32_t ran = tasks.run(round, 0, tasks.width(), tile, deadline);
    for (std::uint32_t i = 0; i < ran; ++i) sum += done(i);
  } while (!deadline.passed());
  return sum / std::max(std::chrono::duration<double>(Clock::now() - start).count(), 1e-9);
}

double peak(TaskSystem& tasks, double seconds, const ProbeKernels::Peak& peak) {
  if (!peak.run) return 0;
  constexpr std::uint32_t rounds = 2000;  // some ten microseconds
  std::atomic<std::uint64_t> sink{0};
  const auto tile = [&](std::uint32_t, std::uint32_t) { sink.fetch_xor(peak.run(rounds), std::memory_order_relaxed); };
  return rate(tasks, seconds, 1u << 16, tile, [&](std::uint32_t) { return double{rounds} * peak.ops; });
}

double read_rate(Runtime& runtime, const Model* model, const ProbeKernels& kernels, double seconds) {
  std::vector<Stretch> stretches;
  Buffer<std::byte> own;
  if (model) {
    each_matrix(model->params(), [&](const Matrix& w) { cut(w.data, bytes_of(w), stretches); });
    cut(model->params().output.data, bytes_of(model->params().output), stretches);
  } else {
    own = Buffer<std::byte>(runtime.memory, buffer_bytes, "a buffer to measure reading", Raw{});
    std::memset(own.data(), 1, buffer_bytes);  // pages that were never written may all be one
    cut(own.data(), buffer_bytes, stretches);
  }
  std::atomic<std::uint64_t> sink{0};
  const auto read = [&](std::uint32_t i, std::uint32_t) {
    sink.fetch_xor(kernels.read(stretches[i].data, stretches[i].bytes), std::memory_order_relaxed);
  };
  return rate(runtime.tasks, seconds, static_cast<std::uint32_t>(stretches.size()), read,
              [&](std::uint32_t i) { return static_cast<double>(stretches[i].bytes); });
}

}  // namespace

ModelWork model_work(const Params& params) {
  ModelWork work;
  each_matrix(params, [&](const Matrix& w) { work.decode_bytes += bytes_of(w), work.layer_weights += weights_of(w); });
  work.decode_bytes += bytes_of(params.output);
  work.head_weights = weights_of(params.output);
  return work;
}

ModelWork model_work(const WeightPlan& plan) {
  ModelWork work;
  for (const WeightPlan::Item& item : plan.items) {
    if (item.info->rows == 1 || (item.part == Part::token_embedding && !plan.tied)) continue;
    const std::uint64_t weights = item.info->rows * item.info->columns;
    work.decode_bytes += item.bytes;
    (part_is_per_layer(item.part) ? work.layer_weights : work.head_weights) += weights;
  }
  return work;
}

MachineSpeed probe_machine(Runtime& runtime, const Model* model, double seconds, ProbeFigures figures) {
  const ProbeKernels& kernels = probe_kernels(machine_kernels().isa);
  MachineSpeed speed;
  speed.threads = runtime.tasks.width();
  speed.int8_instruction = kernels.int8.instruction;
  speed.fp32_instruction = kernels.fp32.instruction;
  if (figures.read) speed.read_bytes = read_rate(runtime, model, kernels, seconds);
  if (figures.int8) speed.int8_ops = peak(runtime.tasks, seconds, kernels.int8);
  if (figures.fp32) speed.fp32_ops = peak(runtime.tasks, seconds, kernels.fp32);
  return speed;
}

}  // namespace puna
