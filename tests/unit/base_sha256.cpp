// Digests of FIPS 180-2 appendix B and of NIST's SHA-256 short-message vectors (SHA256ShortMsg.rsp, CAVS 11.0).
#include "puna/base/sha256.hpp"

#include <string>
#include <vector>

#include "support.hpp"

namespace {

std::string digest(const std::string& text) {
  puna::Sha256 hash;
  hash.update(text.data(), text.size());
  return puna::to_hex(hash.finish());
}

}  // namespace

TEST_CASE("SHA-256 of the NIST examples") {
  CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(
      digest("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstn"
             "opqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  CHECK(digest(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(digest("\xd3") == "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1");
}

TEST_CASE("SHA-256 does not depend on how the bytes are fed") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (std::size_t length = 0; length <= text.size(); length += 13) {
    const std::string whole = digest(text.substr(0, length));
    for (const std::size_t step : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}}) {
      puna::Sha256 hash;
      for (std::size_t at = 0; at < length; at += step) hash.update(text.data() + at, std::min(step, length - at));
      CHECK(puna::to_hex(hash.finish()) == whole);
    }
  }
}
