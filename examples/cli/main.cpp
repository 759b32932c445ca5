// puna: the library on the command line. Everything here goes through puna.h.
#include <cstdio>
#include <exception>
#include <new>

#include "cli.hpp"
#include "terminal.hpp"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <fcntl.h>
#include <io.h>
#include <windows.h>
#endif

namespace cli {
namespace {

struct Command {
  const char* name;
  const char* about;
  int (*run)(const Arguments& arguments);
};

constexpr Command commands[] = {
    {"generate", "continue a prompt; text comes as it is made", run_generate},
    {"tokenize", "text to token ids, or back", run_tokenize},
    {"logits", "the model's scores after each of the given tokens, to a .npy file", run_logits},
    {"perplexity", "how well the model predicts a text or documents", run_perplexity},
    {"inspect", "what a GGUF, safetensors or torch file holds, by its header", run_inspect},
    {"plan", "memory that a model will need, before any is taken", run_plan},
    {"quantize", "slim a model by storing its weights in fewer bits", run_quantize},
    {"convert", "a model in another container or float type", run_convert},
    {"calibrate", "an importance matrix from a text, for quantize", run_calibrate},
    {"data", "what a file of training data teaches, and what is wrong with it", run_data},
    {"train", "tune a model on your own texts", run_train},
    {"merge", "write a model with adapters merged into its weights", run_merge},
    {"bench", "speed of prompt and decoding", run_bench},
    {"version", "version of the tool and the library", run_version},
};

void print_help() {
  std::string text = "Llama 2 on the command line.\n\nUsage: puna COMMAND [OPTIONS]\n\nCommands:\n";
  for (const Command& command : commands) {
    std::string name = command.name;
    name.resize(12, ' ');
    text += "  " + name + command.about + "\n";
  }
  text +=
      "\npuna COMMAND --help shows its options\n"
      "--json prints one JSON object on one line; --quiet silences stderr\n"
      "exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C\n";
  write_out(text);
}

int dispatch(const Arguments& arguments) {
  const std::string name = arguments.empty() ? "" : arguments.front();
  if (name == "-h" || name == "--help" || name == "help") {
    print_help();
    return exit_ok;
  }
  if (name == "--version") return run_version({});
  for (const Command& command : commands)
    if (name == command.name) return command.run(Arguments(arguments.begin() + 1, arguments.end()));
  throw Usage(name.empty() ? "no command: puna --help lists them"
                           : "no command '" + printable(name, 60) + "': puna --help lists them");
}

int fail(int code, const std::string& text) {
  say(false, "puna: " + printable(text, 2000));
  return code;
}

int run(const Arguments& arguments) {
  try {
    return dispatch(arguments);
  } catch (const Usage& error) {
    return fail(exit_usage, error.what());
  } catch (const puna::Error& error) {
    if (error.code() == PUNA_E_CANCELLED) return fail(exit_interrupted, "interrupted");
    return fail(exit_failed, error.what());
  } catch (const std::bad_alloc&) {
    return fail(exit_failed, "out of memory");
  } catch (const std::exception& error) {
    return fail(exit_failed, error.what());
  }
}

}  // namespace
}  // namespace cli

#ifdef _WIN32
namespace {
std::string utf8(const wchar_t* text) {
  const int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, nullptr, 0, nullptr, nullptr);
  std::string out(size > 0 ? static_cast<std::size_t>(size) : 1, '\0');
  WideCharToMultiByte(CP_UTF8, 0, text, -1, out.data(), size, nullptr, nullptr);
  out.pop_back();
  return out;
}
}  // namespace

int wmain(int argc, wchar_t** argv) {
  SetConsoleOutputCP(CP_UTF8);
  _setmode(_fileno(stdin), _O_BINARY);
  _setmode(_fileno(stdout), _O_BINARY);
  cli::Arguments arguments;
  for (int i = 1; i < argc; ++i) arguments.push_back(utf8(argv[i]));
  return cli::run(arguments);
}
#else
int main(int argc, char** argv) { return cli::run(cli::Arguments(argv + (argc > 0), argv + argc)); }
#endif
