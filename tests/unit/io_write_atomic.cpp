// Output that is whole or not there: what stays on the disk when writing goes wrong.
#include "puna/io/atomic_file.hpp"

#include "io_write_described.hpp"
#include "puna/io/gguf.hpp"

#ifndef _WIN32
#include "../../lib/io/output_calls.hpp"
#include <cerrno>
#include <csignal>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

using namespace puna;
using puna_test::Described;
using puna_test::fixture;
using puna_test::names_in;
using puna_test::path_text;
using puna_test::read_text;
using puna_test::refusal;
using puna_test::TempDir;

namespace fs = std::filesystem;

namespace {

std::string pattern(std::size_t n) {
  std::string text(n, '\0');
  std::uint32_t x = 1;
  for (char& c : text) c = static_cast<char>((x = x * 1664525u + 1013904223u) >> 24);
  return text;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a file appears at commit, whole, and replaces what was there") {
  const TempDir folder;
  const auto path = path_text(folder / "out");
  puna_test::write_file(folder / "out", "old");
  const std::string text = pattern(5'000'000);
  AtomicFile file(path);
  for (std::size_t at = 0, step = 1; at < text.size(); at += step, step = step * 7 % 2'000'003) {
    step = std::min(step, text.size() - at);
    file.write(text.data() + at, step);
    CHECK(file.position() == at + step);
  }
  CHECK(read_text(folder / "out") == "old");
  CHECK(names_in(folder.path()).size() == 2);
  file.commit();
  CHECK(names_in(folder.path()) == Names{"out"});
  CHECK(read_text(folder / "out") == text);
  refusal(Code::state, {path}, [&] { file.write("x", 1), file.commit(); });
  CHECK(read_text(folder / "out") == text);
}

TEST_CASE("pad_to and seek leave zeros where nothing was written") {
  const TempDir folder;
  AtomicFile file(path_text(folder / "out"));
  file.write("abc", 3);
  file.pad_to(8);
  file.pad_to(8);
  CHECK(file.position() == 8);
  file.seek(20);
  file.write("xyz", 3);
  file.seek(10);
  file.write("m", 1);
  file.commit();
  CHECK(read_text(folder / "out") == std::string("abc\0\0\0\0\0\0\0m\0\0\0\0\0\0\0\0\0xyz", 23));
}

TEST_CASE("without commit nothing stays") {
  const TempDir folder;
  {
    AtomicFile file(path_text(folder / "out"));
    file.write("abc", 3);
    AtomicFolder group(path_text(folder / "group"));
    AtomicFile inside(group.member("inside"));
    inside.write("abc", 3);
    AtomicFile finished(group.member("finished"));
    finished.commit();
    CHECK(names_in(folder.path()).size() == 2);
  }
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a folder appears whole, under a free name or in place of an empty folder") {
  const TempDir folder;
  fs::create_directory(folder / "empty");
  for (const std::string name : {"free", "empty", "slash/"}) {
    AtomicFolder group(path_text(folder / name));
    {
      AtomicFile file(group.member("a"));
      file.write("abc", 3);
      file.commit();
    }
    group.commit();
    CHECK(read_text(folder / name / "a") == "abc");
    refusal(Code::state, {"complete"}, [&] { group.commit(); });
  }
  CHECK(names_in(folder.path()) == Names{"empty", "free", "slash"});
  refusal(Code::io, {"free", "not empty"}, [&] { AtomicFolder(path_text(folder / "free")); });
  puna_test::write_file(folder / "file", "x");
  refusal(Code::io, {"file", "is a file"}, [&] { AtomicFolder(path_text(folder / "file")); });
  // Filled by someone else in the meantime: theirs stays.
  AtomicFolder late(path_text(folder / "late"));
  fs::create_directory(folder / "late");
  puna_test::write_file(folder / "late" / "theirs", "x");
  refusal(Code::io, {"late", "not empty"}, [&] { late.commit(); });
  CHECK(names_in(folder / "late") == Names{"theirs"});
}

TEST_CASE("names that cannot be written to are refused at once") {
  const TempDir folder;
  fs::create_directory(folder / "sub");
  refusal(Code::io, {"sub", "a folder"}, [&] { AtomicFile(path_text(folder / "sub")); });
  refusal(Code::io, {"absent", "No such file"}, [&] { AtomicFile(path_text(folder / "absent" / "out")); });
  refusal(Code::io, {"absent", "No such file"}, [&] { AtomicFolder(path_text(folder / "absent" / "out")); });
  refusal(Code::io, {"empty path"}, [] { AtomicFile(""); });
  refusal(Code::io, {"NUL"}, [] { AtomicFile(std::string("a\0b", 3)); });
  CHECK(names_in(folder.path()) == Names{"sub"});
}

#ifndef _WIN32
TEST_CASE("devices and pipes are refused, links are followed, long names fit") {
  const TempDir folder;
  refusal(Code::io, {"/dev/full", "a device"}, [] { AtomicFile("/dev/full"); });
  REQUIRE(::mkfifo(path_text(folder / "pipe").c_str(), 0600) == 0);
  refusal(Code::io, {"pipe", "a pipe"}, [&] { AtomicFile(path_text(folder / "pipe")); });
  fs::create_directory(folder / "real");
  puna_test::write_file(folder / "real" / "file", "old");
  fs::create_symlink("real/file", folder / "link");
  fs::create_symlink("nowhere", folder / "dangling");
  for (const std::string& name : Names{"link", "dangling", std::string(255, 'n')}) {
    AtomicFile file(path_text(folder / name));
    file.write("new", 3);
    file.commit();
    CHECK(read_text(folder / name) == "new");
  }
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(read_text(folder / "real" / "file") == "new");
  CHECK(names_in(folder / "real") == Names{"file"});
  CHECK(names_in(folder.path()).size() == 5);
}

TEST_CASE("a folder that may not be written to is named") {
  if (::geteuid() == 0) PUNA_SKIP("root may write anywhere");
  const TempDir folder;
  fs::create_directory(folder / "closed");
  fs::permissions(folder / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  refusal(Code::io, {"closed", "Permission denied"}, [&] { AtomicFile(path_text(folder / "closed" / "out")); });
  fs::permissions(folder / "closed", fs::perms::owner_all);
}

namespace {

// As a full disk would: no file of this process grows past `bytes`.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    before_signal_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_signal_);
  }

 private:
  rlimit before_{};
  void (*before_signal_)(int) = nullptr;
};

}  // namespace

TEST_CASE("a write that fails names the file and the reason, and leaves what was there") {
  const TempDir folder;
  puna_test::write_file(folder / "out", "old");
  const std::string text = pattern(3'000'000);
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1'000'000}, rlim_t{2'999'999}}) {
    CAPTURE(limit);
    std::string said;
    {
      AtomicFile file(path_text(folder / "out"));
      const FileLimit full(limit);
      said = refusal(Code::io, {"out: cannot write", "File too large"}, [&] {
        for (std::size_t at = 0; at < text.size(); at += 100'000) file.write(text.data() + at, 100'000);
        file.commit();
      });
      refusal(Code::state, {"out"}, [&] { file.commit(); });  // what failed cannot be finished after all
    }
    CHECK(names_in(folder.path()) == Names{"out"});
    CHECK(read_text(folder / "out") == "old");
  }
}

TEST_CASE("a model that does not fit leaves no file, no folder and no temporary name") {
  const TempDir folder;
  for (const std::string name : {"gguf/f32.gguf", "hf/tied"}) {
    const auto source = open_weights(path_text(fixture(name)));
    const Described d(*source);
    for (rlim_t limit : {rlim_t{10}, rlim_t{2'000}, rlim_t{30'000}}) {
      CAPTURE(limit);
      const FileLimit full(limit);
      for (const bool gguf : {true, false})
        refusal(Code::io, {"cannot write", "File too large"}, [&] {
          const auto sink = gguf ? gguf_sink(path_text(folder / "out")) : hf_sink(path_text(folder / "out"), 0);
          puna_test::write_all(*source, d.model, *sink);
        });
      CHECK(names_in(folder.path()).empty());
    }
  }
}

namespace {

// What the next calls do in place of the system's.
struct Disk {
  std::size_t most = SIZE_MAX;  // bytes that a write takes at once
  int interrupted = 0;          // calls that a signal ends, of each kind, before one is let through
  int fsync_error = 0, close_error = 0, rename_error = 0, write_error = 0;
  std::size_t room = SIZE_MAX;  // bytes until write_error
  int writes = 0;
  int left = 0;
};
Disk disk;

bool signal_came() {
  if (disk.left-- > 0) return errno = EINTR, true;
  return disk.left = disk.interrupted, false;
}
int fails(int error) { return error ? (errno = error, -1) : 0; }

const OutputCalls bad_calls{
    [](int file, const void* data, std::size_t n, off_t offset) -> ssize_t {
      if (signal_came()) return -1;
      ++disk.writes;
      n = std::min({n, disk.most, disk.room});
      if (n == 0) return fails(disk.write_error);
      disk.room -= n;
      return system_output_calls.pwrite(file, data, n, offset);
    },
    [](int file) { return signal_came() ? -1 : fails(disk.fsync_error) ? -1 : system_output_calls.fsync(file); },
    [](int file) { return system_output_calls.close(file), fails(disk.close_error); },
    [](const char* from, const char* to) {
      return signal_came() ? -1 : fails(disk.rename_error) ? -1 : system_output_calls.rename(from, to);
    }};

struct BadDisk {
  explicit BadDisk(const Disk& d) {
    disk = d;
    disk.left = d.interrupted;
    output_calls = &bad_calls;
  }
  ~BadDisk() { output_calls = &system_output_calls; }
};

}  // namespace

TEST_CASE("short writes and signals lose no byte") {
  const TempDir folder;
  const std::string text = pattern(3'000'000);
  for (const std::size_t most : {std::size_t{4093}, std::size_t{1} << 20})
    for (const int interrupted : {0, 3}) {
      Disk d;
      d.most = most;
      d.interrupted = interrupted;
      const BadDisk bad(d);
      AtomicFile file(path_text(folder / "out"));
      for (std::size_t at = 0; at < text.size(); at += 300'000) file.write(text.data() + at, 300'000);
      file.commit();
      CHECK(disk.writes >= static_cast<int>(text.size() / most));
      CHECK(read_text(folder / "out") == text);
      CHECK(names_in(folder.path()) == Names{"out"});
    }
}

TEST_CASE("a disk that fails at a write, the flush, the close or the rename: the old file stays, alone") {
  const TempDir folder;
  puna_test::write_file(folder / "out", "old");
  const std::string text = pattern(2'500'000);
  struct Case {
    Disk disk;
    const char *what, *reason;
  };
  std::vector<Case> cases(6);
  cases[0] = {{}, "cannot write", "No space left"}, cases[0].disk.room = 1'000'001, cases[0].disk.write_error = ENOSPC;
  cases[1] = {{}, "cannot write", "No space left"}, cases[1].disk.room = 2'400'000;  // takes nothing and says nothing
  cases[2] = {{}, "cannot flush", "No space left"}, cases[2].disk.fsync_error = ENOSPC;
  cases[3] = {{}, "cannot flush", "Input/output error"}, cases[3].disk.fsync_error = EIO;
  cases[4] = {{}, "cannot close", "quota"}, cases[4].disk.close_error = EDQUOT;
  cases[5] = {{}, "in its place", "No space left"}, cases[5].disk.rename_error = ENOSPC;
  for (const Case& c : cases) {
    CAPTURE(std::string(c.what));
    {
      const BadDisk bad(c.disk);
      AtomicFile file(path_text(folder / "out"));
      refusal(Code::io, {"out", c.what, c.reason}, [&] {
        file.write(text.data(), 100);
        file.write(text.data() + 100, text.size() - 100);
        file.commit();
      });
      refusal(Code::state, {"out"}, [&] { file.commit(); });
    }
    CHECK(names_in(folder.path()) == Names{"out"});
    CHECK(read_text(folder / "out") == "old");
    // A whole model, in either container.
    const auto source = open_weights(path_text(fixture("gguf/f32.gguf")));
    const Described d(*source);
    Disk small = c.disk;
    if (small.room != SIZE_MAX) small.room = 5000;
    for (const bool gguf : {true, false}) {
      const BadDisk bad(small);
      refusal(Code::io, {c.what, c.reason}, [&] {
        puna_test::write_all(*source, d.model, *(gguf ? gguf_sink(path_text(folder / "out")) : hf_sink(path_text(folder / "dir"), 0)));
      });
      CHECK(names_in(folder.path()) == Names{"out"});
      CHECK(read_text(folder / "out") == "old");
    }
  }
}

#ifdef __linux__
TEST_CASE("a full disk is called one") {
  const TempDir folder;
  const auto disk = folder / "disk";
  fs::create_directory(disk);
  if (::mount("none", path_text(disk).c_str(), "tmpfs", 0, "size=64k") != 0) PUNA_SKIP("no right to mount a small disk");
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{path_text(disk)};
  const std::string text = pattern(100'000);
  refusal(Code::io, {"disk/out: cannot write", "No space left on device"}, [&] {
    AtomicFile file(path_text(disk / "out"));
    file.write(text.data(), text.size());
    file.commit();
  });
  const auto source = open_weights(path_text(fixture("hf/gqa_sharded")));
  const Described d(*source);
  for (const std::uint64_t shard_bytes : {0, 20000})
    refusal(Code::io, {"No space left on device"}, [&] {
      puna_test::write_all(*source, d.model, *hf_sink(path_text(disk / "model"), shard_bytes));
    });
  CHECK(names_in(disk).empty());
}
#endif
#endif

TEST_CASE("a sink that is left or misused leaves nothing") {
  const TempDir folder;
  const auto source = open_weights(path_text(fixture("hf/tied")));
  const Described d(*source);
  const auto tensors = puna_test::tensors_of(*source);
  const std::byte some[64] = {};
  for (const bool gguf : {true, false}) {
    const auto make = [&] { return gguf ? gguf_sink(path_text(folder / "out")) : hf_sink(path_text(folder / "out"), 0); };
    {
      const auto sink = make();
      sink->begin(d.model, tensors);
      sink->write(some, sizeof some);
      refusal(Code::internal, {"before all rows"}, [&] { sink->finish(); });
    }
    {
      const auto sink = make();
      refusal(Code::internal, {"before begin"}, [&] { sink->write(some, 1); });
      sink->begin(d.model, tensors);
      puna_test::pour(*source, tensors, *sink);
      refusal(Code::internal, {"more rows"}, [&] { sink->write(some, 1); });
    }
    auto wrong = tensors;
    wrong[0].type = DType::q4_k;
    wrong[0].columns = 32;
    refusal(gguf ? Code::internal : Code::unsupported, {}, [&] { make()->begin(d.model, wrong); });
    wrong = tensors;
    wrong[0].rows = std::uint64_t{1} << 62;
    refusal(Code::internal, {"more bytes"}, [&] { make()->begin(d.model, wrong); });
    CHECK(names_in(folder.path()).empty());
  }
}
