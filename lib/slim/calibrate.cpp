#include "puna/slim/calibrate.hpp"

#include <algorithm>
#include <cmath>

#include "puna/slim/mix.hpp"

namespace puna {
namespace {

constexpr std::uint32_t columns_per_tile = 512;

}  // namespace

Calibration::Calibration(std::shared_ptr<const Model> model, std::string_view text, const CalibrateOptions& options)
    : model_(std::move(model)), options_(options) {
  const auto& tokenizer = model_->tokenizer();
  if (!tokenizer) fail(Code::state, model_->name() + ": the model has no tokenizer, a text cannot be measured");
  if (options_.context < 2 || options_.context > model_->config().context)
    fail(Code::argument, "context is " + std::to_string(options_.context) + ", not in 2 to the model's " + std::to_string(model_->config().context));
  EncodeOptions encode;
  encode.bos = tokenizer->add_bos();
  ids_ = tokenizer->encode(text, encode);
  const auto whole = static_cast<std::uint32_t>(ids_.size() / options_.context);
  if (whole == 0)
    fail(Code::argument, "the text has " + std::to_string(ids_.size()) + " tokens, fewer than one chunk of " + std::to_string(options_.context));
  options_.chunks = options_.chunks == 0 ? whole : std::min(options_.chunks, whole);
  total_ = static_cast<std::uint64_t>(options_.chunks) * options_.context;

  const Params& p = model_->params();
  const auto add = [&](const Matrix& w, Part part, std::uint32_t layer) {
    sums_.emplace(w.data, Sums{gguf_tensor_name(part, layer), std::vector<double>(w.columns), 0});
  };
  for (std::uint32_t i = 0; i < p.blocks.size(); ++i) {
    const BlockParams& b = p.blocks[i];
    add(b.wq, Part::wq, i), add(b.wk, Part::wk, i), add(b.wv, Part::wv, i), add(b.wo, Part::wo, i);
    add(b.gate, Part::gate, i), add(b.up, Part::up, i), add(b.down, Part::down, i);
  }
  SessionOptions session;
  session.context = options_.context;
  session.threads = options_.threads;
  session_ = std::make_unique<Session>(model_, session);
  session_->observe(this);
  begin_chunk();
}

void Calibration::begin_chunk() {
  std::vector<std::int32_t> chunk(ids_.begin() + static_cast<std::ptrdiff_t>(chunk_) * options_.context,
                                  ids_.begin() + static_cast<std::ptrdiff_t>(chunk_ + 1) * options_.context);
  if (model_->tokenizer()->add_bos()) chunk[0] = model_->tokenizer()->bos();
  const std::vector<std::uint8_t> none(chunk.size(), 0);  // no logits
  FeedInput feed;
  feed.ids = chunk;
  feed.count = options_.context;
  feed.want_logits = none;
  session_->truncate(0, 0);
  session_->begin_feed(feed);
}

void Calibration::see(const Compute& c, const Rows& x, std::uint32_t T, std::initializer_list<Product> products) {
  for (const Product& product : products) {
    const auto found = sums_.find(product.w->data);
    if (found == sums_.end()) continue;  // the head
    Sums& s = found->second;
    const std::uint32_t tiles = (x.columns + columns_per_tile - 1) / columns_per_tile;
    c.pass(tiles, static_cast<std::uint64_t>(T) * x.columns, [&](std::uint32_t tile, std::uint32_t) {
      const std::uint32_t end = std::min(x.columns, (tile + 1) * columns_per_tile);
      for (std::uint32_t t = 0; t < T; ++t) {
        const float* row = x.row(t);
        for (std::uint32_t i = tile * columns_per_tile; i < end; ++i) s.squares[i] += static_cast<double>(row[i]) * row[i];
      }
      if (tile == 0) s.rows += T;
    });
  }
}

bool Calibration::step(const Deadline& deadline, const CancelToken* cancel) {
  while (chunk_ < options_.chunks) {
    const bool fed = session_->step_feed(deadline, cancel);
    done_ = static_cast<std::uint64_t>(chunk_) * options_.context + session_->fed();
    if (!fed) return false;
    if (++chunk_ == options_.chunks) break;
    begin_chunk();
    if (deadline.passed()) return false;
  }
  return true;
}

Imatrix Calibration::result() const {
  Imatrix m;
  m.chunks = options_.chunks;
  m.chunk_tokens = options_.context;
  for (const auto& [data, s] : sums_) {
    Imatrix::Entry entry;
    entry.count = s.rows;
    for (const double square : s.squares)
      if (!std::isfinite(square)) fail(Code::format, session_->model().name() + ": gives no numbers: the input of " + s.name + " is not finite");
    for (double square : s.squares) entry.mean_square.push_back(s.rows ? static_cast<float>(square / static_cast<double>(s.rows)) : 1.0f);
    m.entries.emplace(s.name, std::move(entry));
  }
  return m;
}

}  // namespace puna
