// Quantize, convert, calibrate.
#include "puna/slim/quantize.hpp"

#include "job.hpp"
#include "puna/slim/calibrate.hpp"
#include "quantize.hpp"
#include "source.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace {

puna_quantize_options quantize_defaults() {
  puna_quantize_options o{};
  o.struct_size = sizeof o;
  return o;
}

puna_calibrate_options calibrate_defaults() {
  puna_calibrate_options o{};
  o.struct_size = sizeof o;
  o.context = 512;
  return o;
}

puna::QuantizeOptions core_options(const puna_quantize_options& o, bool requantize = false) {
  if (o.flags & ~(PUNA_QUANTIZE_PURE | PUNA_QUANTIZE_REQUANTIZE | PUNA_QUANTIZE_PACK))
    fail(Code::unsupported, "options.flags is " + std::to_string(o.flags) + ", with bits that this library does not know");
  if (o.threads < 0) fail(Code::argument, "options.threads is " + std::to_string(o.threads));
  puna::QuantizeOptions q;
  q.mix = o.type ? &puna::find_mix(o.type) : nullptr;
  q.pure = (o.flags & PUNA_QUANTIZE_PURE) != 0;
  q.requantize = requantize || (o.flags & PUNA_QUANTIZE_REQUANTIZE) != 0;
  q.pack = (o.flags & PUNA_QUANTIZE_PACK) != 0 ? puna::machine_kernels().pack_rows : 0;
  q.threads = static_cast<std::uint32_t>(o.threads);
  if (o.override_count) capi::required(o.overrides, "options.overrides");
  for (std::size_t i = 0; i < o.override_count; ++i)
    q.overrides.push_back(puna::parse_override(&capi::required(o.overrides[i], "options.overrides[i]")));
  if (o.imatrix) {
    const auto file = capi::open_file(capi::read_source(o.imatrix));
    q.imatrix = puna::read_imatrix(file);
    q.imatrix_name = file->name();
  }
  return q;
}

// Over the file that it is made of, a worse copy would be all that is left.
void check_apart(const puna::WeightSource& source, const std::string& path) {
  for (const auto& file : source.files())
    if (!file->path().empty() && puna::same_file(file->path(), path))
      fail(Code::argument, path + ": is the model that is read; give the output another name");
}

std::unique_ptr<puna::WeightSink> sink_for(const puna::WeightSource& source, const std::string& path, const puna_quantize_options& o) {
  check_apart(source, path);
  if (o.format < PUNA_FORMAT_AUTO || o.format > PUNA_FORMAT_SAFETENSORS)
    fail(Code::argument, "options.format is " + std::to_string(o.format) + ", not a PUNA_FORMAT_ value");
  const bool gguf = o.format == PUNA_FORMAT_GGUF || (o.format == PUNA_FORMAT_AUTO && path.ends_with(".gguf"));
  if (!gguf && (o.flags & PUNA_QUANTIZE_PACK) != 0)
    fail(Code::argument, path + ": only a GGUF can hold packed rows, and safetensors was asked for");
  return gguf ? puna::gguf_sink(path) : puna::hf_sink(path, o.shard_bytes);
}

class QuantizeWork final : public capi::Work {
 public:
  QuantizeWork(puna::RuntimeRef runtime, std::shared_ptr<const puna::WeightSource> source, const std::string& path,
               const puna_quantize_options& o, bool requantize = false)
      : quantizer_(std::move(runtime), source, sink_for(*source, path, o), core_options(o, requantize)) {}
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override { return quantizer_.step(deadline, cancel); }
  capi::WorkProgress progress() const override { return {PUNA_PHASE_WRITE, quantizer_.done(), quantizer_.total()}; }
  puna_quantize_result quantized() const override {
    puna_quantize_result r{};
    r.tensors = static_cast<std::uint32_t>(quantizer_.tensors().size());
    r.bytes = quantizer_.bytes_written();
    r.bits_per_weight = quantizer_.bits_per_weight();
    return r;
  }

 private:
  puna::Quantizer quantizer_;
};

std::unique_ptr<puna_job> quantize_job(puna_runtime* runtime, const puna_source* source, const char* out_path,
                                       const puna_quantize_options* options) {
  const auto o = capi::read_options(options, quantize_defaults(), "options");
  const std::string path = &capi::required(out_path, "out_path");
  puna::RuntimeRef ref = runtime ? runtime->ref : std::make_shared<puna::Runtime>();
  auto work = std::make_unique<QuantizeWork>(std::move(ref), capi::open_weights_of(capi::read_source(source)), path, o);
  return std::make_unique<puna_job>(std::move(work), capi::JobOptions{capi::cancel_of(o.cancel), o.progress, o.progress_user});
}

class CalibrateWork final : public capi::Work {
 public:
  CalibrateWork(std::shared_ptr<const puna::Model> model, std::string_view text, std::string path, const puna::CalibrateOptions& o)
      : path_(std::move(path)), calibration_(std::move(model), text, o) {}
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override {
    if (!calibration_.step(deadline, cancel)) return false;
    puna::write_imatrix(calibration_.result(), path_);
    return true;
  }
  capi::WorkProgress progress() const override { return {PUNA_PHASE_CALIBRATE, calibration_.done(), calibration_.total()}; }

 private:
  std::string path_;
  puna::Calibration calibration_;
};

std::unique_ptr<puna_job> calibrate_job(const puna_model* model, const char* text, std::size_t length, const char* out_path,
                                        const puna_calibrate_options* options) {
  const auto o = capi::read_options(options, calibrate_defaults(), "options");
  if (o.threads < 0) fail(Code::argument, "options.threads is " + std::to_string(o.threads));
  if (length) capi::required(text, "text");
  const puna::CalibrateOptions c{o.context, o.chunks, static_cast<std::uint32_t>(o.threads)};
  auto work = std::make_unique<CalibrateWork>(capi::required(model, "model").ref, std::string_view(text ? text : "", length),
                                              &capi::required(out_path, "out_path"), c);
  return std::make_unique<puna_job>(std::move(work), capi::JobOptions{capi::cancel_of(o.cancel), o.progress, o.progress_user});
}

}  // namespace

namespace puna::capi {

std::unique_ptr<puna_job> write_model_job(RuntimeRef runtime, std::shared_ptr<const WeightSource> source, const std::string& path,
                                          const puna_quantize_options* options, bool requantize) {
  const auto o = read_options(options, quantize_defaults(), "options");
  auto work = std::make_unique<QuantizeWork>(std::move(runtime), std::move(source), path, o, requantize);
  return std::make_unique<puna_job>(std::move(work), JobOptions{cancel_of(o.cancel), o.progress, o.progress_user});
}

}  // namespace puna::capi

extern "C" {

void PUNA_CALL puna_quantize_options_init(puna_quantize_options* options, size_t size) {
  capi::init_options(options, size, quantize_defaults());
}

int32_t PUNA_CALL puna_quantize(puna_runtime* runtime, const puna_source* source, const char* out_path,
                                const puna_quantize_options* options, puna_quantize_result* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const auto job = quantize_job(runtime, source, out_path, options);
    job->run();
    if (out) capi::write_output(out, size, job->finished_work().quantized(), "out");
  });
}

int32_t PUNA_CALL puna_quantize_job(puna_job** out, puna_runtime* runtime, const puna_source* source, const char* out_path,
                                    const puna_quantize_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = quantize_job(runtime, source, out_path, options).release();
  });
}

int32_t PUNA_CALL puna_job_quantized(const puna_job* job, puna_quantize_result* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] { capi::write_output(out, size, capi::required(job, "job").finished_work().quantized(), "out"); });
}

int32_t PUNA_CALL puna_plan_quantize(const puna_source* source, const puna_quantize_options* options, puna_plan* out, size_t size,
                                     puna_error* error) {
  return capi::entry(error, [&] {
    const auto o = capi::read_options(options, quantize_defaults(), "options");
    const auto weights = capi::open_weights_of(capi::read_source(source));
    const puna::QuantizeOptions q = core_options(o);
    const puna::QuantizePlan held = puna::plan_quantize(*weights, q, q.threads ? q.threads : puna::default_threads());
    puna_plan plan{};
    plan.disk_bytes = held.output_bytes;
    if (o.format != PUNA_FORMAT_SAFETENSORS) {  // to the byte
      puna::OutputDescription description;
      puna::describe_output(*weights, held, q, description);
      plan.disk_bytes = puna::gguf_bytes(description.model, description.tensors);
    }
    plan.weight_bytes = held.output_bytes;
    plan.workspace_bytes = held.buffer_bytes;
    plan.memory_bytes = held.buffer_bytes;
    capi::write_output(out, size, plan, "out");
  });
}

void PUNA_CALL puna_calibrate_options_init(puna_calibrate_options* options, size_t size) {
  capi::init_options(options, size, calibrate_defaults());
}

int32_t PUNA_CALL puna_calibrate(const puna_model* model, const char* text, size_t length, const char* out_path,
                                 const puna_calibrate_options* options, puna_error* error) {
  return capi::entry(error, [&] { calibrate_job(model, text, length, out_path, options)->run(); });
}

int32_t PUNA_CALL puna_calibrate_job(puna_job** out, const puna_model* model, const char* text, size_t length, const char* out_path,
                                     const puna_calibrate_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = calibrate_job(model, text, length, out_path, options).release();
  });
}

}  // extern "C"
