// The one door to sentencepiece. Private: only spm_engine.cpp sees its headers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace puna {

class SpmEngine {
 public:
  // proto: built by build_model_proto. What sentencepiece refuses is Error(format) with its reason.
  SpmEngine(const std::string& proto, const std::string& name);
  ~SpmEngine();
  SpmEngine(const SpmEngine&) = delete;
  SpmEngine& operator=(const SpmEngine&) = delete;

  void encode(std::string_view text, std::vector<std::int32_t>& ids) const;  // appends
  std::string decode(const std::vector<std::int32_t>& ids) const;            // for tests: ours must equal it

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace puna
