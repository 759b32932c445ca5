#include "puna/io/file.hpp"

#include <algorithm>
#include <cstring>

#include "gguf_builder.hpp"
#include "puna/io/printable.hpp"
#include "puna/io/reader.hpp"
#include "refusal.hpp"
#include "support.hpp"

#ifndef _WIN32
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

using namespace puna;
using puna_test::refusal;

namespace {

std::string utf8(const std::filesystem::path& path) {
  const auto text = path.u8string();
  return {text.begin(), text.end()};
}

std::string contents(const File& file) {
  std::string all(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, all.data(), all.size());
  return all;
}

std::int32_t read_text(void* user, std::uint64_t offset, void* dst, std::size_t n) {
  const auto* text = static_cast<const std::string*>(user);
  if (offset >= 1000) return 42;
  std::memcpy(dst, text->data() + offset, n);
  return 0;
}

#ifdef __linux__
std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}
#endif

}  // namespace

TEST_CASE("a file is the same bytes by path, memory, descriptor, callback and slice") {
  const puna_test::TempDir folder;
  std::string text;
  for (int i = 0; i < 10000; ++i) text += static_cast<char>(i * 31 + i / 256);
  const auto path = folder / "file.bin";
  puna_test::write_file(path, text);

  const auto mapped = File::open(utf8(path));
  CHECK(mapped->size() == text.size());
  REQUIRE(mapped->data() != nullptr);
  CHECK(std::memcmp(mapped->data(), text.data(), text.size()) == 0);
  CHECK(contents(*mapped) == text);
  CHECK(mapped->path() == utf8(path));

  const auto memory = File::from_memory({reinterpret_cast<const std::byte*>(text.data()), text.size()});
  CHECK(contents(*memory) == text);
  CHECK(static_cast<const void*>(memory->data()) == text.data());
  CHECK(memory->path().empty());

  const auto callback = File::from_callback(&text, read_text, text.size());
  CHECK(callback->data() == nullptr);
  std::byte middle[100];
  callback->read(500, middle, 100);
  CHECK(std::memcmp(middle, text.data() + 500, 100) == 0);

  for (const auto& file : {mapped, memory}) {
    const auto part = File::slice(file, 4097, 1000, "part");
    CHECK(part->data() == file->data() + 4097);
    CHECK(contents(*part) == text.substr(4097, 1000));
    CHECK(contents(*File::slice(part, 10, 20, "part of part")) == text.substr(4107, 20));
  }
}

TEST_CASE("a read is bounded by the file, whatever its kind") {
  std::string text(100, 'x');
  const auto memory = File::from_memory({reinterpret_cast<const std::byte*>(text.data()), text.size()}, "bytes");
  const auto callback = File::from_callback(&text, read_text, text.size(), "calls");
  char to[200];
  for (const auto& file : {memory, callback, File::slice(memory, 0, 100, "slice")}) {
    file->read(100, to, 0);
    file->read(99, to, 1);
    refusal(Code::format, {file->name(), "100 bytes"}, [&] { file->read(100, to, 1); });
    refusal(Code::format, {file->name(), "18446744073709551615"}, [&] { file->read(~std::uint64_t{0}, to, 2); });
    refusal(Code::format, {file->name()}, [&] { file->read(1, to, ~std::size_t{0}); });
  }
  refusal(Code::format, {"window", "bytes"}, [&] { File::slice(memory, 90, 11, "window"); });
  refusal(Code::format, {"window"}, [&] { File::slice(memory, ~std::uint64_t{0}, 2, "window"); });
  refusal(Code::format, {"window"}, [&] { File::slice(memory, 2, ~std::uint64_t{0}, "window"); });
}

TEST_CASE("a callback's own failure comes out as it went in") {
  std::string text(2000, 'x');
  const auto file = File::from_callback(&text, read_text, text.size(), "calls");
  char to[10];
  try {
    file->read(1500, to, 10);
    FAIL_CHECK("nothing was refused");
  } catch (const Error& e) {
    CHECK(static_cast<int>(e.code()) == static_cast<int>(Code::callback));
    CHECK(e.user_code() == 42);
    CHECK(e.text().find("calls") != std::string::npos);
  }
}

TEST_CASE("what cannot be opened is named with the system's reason") {
  const puna_test::TempDir folder;
  refusal(Code::io, {"nowhere.gguf", "cannot open"}, [&] { File::open(utf8(folder / "nowhere.gguf")); });
  refusal(Code::io, {utf8(folder.path()), "folder"}, [&] { File::open(utf8(folder.path())); });
  puna_test::write_file(folder / "empty", "");
  refusal(Code::io, {"empty", "is empty"}, [&] { File::open(utf8(folder / "empty")); });
  refusal(Code::io, {"empty"}, [&] { File::open(""); });
  refusal(Code::io, {"NUL"}, [&] { File::open(std::string("a\0b", 3)); });
  refusal(Code::io, {"empty"}, [&] { File::from_memory({}); });
  refusal(Code::argument, {"null"}, [&] { File::from_memory({static_cast<const std::byte*>(nullptr), 5}); });
  refusal(Code::argument, {"null"}, [&] { File::from_callback(nullptr, nullptr, 5); });
#ifndef _WIN32
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  refusal(Code::io, {"pipe", "not a regular file"}, [&] { File::open(utf8(folder / "pipe")); });
  refusal(Code::io, {"/dev/null", "character device"}, [&] { File::open("/dev/null"); });
  puna_test::write_file(folder / "closed", "x");
  REQUIRE(::chmod((folder / "closed").c_str(), 0) == 0);
  if (::geteuid() == 0) PUNA_SKIP("root may read any file: the refusal of a file without permission was not seen");
  refusal(Code::io, {"closed", "Permission"}, [&] { File::open(utf8(folder / "closed")); });
#endif
}

TEST_CASE("a path may hold any character") {
  const puna_test::TempDir folder;
  const std::string name = "Größe 模型 \xF0\x9F\xA6\x99.bin";
  std::filesystem::create_directory(folder.path() / std::filesystem::path(std::u8string(u8"Ünter")));
  const std::string path = utf8(folder.path()) + "/Ünter/" + name;
  puna_test::write_file(std::filesystem::path(std::u8string(path.begin(), path.end())), "contents");
  CHECK(path_exists(path));
  CHECK(contents(*File::open(path)) == "contents");
  CHECK(list_folder(path_folder(path)) == std::vector<std::string>{name});
  refusal(Code::io, {"模型"}, [&] { File::open(path + "x"); });
}

TEST_CASE("paths are joined and cut") {
  CHECK(path_join("a", "b") == "a/b");
  CHECK(path_join("a/", "b") == "a/b");
  CHECK(path_join("", "b") == "b");
  CHECK(path_folder("a/b/c") == "a/b");
  CHECK(path_folder("c") == ".");
  CHECK(path_folder("/c") == "/");
  CHECK(path_name("a/b/c") == "c");
  CHECK(path_name("c") == "c");
  const puna_test::TempDir folder;
  puna_test::write_file(folder / "b", "x");
  puna_test::write_file(folder / "a", "x");
  std::filesystem::create_directory(folder / "c");
  CHECK(list_folder(utf8(folder.path())) == std::vector<std::string>{"a", "b"});
  CHECK(path_is_directory(utf8(folder / "c")));
  CHECK_FALSE(path_is_directory(utf8(folder / "a")));
  CHECK_FALSE(path_exists(utf8(folder / "d")));
  refusal(Code::io, {"cannot list"}, [&] { list_folder(utf8(folder / "d")); });
}

#ifndef _WIN32
TEST_CASE("a descriptor gives the range that was asked for and stays the caller's") {
  const puna_test::TempDir folder;
  std::string text;
  for (int i = 0; i < 20000; ++i) text += static_cast<char>(i * 13 + i / 256);
  puna_test::write_file(folder / "file", text);
  const int fd = ::open((folder / "file").c_str(), O_RDONLY);
  REQUIRE(fd >= 0);
  CHECK(contents(*File::from_descriptor(fd, 0, 0)) == text);
  CHECK(contents(*File::from_descriptor(fd, 5000, 0)) == text.substr(5000));
  CHECK(contents(*File::from_descriptor(fd, 4096, 100)) == text.substr(4096, 100));
  CHECK(contents(*File::from_descriptor(fd, 1, 1)) == text.substr(1, 1));
  refusal(Code::io, {"20001 bytes"}, [&] { File::from_descriptor(fd, 0, 20001); });
  refusal(Code::io, {"past its end"}, [&] { File::from_descriptor(fd, 20000, 0); });
  refusal(Code::io, {"past its end"}, [&] { File::from_descriptor(fd, 20000, 1); });
  refusal(Code::io, {}, [&] { File::from_descriptor(fd, ~std::uint64_t{0}, 2); });
  refusal(Code::io, {}, [&] { File::from_descriptor(fd, 2, ~std::uint64_t{0} - 1); });
  const auto kept = File::from_descriptor(fd, 0, 0);
  char c = 0;
  CHECK(::pread(fd, &c, 1, 3) == 1);
  ::close(fd);
  CHECK(contents(*kept) == text);
  refusal(Code::io, {"cannot duplicate"}, [&] { File::from_descriptor(fd, 0, 0); });
  refusal(Code::io, {"cannot duplicate"}, [&] { File::from_descriptor(-1, 0, 0); });
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  refusal(Code::io, {"pipe"}, [&] { File::from_descriptor(ends[0], 0, 10); });
  ::close(ends[0]);
  ::close(ends[1]);
}
#endif

#ifdef __linux__
TEST_CASE("no descriptor and no mapping is left behind, and no child inherits one") {
  const puna_test::TempDir folder;
  puna_test::write_file(folder / "file", "text");
  const std::size_t before = open_descriptors();
  {
    const auto file = File::open(utf8(folder / "file"));
    CHECK(puna_test::read_text("/proc/self/maps").find((folder / "file").string()) != std::string::npos);
    // A device is read, not mapped, so its descriptor is kept.
    const int fd = ::open("/dev/zero", O_RDONLY);
    REQUIRE(fd >= 0);
    const auto device = File::from_descriptor(fd, 0, 100);
    ::close(fd);
    CHECK(device->data() == nullptr);
    CHECK(contents(*device) == std::string(100, '\0'));
    int kept = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      if (std::filesystem::read_symlink(entry.path(), gone) != "/dev/zero") continue;
      ++kept;
      CHECK((::fcntl(std::stoi(entry.path().filename()), F_GETFD) & FD_CLOEXEC) != 0);
    }
    CHECK(kept == 1);
    for (int i = 0; i < 20; ++i) refusal(Code::io, {}, [&] { File::open(utf8(folder.path())); });
  }
  CHECK(open_descriptors() == before);
  CHECK(puna_test::read_text("/proc/self/maps").find((folder / "file").string()) == std::string::npos);
}
#endif

TEST_CASE("the cursor reads the same through a window as in place, and never past the end") {
  std::string text;
  for (std::size_t i = 0; i < 3 * Reader::window_bytes; ++i) text += static_cast<char>(i * 31 + i / 977);
  const auto in_place = File::from_memory({reinterpret_cast<const std::byte*>(text.data()), text.size()}, "bytes");
  const auto window = File::from_callback(
      &text,
      [](void* user, std::uint64_t offset, void* dst, std::size_t n) {
        std::memcpy(dst, static_cast<std::string*>(user)->data() + offset, n);
        return std::int32_t{0};
      },
      text.size(), "calls");
  for (const auto& file : {in_place, window}) {
    Reader r(*file);
    std::size_t at = 0;
    for (std::size_t n = 1; at + n + 8 <= text.size(); n = n * 3 % 40009) {
      CHECK(std::memcmp(r.take(n, "bytes"), text.data() + at, n) == 0);
      at += n;
      std::uint64_t want;
      std::memcpy(&want, text.data() + at, 8);
      CHECK(r.get<std::uint64_t>("number") == want);
      at += 8;
      CHECK(r.position() == at);
    }
    r.seek(text.size() - 3, "end");
    r.set_context("tensor \"x\"");
    refusal(Code::format,
            {file->name(), "tensor \"x\": count", std::to_string(text.size() - 3), "needs 4 bytes", "after 3"},
            [&] { r.get<std::uint32_t>("count"); });
    refusal(Code::format, {"18446744073709551615"}, [&] { r.text(~std::uint64_t{0}, "text"); });
    refusal(Code::format, {"18446744073709551615"}, [&] { r.skip(~std::uint64_t{0}, "gap"); });
    refusal(Code::format, {"past the end"}, [&] { r.seek(text.size() + 1, "section"); });
    CHECK(r.text(3, "text") == text.substr(text.size() - 3));
    CHECK(r.remaining() == 0);
  }
}

TEST_CASE("foreign bytes are shown, never passed on") {
  CHECK(quoted("general.name") == "\"general.name\"");
  CHECK(quoted("a\"b\\c\n\x1b[31m\xff\x7f") == "\"a\\x22b\\x5cc\\x0a\\x1b[31m\\xff\\x7f\"");
  CHECK(quoted("Größe 🦙") == "\"Größe 🦙\"");
  CHECK(quoted(std::string(100, 'x'), 10) == "\"xxxxxxxxxx\"... (100 bytes)");
  CHECK(as_utf8("ok \xC3\xBC \xff\xE2\x82") == "ok ü \uFFFD\uFFFD\uFFFD");
  CHECK(as_utf8(std::string("a\0b", 3)) == "a\uFFFDb");
  CHECK(utf8_length("\xC0\x80") == 0);          // overlong
  CHECK(utf8_length("\xED\xA0\x80") == 0);      // surrogate
  CHECK(utf8_length("\xF4\x90\x80\x80") == 0);  // past U+10FFFF
  CHECK(utf8_length("\xF0\x9F\xA6\x99") == 4);
}
