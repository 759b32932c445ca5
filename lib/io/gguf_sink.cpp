// GGUF v3, laid out as llama.cpp does: tensors one after the other, each padded to the alignment.
#include "gguf_layout.hpp"
#include "puna/base/status.hpp"
#include "puna/io/atomic_file.hpp"
#include "puna/io/weight_sink.hpp"

namespace puna {
namespace {

class GgufSink final : public WeightSink {
 public:
  explicit GgufSink(const std::string& path) : path_(path) {}

  void begin(const ModelDescription& model, std::span<const SinkTensor> tensors) override {
    if (file_) fail(Code::internal, path_ + ": begun twice");
    layout_ = io::gguf_layout(model, tensors);
    file_ = std::make_unique<AtomicFile>(path_);
    file_->write(layout_.header.data(), layout_.header.size());
    layout_.header = std::string();
  }

  void write(const std::byte* rows, std::size_t bytes) override {
    if (!file_) fail(Code::internal, path_ + ": rows before begin");
    while (bytes != 0) {
      if (tensor_ == layout_.bytes.size()) fail(Code::internal, path_ + ": more rows than were announced");
      const std::uint64_t missing = layout_.bytes[tensor_] - done_;
      const std::size_t step = missing < bytes ? static_cast<std::size_t>(missing) : bytes;
      file_->write(rows, step);
      rows += step;
      bytes -= step;
      done_ += step;
      if (done_ != layout_.bytes[tensor_]) continue;
      file_->pad_to(layout_.alignment);
      ++tensor_;
      done_ = 0;
    }
  }

  void finish() override {
    if (!file_ || tensor_ != layout_.bytes.size() || file_->position() != layout_.size)
      fail(Code::internal, path_ + ": finished before all rows were there");
    file_->commit();
  }

  std::uint64_t bytes_written() const override { return file_ ? file_->position() : 0; }

 private:
  std::string path_;
  io::GgufLayout layout_;
  std::unique_ptr<AtomicFile> file_;
  std::size_t tensor_ = 0;
  std::uint64_t done_ = 0;
};

}  // namespace

std::unique_ptr<WeightSink> gguf_sink(const std::string& path) { return std::make_unique<GgufSink>(path); }

}  // namespace puna
