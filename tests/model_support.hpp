// Loading models and running them from inside the core, for the golden and thread tests.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "puna/infer/model.hpp"
#include "puna/infer/session.hpp"
#include "support.hpp"

namespace puna_test {

inline puna::RuntimeRef make_runtime(std::uint32_t threads = 1) {
  puna::RuntimeOptions options;
  options.threads = threads;
  return std::make_shared<puna::Runtime>(options);
}

inline std::shared_ptr<const puna::Model> load_model(const fs::path& path, puna::RuntimeRef runtime = make_runtime(),
                                                     puna::LoadOptions options = {}) {
  const std::string name = path.string();
  puna::ModelLoader loader(std::move(runtime), nullptr, [name] { return puna::open_weights(name); }, std::move(options));
  while (!loader.step({}, nullptr)) {
  }
  return loader.take();
}

inline std::vector<std::int32_t> read_ids(const fs::path& path) {
  std::istringstream in(read_text(path));
  std::vector<std::int32_t> ids;
  for (std::int32_t id; in >> id;) ids.push_back(id);
  return ids;
}

inline std::vector<float> read_floats(const fs::path& path) {
  const auto bytes = read_file(path);
  std::vector<float> floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), floats.size() * sizeof(float));
  return floats;
}

// Teacher-forced logits [T][V], `chunk` tokens a pass.
inline std::vector<float> run_logits(puna::Session& session, const std::vector<std::int32_t>& ids, std::uint32_t chunk) {
  std::vector<float> out;
  for (std::size_t at = 0; at < ids.size(); at += chunk) {
    puna::FeedInput feed;
    feed.ids = std::span(ids).subspan(at, std::min<std::size_t>(chunk, ids.size() - at));
    feed.count = static_cast<std::uint32_t>(feed.ids.size());
    const std::vector<std::uint8_t> want(feed.count, 1);
    feed.want_logits = want;
    session.feed(feed);
    for (std::uint32_t i = 0; i < feed.count; ++i) {
      const auto row = session.logits(i);
      out.insert(out.end(), row.begin(), row.end());
    }
  }
  return out;
}

inline std::vector<float> run_logits(const std::shared_ptr<const puna::Model>& model, const std::vector<std::int32_t>& ids,
                                     std::uint32_t chunk = 512, puna::DType cache = puna::DType::f32, std::uint32_t context = 0) {
  puna::SessionOptions options;
  options.context = context ? context : std::max<std::uint32_t>(model->config().context, static_cast<std::uint32_t>(ids.size()));
  options.batch = options.max_logits = chunk;
  options.cache_type = cache;
  puna::Session session(model, options);
  return run_logits(session, ids, chunk);
}

inline float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(std::isfinite(a[i]));
    largest = std::max(largest, std::fabs(a[i] - b[i]));
  }
  return largest;
}

}  // namespace puna_test
