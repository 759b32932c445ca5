// Running the puna tool as a person does: a process, its streams, its exit status. POSIX.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support.hpp"

namespace cli_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

struct Ran {
  int code = -1;  // 128 + signal where one ended it
  std::string out, err;
  Json json() const;  // of the one line on stdout; fails the test where it is not exactly that
};

// A running child; stdin comes from `input`.
class Child {
 public:
  Child(const std::string& program, const Arguments& arguments, std::string_view input = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void interrupt();  // SIGINT, to this child alone
  void kill_now();   // SIGKILL
  // True once stdout holds `size` bytes; false when it ended before or nothing came for a minute.
  bool wait_for_output(std::size_t size);
  bool wait_until_catching();  // SIGINT; after a second where the system does not tell
  Ran wait();

 private:
  bool ended();
  puna_test::TempDir folder_;
  int pid_ = -1, status_ = 0;
  bool ended_ = false;
};

std::string cli_path();      // $PUNA_CLI
std::string example_path(const std::string& name);  // in $PUNA_EXAMPLES
Ran run(const Arguments& arguments, std::string_view input = {});

// "1,403,407" of ids.
std::string joined(const std::vector<std::int32_t>& ids);
std::vector<std::int32_t> read_ids(const fs::path& path);
std::vector<std::string> keys(const Json& object);  // sorted

// One line "puna: ..." on stderr and nothing on stdout.
void check_refused(const Ran& ran, int code);

}  // namespace cli_test
