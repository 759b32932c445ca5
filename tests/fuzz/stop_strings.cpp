// Stop strings and text from anywhere: what is shown never depends on how the text was cut.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/infer/stop.hpp"

// Input: lines. The first holds cut lengths, one byte each; then stop strings up to an empty line; then the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> stops;
  std::size_t at = input.find('\n');
  const std::string cuts = input.substr(0, at);
  while (at != std::string::npos && ++at < input.size() && input[at] != '\n') {
    const std::size_t end = input.find('\n', at);
    stops.push_back(input.substr(at, end == std::string::npos ? end : end - at));
    at = end;
  }
  const std::string text = at == std::string::npos || at >= input.size() ? "" : input.substr(at + 1);
  try {
    puna::StopMatcher whole(stops), pieces(stops);
    std::string expected, shown;
    whole.feed(text, expected);
    whole.flush(expected);
    std::size_t from = 0;
    for (std::size_t i = 0; from < text.size(); ++i) {
      const std::size_t n = cuts.empty() ? 1 : static_cast<unsigned char>(cuts[i % cuts.size()]) % 8 + (i >= cuts.size());
      pieces.feed(std::string_view(text).substr(from, n), shown);
      from += n;
    }
    pieces.flush(shown);
    if (shown != expected || pieces.found() != whole.found()) std::abort();
    if (whole.found() >= 0 && text.compare(expected.size(), stops[whole.found()].size(), stops[whole.found()]) != 0) std::abort();
  } catch (const puna::Error&) {
  }
  return 0;
}
