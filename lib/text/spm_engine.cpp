#include "spm_engine.hpp"

#include <sentencepiece_processor.h>

#include <new>

#include "puna/base/status.hpp"

namespace puna {

struct SpmEngine::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string name;
};

namespace {

// Its own dying paths are exceptions by the way we compile it; nothing of it passes this border as anything but Error.
template <class Work>
void guarded(const std::string& name, Code code, Work work) {
  std::string reason;
  try {
    const auto status = work();
    if (status.ok()) return;
    reason = status.ToString();
  } catch (const std::bad_alloc&) {
    fail(Code::memory, name + ": the tokenizer ran out of memory");
  } catch (const std::exception& error) {
    reason = error.what();
  }
  fail(code, name + ": sentencepiece refuses it: " + reason);
}

}  // namespace

SpmEngine::SpmEngine(const std::string& proto, const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->name = name;
  guarded(name, Code::format, [&] { return impl_->processor.LoadFromSerializedProto(proto); });
}

SpmEngine::~SpmEngine() = default;

void SpmEngine::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  std::vector<int> found;
  guarded(impl_->name, Code::internal, [&] {
    return impl_->processor.Encode({text.data(), text.size()}, &found);
  });
  ids.insert(ids.end(), found.begin(), found.end());
}

std::string SpmEngine::decode(const std::vector<std::int32_t>& ids) const {
  std::string text;
  guarded(impl_->name, Code::internal, [&] { return impl_->processor.Decode(ids, &text); });
  return text;
}

}  // namespace puna
