// puna_source, puna_model, puna_plan, puna_listing.
#include "puna/infer/model.hpp"

#include "border.hpp"
#include "job.hpp"
#include "puna/infer/probe.hpp"
#include "puna/infer/synthetic.hpp"
#include "session.hpp"
#include "source.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

namespace puna::capi {

puna_source path_source(const char* path) {
  puna_source s{};
  s.struct_size = sizeof s;
  s.path = path;
  return s;
}

puna_source read_source(const puna_source* source) {
  required(source, "source");
  const puna_source s = read_options(source, path_source(nullptr), "source");
  if ((s.kind == PUNA_SOURCE_PATH || s.kind == PUNA_SOURCE_SYNTHETIC) && (!s.path || !*s.path)) fail(Code::argument, "source.path is empty");
  if (s.kind == PUNA_SOURCE_MEMORY && !s.data) fail(Code::argument, "source.data is NULL");
  if (s.kind == PUNA_SOURCE_CALLBACK && !s.read) fail(Code::argument, "source.read is NULL");
  if (s.kind < PUNA_SOURCE_PATH || s.kind > PUNA_SOURCE_SYNTHETIC)
    fail(Code::argument, "source.kind is " + std::to_string(s.kind) + ", not a PUNA_SOURCE_ value");
  return s;
}

bool is_folder(const puna_source& s) { return s.kind == PUNA_SOURCE_PATH && path_is_directory(s.path); }

std::shared_ptr<const File> open_file(const puna_source& s) {
  switch (s.kind) {
    case PUNA_SOURCE_PATH: return File::open(s.path);
    case PUNA_SOURCE_MEMORY: return File::from_memory({static_cast<const std::byte*>(s.data), size_product(s.size, 1)});
    case PUNA_SOURCE_DESCRIPTOR: return File::from_descriptor(s.descriptor, s.offset, s.size);
    case PUNA_SOURCE_CALLBACK: return File::from_callback(s.user, s.read, s.size);
    default: fail(Code::argument, "a synthetic source is no file");
  }
}

std::unique_ptr<WeightSource> open_weights_of(const puna_source& s) {
  if (s.kind == PUNA_SOURCE_SYNTHETIC) return synthetic_weights(s.path);
  if (s.kind == PUNA_SOURCE_PATH) return open_weights(std::string(s.path));
  return open_weights(open_file(s));
}

}  // namespace puna::capi

namespace {

puna_model_options model_defaults() {
  puna_model_options o{};
  o.struct_size = sizeof o;
  return o;
}

puna::LoadOptions load_options(const puna_source& s, const puna_model_options& o) {
  if (o.flags & ~(PUNA_MODEL_COPY | PUNA_MODEL_NO_TOKENIZER | PUNA_MODEL_AS_STORED | PUNA_MODEL_LOCK))
    fail(Code::unsupported, "options.flags is " + std::to_string(o.flags) + ", with bits that this library does not know");
  puna::LoadOptions load;
  load.copy_all = (o.flags & PUNA_MODEL_COPY) != 0;
  load.lock = (o.flags & PUNA_MODEL_LOCK) != 0;
  load.as_stored = (o.flags & PUNA_MODEL_AS_STORED) != 0;
  load.no_tokenizer = (o.flags & PUNA_MODEL_NO_TOKENIZER) != 0;
  if (s.sha256) load.sha256 = s.sha256;
  if (o.tokenizer) load.tokenizer_file = capi::open_file(capi::read_source(o.tokenizer));
  return load;
}

class LoadWork final : public capi::Work {
 public:
  LoadWork(puna::RuntimeRef runtime, const puna_source& s, puna::LoadOptions options)
      : path_(s.path ? s.path : ""), loader_(make(std::move(runtime), s, std::move(options))) {}
  bool step(const puna::Deadline& deadline, const puna::CancelToken* cancel) override { return loader_.step(deadline, cancel); }
  capi::WorkProgress progress() const override {
    return {loader_.hashing() ? PUNA_PHASE_HASH : PUNA_PHASE_LOAD, loader_.done(), loader_.total()};
  }
  std::shared_ptr<const puna::Model> take_model() override { return loader_.take(); }

 private:
  puna::ModelLoader make(puna::RuntimeRef runtime, puna_source s, puna::LoadOptions options) {
    if (s.path) s.path = path_.c_str();  // the caller's string may be gone when the job runs
    // Pinned bytes and loaded bytes must be the same ones: open once.
    if (!options.sha256.empty() && !capi::is_folder(s) && s.kind != PUNA_SOURCE_SYNTHETIC) {
      auto file = capi::open_file(s);
      return {std::move(runtime), file, [file] { return puna::open_weights(file); }, std::move(options)};
    }
    // A descriptor may be closed by its owner once this call has returned, so it is duplicated now.
    if (s.kind == PUNA_SOURCE_DESCRIPTOR || s.kind == PUNA_SOURCE_MEMORY) {
      auto file = capi::open_file(s);
      return {std::move(runtime), nullptr, [file] { return puna::open_weights(file); }, std::move(options)};
    }
    return {std::move(runtime), nullptr, [s] { return capi::open_weights_of(s); }, std::move(options)};
  }

  std::string path_;
  puna::ModelLoader loader_;
};

std::unique_ptr<puna_job> load_job(puna_runtime* runtime, const puna_source& source, const puna_model_options* options) {
  const auto o = capi::read_options(options, model_defaults(), "options");
  puna::machine_kernels();
  puna::RuntimeRef ref = runtime ? runtime->ref : std::make_shared<puna::Runtime>();
  auto work = std::make_unique<LoadWork>(std::move(ref), source, load_options(source, o));
  return std::make_unique<puna_job>(std::move(work), capi::JobOptions{capi::cancel_of(o.cancel), o.progress, o.progress_user});
}

puna_model* model_handle(std::shared_ptr<const puna::Model> model) {
  auto handle = std::make_unique<puna_model>();
  handle->tokenizer.ref = model->tokenizer();
  handle->ref = std::move(model);
  return handle.release();
}

// Time by the limits of the machine, and the share of them that the kernels usually reach. Unknown stays 0.
void forecast_times(const puna::WeightPlan& held, puna_plan& plan) {
  constexpr double read_share = 0.85, int8_share = 0.4, fp32_share = 0.7, copy_share = 0.3, thin_share = 0.5;
  puna::MachineSpeed speed;
  try {
    puna::Runtime runtime;
    speed = puna::probe_machine(runtime, nullptr, 0.01);
  } catch (const puna::Error&) {
    return;  // no memory to measure with
  } catch (const std::bad_alloc&) {
    return;
  }
  const puna::ModelWork work = puna::model_work(held);
  const double weights = static_cast<double>(work.layer_weights + work.head_weights);
  const double arithmetic = held.quantized && speed.int8_ops > 0 ? speed.int8_ops * int8_share : speed.fp32_ops * fp32_share;
  plan.load_ms = 1e3 * static_cast<double>(plan.copied_bytes) / (speed.read_bytes * copy_share);
  plan.prompt_tokens_per_second = arithmetic / (2.0 * static_cast<double>(work.layer_weights));
  plan.decode_tokens_per_second = std::min(speed.read_bytes * read_share / static_cast<double>(work.decode_bytes),
                                           arithmetic * thin_share / (2 * weights));
}

puna_model_info model_info(const puna::Config& c) {
  puna_model_info info{};
  info.dim = c.D, info.ffn_dim = c.F, info.layers = c.N, info.heads = c.H, info.kv_heads = c.K, info.head_dim = c.E;
  info.vocab = c.V, info.context = c.context;
  info.norm_epsilon = c.norm_epsilon, info.rope_theta = c.rope_theta;
  return info;
}

}  // namespace

puna::WeightPlan puna::capi::plan_model(const WeightSource& weights, const Config& config, const puna_model_options* options) {
  const auto o = read_options(options, model_defaults(), "model_options");
  return plan_weights(weights, config, (o.flags & PUNA_MODEL_COPY) != 0, (o.flags & PUNA_MODEL_AS_STORED) ? 0 : machine_kernels().pack_rows);
}

extern "C" {

void PUNA_CALL puna_source_init(puna_source* source, size_t size) { capi::init_options(source, size, capi::path_source(nullptr)); }

void PUNA_CALL puna_model_options_init(puna_model_options* options, size_t size) {
  capi::init_options(options, size, model_defaults());
}

int32_t PUNA_CALL puna_model_open_source(puna_model** out, puna_runtime* runtime, const puna_source* source,
                                         const puna_model_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const auto job = load_job(runtime, capi::read_source(source), options);
    job->run();
    *out = model_handle(job->finished_work().take_model());
  });
}

int32_t PUNA_CALL puna_model_open(puna_model** out, puna_runtime* runtime, const char* path, const puna_model_options* options,
                                  puna_error* error) {
  const puna_source source = capi::path_source(path);
  return puna_model_open_source(out, runtime, &source, options, error);
}

int32_t PUNA_CALL puna_model_open_job(puna_job** out, puna_runtime* runtime, const puna_source* source,
                                      const puna_model_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = load_job(runtime, capi::read_source(source), options).release();
  });
}

int32_t PUNA_CALL puna_job_model(puna_job* job, puna_model** out, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    *out = model_handle(capi::required(job, "job").finished_work().take_model());
  });
}

void PUNA_CALL puna_model_destroy(puna_model* model) { delete model; }

int32_t PUNA_CALL puna_model_get_info(const puna_model* model, puna_model_info* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const puna::Model& m = *capi::required(model, "model").ref;
    puna_model_info info = model_info(m.config());
    info.tied = m.tied();
    info.parameters = m.parameters();
    info.weight_bytes = m.weight_bytes();
    const puna::ModelWork work = puna::model_work(m.params());
    info.decode_bytes = work.decode_bytes;
    info.layer_weights = work.layer_weights;
    info.head_weights = work.head_weights;
    capi::write_output(out, size, info, "out");
  });
}

size_t PUNA_CALL puna_model_metadata_count(const puna_model* model) { return model ? model->ref->metadata().size() : 0; }

const char* PUNA_CALL puna_model_metadata_key(const puna_model* model, size_t index) {
  return index < puna_model_metadata_count(model) ? model->ref->metadata()[index].key.c_str() : nullptr;
}

const char* PUNA_CALL puna_model_metadata_value(const puna_model* model, size_t index) {
  return index < puna_model_metadata_count(model) ? model->ref->metadata()[index].value.c_str() : nullptr;
}

const char* PUNA_CALL puna_model_metadata_find(const puna_model* model, const char* key) {
  if (!model || !key) return nullptr;
  for (const auto& entry : model->ref->metadata())
    if (entry.key == key) return entry.value.c_str();
  return nullptr;
}

int32_t PUNA_CALL puna_plan_generate(const puna_source* source, const puna_model_options* model_options,
                                     const puna_session_options* session_options, puna_plan* out, size_t size,
                                     puna_error* error) {
  return capi::entry(error, [&] {
    const puna_source s = capi::read_source(source);
    const auto weights = capi::open_weights_of(s);
    const puna::Config config = puna::make_config(weights->hyperparameters(), weights->name());
    const puna::WeightPlan held = capi::plan_model(*weights, config, model_options);
    const auto session = puna::plan_session(config, held.quantized, capi::session_options(session_options),
                                            puna::default_threads());
    puna_plan plan{};
    plan.weight_bytes = held.weight_bytes;
    plan.copied_bytes = held.copied_bytes;
    plan.cache_bytes = session.cache_bytes;
    plan.workspace_bytes = session.workspace_bytes;
    plan.memory_bytes = plan.weight_bytes + plan.cache_bytes + plan.workspace_bytes;
    for (const auto& file : weights->files()) plan.disk_bytes += file->size();
    if (size > offsetof(puna_plan, load_ms)) forecast_times(held, plan);
    capi::write_output(out, size, plan, "out");
  });
}

int32_t PUNA_CALL puna_listing_open(puna_listing** out, const puna_source* source, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const puna_source s = capi::read_source(source);
    if (s.kind != PUNA_SOURCE_PATH) fail(Code::unsupported, "a listing is made of a path");
    *out = new puna_listing{puna::inspect(s.path)};
  });
}

const char* PUNA_CALL puna_listing_format(const puna_listing* listing) { return listing ? listing->listing.format.c_str() : nullptr; }

size_t PUNA_CALL puna_listing_metadata_count(const puna_listing* listing) { return listing ? listing->listing.metadata.size() : 0; }

const char* PUNA_CALL puna_listing_metadata_key(const puna_listing* listing, size_t index) {
  return index < puna_listing_metadata_count(listing) ? listing->listing.metadata[index].key.c_str() : nullptr;
}

const char* PUNA_CALL puna_listing_metadata_value(const puna_listing* listing, size_t index) {
  return index < puna_listing_metadata_count(listing) ? listing->listing.metadata[index].value.c_str() : nullptr;
}

size_t PUNA_CALL puna_listing_tensor_count(const puna_listing* listing) { return listing ? listing->listing.tensors.size() : 0; }

int32_t PUNA_CALL puna_listing_tensor(const puna_listing* listing, size_t index, puna_tensor_info* out, size_t size,
                                      puna_error* error) {
  return capi::entry(error, [&] {
    const auto& tensors = capi::required(listing, "listing").listing.tensors;
    if (index >= tensors.size())
      fail(Code::argument, "index is " + std::to_string(index) + ", there are " + std::to_string(tensors.size()) + " tensors");
    const puna::TensorListing& t = tensors[index];
    puna_tensor_info info{};
    info.rank = static_cast<uint32_t>(t.shape.size());
    info.name = t.name.c_str();
    info.type = t.type.c_str();
    info.shape = t.shape.data();
    info.bytes = t.bytes;
    capi::write_output(out, size, info, "out");
  });
}

int32_t PUNA_CALL puna_listing_model_info(const puna_listing* listing, puna_model_info* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const puna::Listing& l = capi::required(listing, "listing").listing;
    if (!l.hyperparameters) fail(Code::unsupported, "the file is not a Llama that this library could load");
    puna_model_info info = model_info(puna::make_config(*l.hyperparameters, l.format));
    for (const auto& t : l.tensors) {
      uint64_t count = 1;
      for (uint64_t n : t.shape) count = puna::checked_mul(count, n).value_or(0);
      info.parameters += count;
      info.weight_bytes += t.bytes;
    }
    info.tied = l.tied;
    capi::write_output(out, size, info, "out");
  });
}

void PUNA_CALL puna_listing_destroy(puna_listing* listing) { delete listing; }

}  // extern "C"
