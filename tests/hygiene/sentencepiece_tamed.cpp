// The sentencepiece we build neither prints nor ends the process. POSIX only where it looks at the streams.
#include <sentencepiece_processor.h>

#include <stdexcept>
#include <string>

#include "support.hpp"

#if defined(__unix__)
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace {
// Sends stdout and stderr to a file for as long as it lives.
class Captured {
public:
  explicit Captured(const std::filesystem::path& file) {
    std::fflush(nullptr);
    for (int i = 0; i < 2; ++i) saved_[i] = dup(i + 1);
    const int out = open(file.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    for (int i = 0; i < 2; ++i) dup2(out, i + 1);
    close(out);
  }
  ~Captured() {
    std::fflush(nullptr);
    for (int i = 0; i < 2; ++i) {
      dup2(saved_[i], i + 1);
      close(saved_[i]);
    }
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

private:
  int saved_[2];
};
}  // namespace
#endif

namespace sentencepiece::error {
void Abort();
void Exit(int);
}  // namespace sentencepiece::error

TEST_CASE("sentencepiece refuses a bad model with a status, and prints nothing") {
  const puna_test::TempDir folder;
  bool refused = false;
  std::string said;
  {
#if defined(__unix__)
    const Captured captured(folder / "output");
#endif
    for (const std::string& proto : {std::string("not a model"), std::string(1000, '\xff'), std::string()}) {
      sentencepiece::SentencePieceProcessor processor;
      refused = !processor.LoadFromSerializedProto(proto).ok();
      std::vector<int> ids;
      refused = refused && !processor.Encode("text", &ids).ok();
      if (!refused) break;
    }
  }
  CHECK(refused);
#if defined(__unix__)
  CHECK(puna_test::read_text(folder / "output") == "");
#endif
}

TEST_CASE("sentencepiece's ways to end the process throw instead") {
  CHECK_THROWS_AS(sentencepiece::error::Abort(), std::runtime_error);
  CHECK_THROWS_AS(sentencepiece::error::Exit(1), std::runtime_error);
}
