// The system calls behind an output file on POSIX, in a table so that a test can make them fail the ways disks do.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace puna {

struct OutputCalls {
  ssize_t (*pwrite)(int file, const void* data, std::size_t n, off_t offset);
  int (*fsync)(int file);
  int (*close)(int file);
  int (*rename)(const char* from, const char* to);
};
extern const OutputCalls system_output_calls;
extern const OutputCalls* output_calls;  // the system's, but in tests

}  // namespace puna
