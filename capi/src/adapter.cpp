// puna_adapter: LoRA beside a model, and merged into one.
#include "puna/infer/adapter.hpp"

#include "handles.hpp"
#include "puna/io/weight_sink.hpp"
#include "puna/slim/quantize.hpp"
#include "puna/train/save.hpp"
#include "quantize.hpp"
#include "source.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

struct puna_adapter {
  std::shared_ptr<const puna::Adapter> ref;
};

extern "C" {

int32_t PUNA_CALL puna_adapter_open(puna_adapter** out, const puna_model* model, const char* path, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    const puna::Model& m = *capi::required(model, "model").ref;
    *out = new puna_adapter{puna::Adapter::open(&capi::required(path, "path"), m.config(), m.runtime()->memory)};
  });
}

void PUNA_CALL puna_adapter_destroy(puna_adapter* adapter) { delete adapter; }

int32_t PUNA_CALL puna_adapter_save(const puna_adapter* adapter, const char* path, puna_error* error) {
  return capi::entry(error, [&] { puna::save_gguf_adapter(*capi::required(adapter, "adapter").ref, &capi::required(path, "path")); });
}

int32_t PUNA_CALL puna_session_set_adapters(puna_session* session, const puna_adapter* const* adapters, const float* scales,
                                            size_t count, puna_error* error) {
  return capi::entry(error, [&] {
    capi::SessionBox& box = *capi::required(session, "session").box;
    capi::Claim claim(box.busy, "the session");
    std::vector<puna::AdapterUse> uses;
    if (count) capi::required(adapters, "adapters");
    for (size_t i = 0; i < count; ++i) uses.push_back({capi::required(adapters[i], "adapters[i]").ref, scales ? scales[i] : 1.0f});
    box.session.set_adapters(std::move(uses));
  });
}

int32_t PUNA_CALL puna_merge(puna_runtime* runtime, const puna_source* source, const char* const* adapter_paths, const float* scales,
                             size_t count, const char* out_path, const puna_quantize_options* options, puna_quantize_result* out,
                             size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    if (count == 0) fail(Code::argument, "count is 0: nothing to merge");
    capi::required(adapter_paths, "adapter_paths");
    const puna::RuntimeRef ref = runtime ? runtime->ref : std::make_shared<puna::Runtime>();
    std::shared_ptr<const puna::WeightSource> base = capi::open_weights_of(capi::read_source(source));
    const puna::Config config = puna::make_config(base->hyperparameters(), base->name());
    std::vector<puna::AdapterUse> uses;
    for (size_t i = 0; i < count; ++i)
      uses.push_back({puna::Adapter::open(&capi::required(adapter_paths[i], "adapter_paths[i]"), config, ref->memory), scales ? scales[i] : 1.0f});
    const auto job = capi::write_model_job(ref, puna::merged_source(std::move(base), std::move(uses)),
                                           &capi::required(out_path, "out_path"), options, true);
    job->run();
    if (out) capi::write_output(out, size, job->finished_work().quantized(), "out");
  });
}

}  // extern "C"
