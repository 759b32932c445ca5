// The rows of a file as JSON objects, whatever the format: JSON lines, a JSON list, CSV, plain text. Memory is bounded by
// the longest row allowed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "puna/io/json.hpp"
#include "puna/train/data.hpp"

namespace puna {

struct Record {
  std::uint64_t line = 0;           // where it begins, from 1
  Json value;                       // an object
  bool begins = true, ends = true;  // a plain text comes in parts
};

// Lines of a file, checked to be UTF-8. A BOM in front is dropped.
class LineStream {
 public:
  LineStream(std::shared_ptr<const File> file, std::size_t max_bytes);
  // Without the line break; a carriage return before it stays. False at the end.
  bool next(std::string& line);
  std::uint64_t number() const { return number_; }  // of the line last given
  const std::string& name() const { return file_->name(); }

 private:
  bool fill();
  std::shared_ptr<const File> file_;
  std::size_t max_bytes_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
  std::uint64_t offset_ = 0, number_ = 0;
};

class RecordSource {
 public:
  virtual ~RecordSource() = default;
  virtual bool next(Record& record) = 0;  // throws DataError
};

DataFormat recognise_format(const std::shared_ptr<const File>& file);
std::unique_ptr<RecordSource> open_records(std::shared_ptr<const File> file, DataFormat format, std::size_t max_row_bytes);

// The shape of an object by its keys; automatic: none that is known.
RowShape recognise_shape(const Json& object);
// Error text of a wrong field is thrown as DataError without place; the reader adds it.
struct RowFault {
  DataFault fault;
  std::string text;
};
RowContent read_row(const Json& object, RowShape shape);  // throws RowFault

}  // namespace puna
