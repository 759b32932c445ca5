// A run's state on disk: what a whole step leaves, with a digest over all of it. The random numbers are counters of seed and
// step, so the step is all that they need.
#include <algorithm>
#include <cstring>

#include "puna/io/atomic_file.hpp"
#include "puna/io/file.hpp"
#include "puna/train/trainer.hpp"

namespace puna {
namespace {

struct StateHead {
  char magic[8];
  std::uint32_t phase, losses;
  std::array<std::uint8_t, 32> digest;
  std::uint64_t step, floats;
  double before, after;
  char isa[16];
  double general_before, general_after, best_loss;  // the last three with patience, and the best weights behind the moments
  std::uint64_t best_step, worse;
};
static_assert(sizeof(StateHead) == 136);
constexpr char state_magic[8] = {'P', 'U', 'N', 'A', 'T', 'R', 'N', '1'};

void check_digest(const File& file, std::uint64_t size) {
  std::vector<std::byte> part(std::size_t{1} << 18);
  Sha256 sha;
  for (std::uint64_t at = 0; at < size; at += part.size()) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), size - at));
    file.read(at, part.data(), n);
    sha.update(part.data(), n);
  }
  Sha256::Digest digest;
  file.read(size, digest.data(), digest.size());
  if (digest != sha.finish()) fail(Code::format, file.name() + ": the checkpoint is damaged: its digest does not fit");
}

}  // namespace

void Trainer::save_state(const std::string& path) {
  // An update that was interrupted is finished first: half of the weights are new already.
  if (updating_ && update({}, nullptr)) end_step(false);
  AtomicFile file(path);
  Sha256 sha;
  const auto put = [&](const void* data, std::size_t n) {
    file.write(data, n);
    sha.update(data, n);
  };
  StateHead head{};
  std::memcpy(head.magic, state_magic, sizeof head.magic);
  head.phase = static_cast<std::uint32_t>(phase_);
  head.losses = static_cast<std::uint32_t>(losses_.size());
  head.digest = digest_;
  head.step = step_, head.floats = trainable_.size();
  head.before = before_, head.after = after_;
  head.general_before = general_before_, head.general_after = general_after_;
  head.best_loss = best_loss_, head.best_step = best_step_, head.worse = worse_;
  const std::string_view isa = machine_kernels().name;
  isa.copy(head.isa, sizeof head.isa - 1);
  put(&head, sizeof head);
  put(losses_.data(), losses_.size() * sizeof(double));
  for (const std::span<std::byte> part : trainable_.state()) put(part.data(), part.size());
  if (options_.patience) put(best_.data(), trainable_.size() * sizeof(float));
  const auto digest = sha.finish();
  file.write(digest.data(), digest.size());
  file.commit();
}

void Trainer::restore(const std::string& path) {
  const auto file = File::open(path);
  StateHead head;
  if (file->size() < sizeof head + 32) fail(Code::format, path + ": too short to be a checkpoint of training");
  file->read(0, &head, sizeof head);
  if (std::memcmp(head.magic, state_magic, sizeof head.magic) != 0) fail(Code::format, path + ": is no checkpoint of training");
  if (head.digest != digest_)
    fail(Code::argument, path + ": the checkpoint is of another run: model, rows and options must be the same to go on");
  const std::uint64_t slab = size_product(trainable_.size(), sizeof(float));
  std::uint64_t bytes = options_.patience ? slab : 0;
  for (const std::span<std::byte> part : trainable_.state()) bytes += part.size();
  const std::uint64_t expected = sizeof head + head.losses * sizeof(double) + bytes + 32;
  if (head.floats != trainable_.size() || head.step > steps_ || head.losses != head.step || file->size() != expected ||
      head.phase > static_cast<std::uint32_t>(Phase::general_after))
    fail(Code::format, path + ": step is " + std::to_string(head.step) + ", and " + std::to_string(file->size()) + " bytes are there, not " +
                           std::to_string(expected));
  // Read twice rather than into memory of its own, which a run just within its limit does not have: a damaged file changes nothing.
  check_digest(*file, expected - 32);
  std::vector<double> losses(head.losses);
  std::uint64_t at = sizeof head;
  const auto get = [&](void* to, std::uint64_t n) {
    file->read(at, to, static_cast<std::size_t>(n));
    at += n;
  };
  get(losses.data(), losses.size() * sizeof(double));
  for (const std::span<std::byte> part : trainable_.state()) get(part.data(), part.size());
  if (options_.patience) get(best_.data(), slab);
  std::fill_n(trainable_.gradients(), trainable_.size(), 0.0f);
  losses_ = std::move(losses);
  step_ = head.step, before_ = head.before, after_ = head.after;
  general_before_ = head.general_before, general_after_ = head.general_after;
  best_loss_ = head.best_loss, best_step_ = head.best_step, worse_ = static_cast<std::uint32_t>(head.worse);
  phase_ = static_cast<Phase>(head.phase);
  micro_ = 0, in_pass_ = updating_ = false, sum_ = margins_ = right_ = 0, measured_ = 0, step_tokens_ = 0;
  done_ = total_ / steps_ * step_;
}

}  // namespace puna
