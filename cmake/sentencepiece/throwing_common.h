// Force-included before every sentencepiece source. It takes the place of sentencepiece's common.h (whose guard it
// defines), because that one prints to stderr and ends the process: a library inside someone's program may do neither.
// CHECK and LOG(FATAL) throw from an operator, not from a destructor as the original does, so that the exception
// can be caught at our border. Serves 0.1.97 and 0.2.x.
#ifndef COMMON_H_
#define COMMON_H_

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "config.h"
#include "third_party/absl/strings/string_view.h"

#if defined(_WIN32) && !defined(__CYGWIN__)
#define OS_WIN
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#define OS_UNIX
#endif

typedef int8_t int8;
typedef int16_t int16;
typedef int32_t int32;
typedef int64_t int64;
typedef uint8_t uint8;
typedef uint16_t uint16;
typedef uint32_t uint32;
typedef uint64_t uint64;
typedef uint32_t char32;

static constexpr uint8_t kuint8max = UINT8_MAX;
static constexpr uint16_t kuint16max = UINT16_MAX;
static constexpr uint32_t kuint32max = UINT32_MAX;
static constexpr uint64_t kuint64max = UINT64_MAX;
static constexpr int8_t kint8min = INT8_MIN;
static constexpr int8_t kint8max = INT8_MAX;
static constexpr int16_t kint16min = INT16_MIN;
static constexpr int16_t kint16max = INT16_MAX;
static constexpr int32_t kint32min = INT32_MIN;
static constexpr int32_t kint32max = INT32_MAX;
static constexpr int64_t kint64min = INT64_MIN;
static constexpr int64_t kint64max = INT64_MAX;
static constexpr uint32_t kUnicodeError = 0xFFFD;

template <typename T, size_t N>
char (&ArraySizeHelper(T (&array)[N]))[N];
#ifndef _MSC_VER
template <typename T, size_t N>
char (&ArraySizeHelper(const T (&array)[N]))[N];
#endif
#define arraysize(array) (sizeof(ArraySizeHelper(array)))

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define IS_BIG_ENDIAN
#endif

#ifdef OS_WIN
#define WPATH(path) (::sentencepiece::win32::Utf8ToWide(path).c_str())
#else
#define WPATH(path) (path)
#endif

namespace sentencepiece {
#ifdef OS_WIN
namespace win32 {
std::wstring Utf8ToWide(const std::string& input);
std::string WideToUtf8(const std::wstring& input);
}  // namespace win32
#endif

namespace util {
#ifndef OS_WIN
inline uint32_t Swap32(uint32_t x) { return __builtin_bswap32(x); }
#endif
}  // namespace util

namespace error {
void Abort();
void Exit(int code);
void SetTestCounter(int c);
void ResetTestMode();
bool GetTestCounter();

// Collects what is streamed after CHECK or LOG, in place of std::cerr.
class Text {
public:
  template <typename T>
  Text& operator<<(const T& value) {
    stream_ << value;
    return *this;
  }
  std::string str() const { return stream_.str(); }

private:
  std::ostringstream stream_;
};

// '&' binds weaker than '<<' and stronger than '?:', so it runs when the message is complete.
struct Thrower {
  [[noreturn]] int operator&(const Text& text) const { throw std::runtime_error(text.str()); }
};

template <typename T>
T&& CheckNotNull(const char*, int, const char* expression, T&& t) {
  if (t == nullptr) throw std::runtime_error(expression);
  return std::forward<T>(t);
}
}  // namespace error

namespace logging {
enum LogSeverity { LOG_INFO = 0, LOG_WARNING = 1, LOG_ERROR = 2, LOG_FATAL = 3, LOG_SEVERITY_SIZE = 4 };
int GetMinLogLevel();
void SetMinLogLevel(int v);
inline const char* BaseName(const char* path) { return path; }
}  // namespace logging
}  // namespace sentencepiece

// Below FATAL nothing is even formatted.
#define LOG(severity)                                                                        \
  (::sentencepiece::logging::LOG_##severity < ::sentencepiece::logging::LOG_FATAL)         \
    ? 0                                                                                  \
    : ::sentencepiece::error::Thrower() & ::sentencepiece::error::Text() << "sentencepiece: "

#define CHECK(condition) \
  (condition) ? 0 : ::sentencepiece::error::Thrower() & ::sentencepiece::error::Text() << "[" #condition "] "

#define CHECK_STREQ(a, b) CHECK_EQ(std::string(a), std::string(b))
#define CHECK_EQ(a, b) CHECK((a) == (b))
#define CHECK_NE(a, b) CHECK((a) != (b))
#define CHECK_GE(a, b) CHECK((a) >= (b))
#define CHECK_LE(a, b) CHECK((a) <= (b))
#define CHECK_GT(a, b) CHECK((a) > (b))
#define CHECK_LT(a, b) CHECK((a) < (b))
#define CHECK_NOTNULL(val) ::sentencepiece::error::CheckNotNull("", 0, "'" #val "' must be non-null", (val))

#define FRIEND_TEST(a, b) friend class a##_Test_##b;

#define CHECK_OK(expr)                             \
  do {                                           \
    const auto _status = expr;                 \
    CHECK(_status.ok()) << _status.ToString(); \
  } while (0)

#define CHECK_NOT_OK(expr)                          \
  do {                                            \
    const auto _status = expr;                  \
    CHECK(!_status.ok()) << _status.ToString(); \
  } while (0)

#define RETURN_IF_ERROR(expr)                \
  do {                                     \
    const auto _status = expr;           \
    if (!_status.ok()) return _status;   \
  } while (0)

#endif  // COMMON_H_
