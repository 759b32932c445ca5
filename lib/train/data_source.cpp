#include "data_source.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "puna/io/printable.hpp"
#include "puna/text/vocab.hpp"

namespace puna {
namespace {

constexpr std::size_t window_bytes = std::size_t{1} << 16;
constexpr std::size_t part_bytes = std::size_t{1} << 20;  // a plain text is given in parts of about this
constexpr std::string_view document_break = "<|endoftext|>";
constexpr JsonLimits row_limits{std::size_t{64} << 20, 16, std::size_t{1} << 18};

[[noreturn]] void broken(const std::string& file, std::uint64_t line, const std::string& text, bool last = false) {
  throw DataError(DataFault::broken, line, last, file + ": line " + std::to_string(line) + ": " + text);
}

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

Json parse_row(const std::string& text, const std::string& file, std::uint64_t line) {
  try {
    Json value = Json::parse(text, "row", row_limits);
    if (!value.members()) broken(file, line, "a row must be a JSON object, but is " + value.dump(60));
    return value;
  } catch (const DataError&) {
    throw;
  } catch (const Error& error) {
    const std::string said = error.text().starts_with("row: ") ? error.text().substr(5) : error.text();
    broken(file, line, said);
  }
}

class JsonLines final : public RecordSource {
 public:
  JsonLines(std::shared_ptr<const File> file, std::size_t max) : lines_(std::move(file), max) {}
  bool next(Record& record) override {
    while (lines_.next(text_)) {
      if (blank(text_)) continue;
      record.line = lines_.number();
      record.value = parse_row(text_, lines_.name(), record.line);
      return true;
    }
    return false;
  }

 private:
  LineStream lines_;
  std::string text_;
};

// [ {…}, {…} ]: each element is found by its brackets and parsed by itself, so that the list may be of any length.
class JsonList final : public RecordSource {
 public:
  JsonList(std::shared_ptr<const File> file, std::size_t max) : lines_(std::move(file), max), max_(max) {}

  bool next(Record& record) override {
    if (ended_) return false;
    for (;;) {
      const int c = skip_blank();
      if (c < 0) cut_short();
      ++at_;
      if (state_ == State::before && c == '[') state_ = State::first;
      else if ((state_ == State::first || state_ == State::after) && c == ']') return end();
      else if (state_ == State::after && c == ',') state_ = State::element;
      else if ((state_ == State::first || state_ == State::element) && c == '{') {
        record.line = lines_.number();
        const std::string text = element();
        state_ = State::after;
        record.value = parse_row(text, lines_.name(), record.line);
        return true;
      } else {
        ended_ = true;
        broken(lines_.name(), lines_.number(), "not a JSON list of objects: " + quoted(std::string_view(line_).substr(at_ - 1), 20), true);
      }
    }
  }

 private:
  enum class State { before, first, element, after };

  int skip_blank() {
    for (;;) {
      while (at_ < line_.size() && (line_[at_] == ' ' || line_[at_] == '\t' || line_[at_] == '\r')) ++at_;
      if (at_ < line_.size()) return static_cast<unsigned char>(line_[at_]);
      if (!lines_.next(line_)) return -1;
      at_ = 0;
    }
  }

  std::string element() {
    std::string text = "{";
    int depth = 1;
    bool quote = false;
    while (depth > 0) {
      const std::size_t start = at_;
      for (; at_ < line_.size() && depth > 0; ++at_) {
        const char c = line_[at_];
        if (quote) {
          if (c == '\\') ++at_;
          else if (c == '"') quote = false;
        } else if (c == '"') {
          quote = true;
        } else if (c == '{' || c == '[') {
          ++depth;
        } else if (c == '}' || c == ']') {
          --depth;
        }
      }
      at_ = std::min(at_, line_.size());
      text.append(line_, start, at_ - start);
      if (text.size() > max_) {
        ended_ = true;
        broken(lines_.name(), lines_.number(), "a row of more than " + std::to_string(max_) + " bytes", true);
      }
      if (depth == 0) break;
      text += '\n';
      if (!lines_.next(line_)) cut_short();
      at_ = 0;
    }
    return text;
  }

  bool end() {
    ended_ = true;
    if (skip_blank() >= 0) broken(lines_.name(), lines_.number(), "text after the end of the JSON list", true);
    return false;
  }
  [[noreturn]] void cut_short() {
    ended_ = true;
    broken(lines_.name(), lines_.number(), "the JSON list ends too soon", true);
  }

  LineStream lines_;
  std::size_t max_;
  std::string line_;
  std::size_t at_ = 0;
  State state_ = State::before;
  bool ended_ = false;
};

// RFC 4180: quotes, doubled quotes, line breaks inside quotes, CRLF or LF. The first record names the columns.
class Csv final : public RecordSource {
 public:
  Csv(std::shared_ptr<const File> file, std::size_t max) : lines_(std::move(file), max), max_(max) {
    std::vector<std::string> names;
    std::uint64_t line = 0;
    if (!record(names, line)) return;
    std::set<std::string> all(names.begin(), names.end());
    if (all.size() != names.size()) broken(lines_.name(), line, "two columns have the same name", true);
    if (names.size() > 1000) broken(lines_.name(), line, std::to_string(names.size()) + " columns", true);
    names_ = std::move(names);
  }

  bool next(Record& out) override {
    std::vector<std::string> fields;
    if (ended_ || names_.empty() || !record(fields, out.line)) return false;
    if (fields.size() != names_.size())
      broken(lines_.name(), out.line, std::to_string(fields.size()) + " fields, but the first line names " + std::to_string(names_.size()) + " columns");
    Json::Members members;
    for (std::size_t i = 0; i < fields.size(); ++i) members.push_back({names_[i], Json(std::move(fields[i]))});
    std::sort(members.begin(), members.end(), [](const JsonMember& a, const JsonMember& b) { return a.key < b.key; });
    out.value = Json(std::move(members));
    return true;
  }

  Json header() const {
    Json::Members members;
    for (const std::string& name : names_) members.push_back({name, Json(std::string())});
    std::sort(members.begin(), members.end(), [](const JsonMember& a, const JsonMember& b) { return a.key < b.key; });
    return Json(std::move(members));
  }

 private:
  // One record, over as many lines as its quotes reach. False at the end.
  bool record(std::vector<std::string>& fields, std::uint64_t& line) {
    std::string text;
    do {
      if (!lines_.next(text)) return false;
    } while (blank(text));
    line = lines_.number();
    std::size_t at = 0, bytes = 0;
    for (;;) {
      fields.emplace_back();
      const bool more = at < text.size() && text[at] == '"' ? quoted_field(text, at, fields.back(), line) : plain_field(text, at, fields.back(), line);
      bytes += fields.back().size() + sizeof(std::string);
      if (bytes > max_) broken(lines_.name(), line, "a row of more than " + std::to_string(max_) + " bytes");
      if (!more) return true;
    }
  }

  // Both end behind the comma, or at the record's end, where they return false.
  bool plain_field(const std::string& text, std::size_t& at, std::string& field, std::uint64_t line) {
    std::size_t end = std::min(text.find(',', at), text.size());
    const bool more = end < text.size();
    std::size_t stop = end;
    if (!more && stop > at && text[stop - 1] == '\r') --stop;
    field = text.substr(at, stop - at);
    at = end + 1;
    if (field.find('"') != std::string::npos) broken(lines_.name(), line, "a quote inside a field that is not quoted");
    return more;
  }

  bool quoted_field(std::string& text, std::size_t& at, std::string& field, std::uint64_t line) {
    ++at;
    for (;;) {
      const std::size_t end = text.find('"', at);
      if (end == std::string::npos) {
        field.append(text, at);
        field += '\n';
        if (field.size() > max_) ended_ = true, broken(lines_.name(), line, "a row of more than " + std::to_string(max_) + " bytes", true);
        if (!lines_.next(text)) ended_ = true, broken(lines_.name(), line, "a quote is opened and never closed", true);
        at = 0;
        continue;
      }
      field.append(text, at, end - at);
      at = end + 1;
      if (at < text.size() && text[at] == '"') {
        field += '"';
        ++at;
        continue;
      }
      if (at == text.size() || (at + 1 == text.size() && text[at] == '\r')) return false;
      if (text[at] != ',') broken(lines_.name(), line, "text after a field's closing quote");
      ++at;
      return true;
    }
  }

  LineStream lines_;
  std::size_t max_;
  std::vector<std::string> names_;
  bool ended_ = false;
};

// One document, or several with a line <|endoftext|> between them.
class PlainText final : public RecordSource {
 public:
  PlainText(std::shared_ptr<const File> file, std::size_t max) : lines_(std::move(file), max) { more_ = lines_.next(line_); }

  bool next(Record& record) override {
    while (more_) {
      record.line = lines_.number();
      record.begins = begins_;
      std::string text;
      bool at_break = false;
      for (; more_ && text.size() < part_bytes && !at_break; more_ = lines_.next(line_)) {
        const std::string_view plain = std::string_view(line_).substr(0, line_.ends_with('\r') ? line_.size() - 1 : line_.size());
        if (plain == document_break) at_break = true;
        else text.append(line_) += '\n';
      }
      record.ends = begins_ = at_break || !more_;
      if (record.begins && record.ends && blank_text(text)) continue;
      if (record.ends && text.ends_with('\n')) text.pop_back();
      if (text.find('\0') != std::string::npos) broken(lines_.name(), record.line, "a NUL byte: this is no text", true);
      record.value = Json(Json::Members{{"text", Json(std::move(text))}});
      return true;
    }
    return false;
  }

 private:
  static bool blank_text(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }
  LineStream lines_;
  std::string line_;
  bool more_ = false, begins_ = true;
};

}  // namespace

LineStream::LineStream(std::shared_ptr<const File> file, std::size_t max_bytes) : file_(std::move(file)), max_bytes_(max_bytes) {
  buffer_.resize(window_bytes);
}

bool LineStream::fill() {
  if (offset_ == file_->size()) return false;
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), file_->size() - offset_));
  file_->read(offset_, buffer_.data(), n);
  begin_ = 0;
  if (offset_ == 0 && n >= 3 && std::memcmp(buffer_.data(), "\xEF\xBB\xBF", 3) == 0) begin_ = 3;
  if (offset_ == 0 && n >= 2 && (std::memcmp(buffer_.data(), "\xFF\xFE", 2) == 0 || std::memcmp(buffer_.data(), "\xFE\xFF", 2) == 0))
    throw DataError(DataFault::encoding, 1, true, file_->name() + ": line 1: UTF-16, but only UTF-8 is read");
  offset_ += n;
  end_ = n;
  return true;
}

bool LineStream::next(std::string& line) {
  line.clear();
  if (begin_ == end_ && !fill()) return false;
  ++number_;
  for (;;) {
    const char* from = buffer_.data() + begin_;
    const auto* stop = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
    const std::size_t n = stop ? static_cast<std::size_t>(stop - from) : end_ - begin_;
    if (line.size() + n > max_bytes_) broken(name(), number_, "a line of more than " + std::to_string(max_bytes_) + " bytes", true);
    line.append(from, n);
    begin_ += n + (stop ? 1 : 0);
    if (stop || (begin_ == end_ && !fill())) break;
  }
  if (const std::size_t bad = utf8_error(line); bad != std::string_view::npos) {
    line.clear();  // who reads on goes on with the next
    throw DataError(DataFault::encoding, number_, false,
                    name() + ": line " + std::to_string(number_) + ": not UTF-8: byte " + std::to_string(bad) + " of the line");
  }
  return true;
}

DataFormat recognise_format(const std::shared_ptr<const File>& file) {
  LineStream lines(file, std::size_t{1} << 24);
  std::string line;
  while (lines.next(line)) {
    const std::size_t at = line.find_first_not_of(" \t\r");
    if (at == std::string::npos) continue;
    if (line[at] == '{') return DataFormat::jsonl;
    if (line[at] == '[') {
      // A text may begin with a bracket, a list goes on with an object or ends.
      std::size_t next = line.find_first_not_of(" \t\r", at + 1);
      while (next == std::string::npos && lines.next(line)) next = line.find_first_not_of(" \t\r");
      return next == std::string::npos || line[next] == '{' || line[next] == ']' ? DataFormat::json : DataFormat::text;
    }
    break;
  }
  // A table, if its first line names columns that make a row.
  try {
    Csv table(file, std::size_t{1} << 24);
    if (recognise_shape(table.header()) != RowShape::automatic) return DataFormat::csv;
  } catch (const Error&) {
  }
  return DataFormat::text;
}

std::unique_ptr<RecordSource> open_records(std::shared_ptr<const File> file, DataFormat format, std::size_t max) {
  switch (format) {
    case DataFormat::jsonl: return std::make_unique<JsonLines>(std::move(file), max);
    case DataFormat::json: return std::make_unique<JsonList>(std::move(file), max);
    case DataFormat::csv: return std::make_unique<Csv>(std::move(file), max);
    default: return std::make_unique<PlainText>(std::move(file), max);
  }
}

}  // namespace puna
