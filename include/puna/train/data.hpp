// Training data from files of people: recognised by itself, read row by row in bounded memory, every row with its line.
// A row that is broken, or would teach nothing, is refused; what is merely odd is counted and handled as asked.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "puna/base/status.hpp"
#include "puna/io/file.hpp"
#include "puna/text/chat_template.hpp"
#include "puna/train/example.hpp"

namespace puna {

// The numbers of these four are the ABI's.
enum class DataFormat : std::int32_t { automatic, jsonl, json, csv, text };
enum class RowShape : std::int32_t { automatic, messages, sharegpt, alpaca, prompt, preference, text };
enum class TooLong : std::int32_t { cut, drop, refuse };
enum class DataFault : std::int32_t {
  broken,        // no JSON or CSV
  empty_file,
  encoding,      // not UTF-8
  shape,         // a row of another kind, a field missing or of the wrong type
  roles,
  empty_answer,
  all_masked,    // nothing of it would be learnt
  tag,           // a special tag inside text
  duplicate,     // warned of, as is
  too_long,
};
inline constexpr std::size_t data_fault_count = 10;
constexpr bool is_warning(DataFault fault) { return fault == DataFault::duplicate || fault == DataFault::too_long; }

std::string_view data_format_name(DataFormat format);  // "jsonl"
std::string_view row_shape_name(RowShape shape);        // "messages"
std::string_view data_fault_name(DataFault fault);      // "empty_answer"
// Error(argument) lists the names; "auto" is one.
DataFormat data_format_of(std::string_view name);
RowShape row_shape_of(std::string_view name);

// Why a row is refused. The text is "FILE: line 12: …".
class DataError : public Error {
 public:
  DataError(DataFault fault, std::uint64_t line, bool last, std::string text)
      : Error(fault == DataFault::encoding ? Code::encoding : Code::format, std::move(text)), fault_(fault), line_(line), last_(last) {}
  DataFault fault() const noexcept { return fault_; }
  std::uint64_t line() const noexcept { return line_; }
  bool last() const noexcept { return last_; }  // nothing after it can be read

 private:
  DataFault fault_;
  std::uint64_t line_;
  bool last_;
};

struct DataOptions {
  DataFormat format = DataFormat::automatic;
  RowShape shape = RowShape::automatic;
  std::optional<ChatTemplate> chat;  // rows of messages need one; alpaca rows without one are written Stanford's way
  bool chat_for_prompts = false;     // prompt and completion are said as user and assistant, in that template
  TagPolicy tags = TagPolicy::refuse;
  std::uint32_t length = 0;  // tokens that a row may have; 0: any number
  TooLong too_long = TooLong::cut;
  bool drop_duplicates = false;
  bool learn_prompts = false;  // loss on all but the first token
  std::size_t max_row_bytes = std::size_t{16} << 20;
};

struct Row {
  std::uint64_t line = 0;
  Example example;   // of a preference: the chosen answer
  Example rejected;  // of a preference only
};

struct Finding {
  DataFault fault = DataFault::broken;
  std::uint64_t line = 0;
  std::string text;
};

struct DataCounts {
  std::uint64_t rows = 0, tokens = 0, loss_tokens = 0, longest = 0;  // of what next() gave
  std::uint64_t neutralised = 0, refused = 0, warnings = 0;
  std::array<std::uint64_t, data_fault_count> faults{};
  std::uint64_t of(DataFault fault) const { return faults[static_cast<std::size_t>(fault)]; }
};

// What a file's row says, before it is tokens.
struct RowContent {
  std::vector<Message> messages, rejected;  // rejected: of a preference
  std::string text, prompt;                 // text: a document, or what follows a plain prompt
  std::string input;                        // alpaca's
  bool plain = false;                       // a prompt and what follows it, in no template
  bool begins = true, ends = true;          // of a document in parts
};

class RecordSource;

class DataReader {
 public:
  DataReader(std::shared_ptr<const File> file, std::shared_ptr<const Tokenizer> tokenizer, DataOptions options);
  ~DataReader();
  DataReader(const DataReader&) = delete;
  DataReader& operator=(const DataReader&) = delete;

  // False at the end. Throws DataError for a row that is refused; unless it was the last, the next call goes on after it.
  bool next(Row& row);
  DataFormat format() const { return format_; }
  RowShape shape() const { return shape_; }  // automatic until the first row was read
  const std::string& template_in_use() const { return template_in_use_; }  // "" until a row needed one
  const DataCounts& counts() const { return counts_; }
  // Warnings since the last call.
  std::vector<Finding> take_warnings() { return std::exchange(warnings_, {}); }

 private:
  bool read(Row& row);
  void convert(const RowContent& content, Row& row);
  Example encode(const RowContent& content, const std::vector<Message>& messages);
  Example render(const ChatTemplate& chat, const std::vector<Message>& messages);
  Example encode_prompt(const std::string& prompt, const std::string& answer);
  void encode_document(const RowContent& content);
  Example windows_next();
  bool fit(Row& row);
  bool seen(const Row& row);
  void warn(DataFault fault, std::string text);
  [[noreturn]] void refuse(DataFault fault, const std::string& text) const;

  std::shared_ptr<const File> file_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  DataOptions options_;
  DataFormat format_;
  RowShape shape_;
  std::string template_in_use_;
  std::unique_ptr<RecordSource> source_;
  DataCounts counts_;
  std::vector<Finding> warnings_;
  std::unordered_map<std::uint64_t, std::uint64_t> seen_;  // hash of a row's ids, its line
  std::vector<std::int32_t> document_;                     // of a text, what is still to be cut off it
  std::size_t document_at_ = 0;
  std::uint64_t line_ = 0;
};

// Everything of a file, for a trainer: the first row that is refused is thrown.
struct Dataset {
  Examples examples, rejected;  // rejected: of preferences, one for each
  std::vector<std::uint64_t> lines;
  DataFormat format = DataFormat::automatic;
  RowShape shape = RowShape::automatic;
  std::string chat_template;  // in use
  DataCounts counts;
  std::vector<Finding> warnings;  // at most max_findings
};
inline constexpr std::size_t max_findings = 1000;
Dataset load_data(const std::string& path, std::shared_ptr<const Tokenizer> tokenizer, const DataOptions& options);

// The doctor: reads on after what is refused. `sample`: a row to show.
struct DataReport {
  DataFormat format = DataFormat::automatic;
  RowShape shape = RowShape::automatic;
  std::string chat_template;  // in use
  DataCounts counts;
  std::vector<Finding> findings;  // at most max_findings, in the order of the file; counts has them all
  std::optional<Row> sample;
};
DataReport examine_data(std::shared_ptr<const File> file, std::shared_ptr<const Tokenizer> tokenizer, const DataOptions& options,
                        std::uint64_t sample = 1);

}  // namespace puna
