#include "run_cli.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace cli_test {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set: run this through ctest");
  return value;
}

// In the child: only calls that are safe after fork.
[[noreturn]] void become(char* const* argv, const std::string& in, const std::string& out, const std::string& err) {
  const int files[3] = {open(in.c_str(), O_RDONLY), open(out.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600),
                        open(err.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600)};
  for (int i = 0; i < 3; ++i)
    if (files[i] < 0 || dup2(files[i], i) < 0) _exit(126);
  signal(SIGINT, SIG_DFL);  // a shell that runs tests in the background leaves it ignored
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

std::string cli_path() { return environment("PUNA_CLI"); }
std::string example_path(const std::string& name) { return environment("PUNA_EXAMPLES") + "/" + name; }

Child::Child(const std::string& program, const Arguments& arguments, std::string_view input) {
  puna_test::write_file(folder_ / "in", input);
  const std::string in = (folder_ / "in").string(), out = (folder_ / "out").string(), err = (folder_ / "err").string();
  std::vector<std::string> texts{program};
  texts.insert(texts.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& text : texts) argv.push_back(text.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) become(argv.data(), in, out, err);
  REQUIRE(pid_ > 0);
}

Child::~Child() {
  if (!ended()) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
}

void Child::interrupt() { kill(pid_, SIGINT); }
void Child::kill_now() { kill(pid_, SIGKILL); }

bool Child::ended() {
  if (!ended_ && waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
  return ended_;
}

bool Child::wait_until_catching() {
  std::error_code ignored;
  const fs::path tests = fs::read_symlink("/proc/self/exe", ignored);
  for (int i = 0; i < 6000 && !ended(); ++i) {
    const std::string process = "/proc/" + std::to_string(pid_);
    std::ifstream status(process + "/status");
    // Until it has become the program, the child catches what doctest does.
    const bool became = fs::read_symlink(process + "/exe", ignored) != tests;
    for (std::string line; became && std::getline(status, line);)
      if (line.rfind("SigCgt:", 0) == 0 && (std::stoull(line.substr(7), nullptr, 16) >> (SIGINT - 1)) & 1) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(status.is_open() ? 10 : 1000));
    if (!status.is_open()) return true;
  }
  return false;
}

bool Child::wait_for_output(std::size_t size) {
  for (int i = 0; i < 6000 && !ended(); ++i) {
    std::error_code missing;
    const auto have = fs::file_size(folder_ / "out", missing);
    if (!missing && have >= size) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

Ran Child::wait() {
  if (!ended_) {
    waitpid(pid_, &status_, 0);
    ended_ = true;
  }
  Ran ran;
  ran.code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  ran.out = puna_test::read_text(folder_ / "out");
  ran.err = puna_test::read_text(folder_ / "err");
  return ran;
}

Ran run(const Arguments& arguments, std::string_view input) { return Child(cli_path(), arguments, input).wait(); }

Json Ran::json() const {
  CAPTURE(out);
  CAPTURE(err);
  REQUIRE(!out.empty());
  CHECK(out.find('\n') == out.size() - 1);
  Json parsed = Json::parse(out, nullptr, false);
  REQUIRE(parsed.is_object());
  return parsed;
}

std::string joined(const std::vector<std::int32_t>& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += (out.empty() ? "" : ",") + std::to_string(id);
  return out;
}

std::vector<std::int32_t> read_ids(const fs::path& path) {
  std::istringstream in(puna_test::read_text(path));
  std::vector<std::int32_t> ids;
  for (std::int32_t id; in >> id;) ids.push_back(id);
  return ids;
}

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> out;
  for (const auto& item : object.items()) out.push_back(item.key());
  return out;
}

void check_refused(const Ran& ran, int code) {
  CHECK(ran.code == code);
  CHECK(ran.out.empty());
  CHECK(ran.err.rfind("puna: ", 0) == 0);
  CHECK(ran.err.find('\n') == ran.err.size() - 1);
}

}  // namespace cli_test
