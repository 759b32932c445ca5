#include "spm_engine.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <new>

#include "puna/base/status.hpp"

namespace puna {

struct SpmEngine::Impl {
  sentencepiece::SentencePieceProcessor processor;
  std::string name;
};

namespace {

// The paths of its sources on the machine that built this are nobody's business.
std::string without_paths(std::string text) {
  for (std::size_t at = text.find('/'); at != std::string::npos; at = text.find('/', at)) {
    const std::size_t first = text.find_last_of(" \t\n", at);
    const std::size_t begin = first == std::string::npos ? 0 : first + 1;
    const std::size_t last = text.find_last_of('/', std::min(text.find_first_of(" \t\n", at), text.size()));
    text.erase(begin, last + 1 - begin);
    at = begin;
  }
  return text;
}

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
  if (reason.find("bad_alloc") != std::string::npos) fail(Code::memory, name + ": the tokenizer ran out of memory");
  fail(code, name + ": sentencepiece refuses it: " + without_paths(std::move(reason)));
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
