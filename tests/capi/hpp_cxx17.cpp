// Compiled as C++17 and never run: puna.hpp asks for no more, in two units of one program.
#include <puna.hpp>

#if defined(_MSVC_LANG) ? _MSVC_LANG >= 202002L : __cplusplus >= 202002L
#error "this unit checks C++17"
#endif

std::string everything(const char* path, std::string_view prompt);
std::string everything(const char* path, std::string_view prompt) {
  const puna::Model model(path);
  puna::Session session(model);
  std::string text;
  for (const std::string_view piece : session.generate(prompt)) text += piece;
  session.generate(prompt, {}, [&](std::string_view piece) { text += piece; });
  puna::Sampler sampler;
  sampler.top_p(0.9).temperature(0.6);
  const std::vector<int32_t> ids = model.tokenizer().encode(prompt);
  sampler.accept(sampler.sample(session.feed(ids)));
  return text + model.tokenizer().decode(session.tokens());
}
