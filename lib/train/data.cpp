#include "puna/train/data.hpp"

#include <algorithm>
#include <cstring>

#include "data_source.hpp"
#include "puna/base/sha256.hpp"
#include "puna/io/printable.hpp"

namespace puna {
namespace {

std::string keys_of(const Json& object) {
  std::string keys;
  for (const JsonMember& member : *object.members()) {
    if (keys.size() > 200) return keys + ", ...";
    keys += (keys.empty() ? "" : ", ") + quoted(member.key, 40);
  }
  return keys.empty() ? "none" : keys;
}

// Stanford's second form, for an instruction with an input.
constexpr const char* alpaca_with_input =
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.";

std::uint64_t count_learnt(const Example& example) {
  std::uint64_t n = 0;
  for (std::size_t i = 1; i < example.loss.size(); ++i) n += example.loss[i];
  return n;
}

std::uint64_t hash_of(const Row& row) {  // or of a document, as a row of all its tokens
  Sha256 sha;
  for (const Example* e : {&row.example, &row.rejected}) {
    const std::uint64_t size = e->ids.size();
    sha.update(&size, sizeof size);
    sha.update(e->ids.data(), e->ids.size() * sizeof(std::int32_t));
    sha.update(e->loss.data(), e->loss.size());
  }
  const auto digest = sha.finish();
  std::uint64_t hash;
  std::memcpy(&hash, digest.data(), sizeof hash);
  return hash;
}

}  // namespace

DataReader::DataReader(std::shared_ptr<const File> file, std::shared_ptr<const Tokenizer> tokenizer, DataOptions options)
    : file_(std::move(file)), tokenizer_(std::move(tokenizer)), options_(std::move(options)), format_(options_.format), shape_(options_.shape) {
  if (options_.length == 1) fail(Code::argument, "rows of one token teach nothing");
  if (format_ == DataFormat::automatic) format_ = recognise_format(file_);
  if (format_ == DataFormat::text) shape_ = RowShape::text;
  source_ = open_records(file_, format_, options_.max_row_bytes);
}

DataReader::~DataReader() = default;

void DataReader::refuse(DataFault fault, const std::string& text) const {
  throw DataError(fault, line_, false, file_->name() + ": line " + std::to_string(line_) + ": " + text);
}

void DataReader::warn(DataFault fault, std::string text) {
  ++counts_.faults[static_cast<std::size_t>(fault)];
  ++counts_.warnings;
  if (warnings_.size() < max_findings) warnings_.push_back({fault, line_, std::move(text)});
}

bool DataReader::next(Row& row) {
  try {
    for (;;) {
      row = Row{};
      if (!read(row)) {
        if (counts_.rows == 0 && std::all_of(counts_.faults.begin(), counts_.faults.end(), [](auto n) { return n == 0; }))
          throw DataError(DataFault::empty_file, 0, true, file_->name() + ": holds no rows");
        return false;
      }
      row.line = line_;
      if (!fit(row) || (shape_ != RowShape::text && seen(row))) continue;
      ++counts_.rows;
      for (const Example* e : {&row.example, &row.rejected}) {
        counts_.tokens += e->ids.size();
        counts_.loss_tokens += count_learnt(*e);
        counts_.longest = std::max<std::uint64_t>(counts_.longest, e->ids.size());
      }
      return true;
    }
  } catch (const DataError& error) {
    ++counts_.faults[static_cast<std::size_t>(error.fault())];
    ++counts_.refused;
    throw;
  }
}

// The next row as tokens: the rest of a document, or what the next record says.
bool DataReader::read(Row& row) {
  for (;;) {
    if (document_at_ < document_.size()) {
      row.example = windows_next();
      return true;
    }
    Record record;
    if (!source_->next(record)) return false;
    line_ = record.line;
    if (shape_ == RowShape::automatic) {
      shape_ = recognise_shape(record.value);
      if (shape_ == RowShape::automatic)
        refuse(DataFault::shape, "the fields " + keys_of(record.value) +
                                     " make no row; known are messages, conversations, instruction and output, prompt and completion, chosen and rejected, text");
    }
    try {
      RowContent content = read_row(record.value, shape_);
      content.begins = record.begins;
      content.ends = record.ends;
      if (shape_ != RowShape::text) return convert(content, row), true;
      encode_document(content);
      Row whole;  // windows of a document may be alike; it is documents that are there twice
      whole.line = line_;
      whole.example.ids = document_;
      if (content.begins && content.ends && seen(whole)) document_.clear();
    } catch (const RowFault& fault) {
      refuse(fault.fault, fault.text);
    } catch (const ChatError& error) {
      constexpr DataFault faults[] = {DataFault::roles, DataFault::empty_answer, DataFault::tag, DataFault::encoding};
      refuse(faults[static_cast<std::size_t>(error.fault())], error.text());
    }
  }
}

void DataReader::convert(const RowContent& content, Row& row) {
  if (content.plain) {
    row.example = encode_prompt(content.prompt, content.text);
    if (shape_ == RowShape::preference) row.rejected = encode_prompt(content.prompt, content.input);
    return;
  }
  row.example = encode(content, content.messages);
  if (shape_ == RowShape::preference) row.rejected = encode(content, content.rejected);
}

Example DataReader::encode(const RowContent& content, const std::vector<Message>& said) {
  std::vector<Message> messages = said;
  const ChatTemplate* chat = options_.chat ? &*options_.chat : nullptr;
  if (shape_ == RowShape::alpaca) {
    if (!chat) chat = &find_chat_template("alpaca");
    if (!content.input.empty()) {
      const bool stanford = chat->name == "alpaca";
      const std::string heading = "### Input:";
      if (const std::string* holds = messages[0].content.find(heading) != std::string::npos ? &messages[0].content
                                     : content.input.find(heading) != std::string::npos     ? &content.input : nullptr;
          stanford && holds && options_.tags == TagPolicy::refuse)
        refuse(DataFault::tag, "the special tag \"### Input:\" inside a text");
      messages[0].content += (stanford ? "\n\n" + heading + "\n" : "\n\n") + content.input;
      if (stanford) messages.insert(messages.begin(), {Role::system, alpaca_with_input, true});
    }
  }
  if (!chat) fail(Code::argument, file_->name() + ": rows of " + std::string(row_shape_name(shape_)) + " need a chat template; name one of " + chat_template_names());
  if (std::none_of(messages.begin(), messages.end(), [](const Message& m) { return m.role == Role::assistant && m.learn; }) &&
      !messages.empty() && messages.back().role == Role::assistant)
    refuse(DataFault::all_masked, "no answer of it is to be learnt");
  return render(*chat, messages);
}

Example DataReader::render(const ChatTemplate& chat, const std::vector<Message>& messages) {
  if (chat.name != "none") template_in_use_ = chat.name;
  ChatIds out = render_chat(chat, *tokenizer_, messages, {options_.tags, false});
  counts_.neutralised += out.neutralised;
  if (options_.learn_prompts) std::fill(out.loss.begin(), out.loss.end(), std::uint8_t{1});
  return {std::move(out.ids), std::move(out.loss)};
}

// In no template: the prompt, what follows it, EOS.
Example DataReader::encode_prompt(const std::string& prompt, const std::string& answer) {
  static const ChatTemplate plain = ChatTemplate::parse(R"({"name":"none","user":"{content}","assistant":"{content}{eos}"})");
  const bool chat = options_.chat_for_prompts && options_.chat;
  return render(chat ? *options_.chat : plain, {{Role::user, prompt, true}, {Role::assistant, answer, true}});
}

void DataReader::encode_document(const RowContent& content) {
  std::string text = content.text;
  const auto tags = control_spellings(*tokenizer_);
  if (options_.tags == TagPolicy::neutralise) {
    std::size_t count = 0;
    text = neutralise_tags(std::move(text), tags, count);
    counts_.neutralised += count;
  } else if (const auto found = find_tag(text, tags); found && options_.tags == TagPolicy::refuse) {
    line_ += static_cast<std::uint64_t>(format_ == DataFormat::text ? std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(found->at), '\n') : 0);
    refuse(DataFault::tag, "the special tag " + quoted(found->tag) + " inside the text");
  }
  if (content.begins && content.ends && text.find_first_not_of(" \t\r\n") == std::string::npos)
    refuse(DataFault::all_masked, "an empty text");
  EncodeOptions encode;
  if (!content.begins) encode.space_prefix = false;
  encode.eos = content.ends && tokenizer_->eos() >= 0;
  document_ = tokenizer_->encode(text, encode);
  document_at_ = 0;
}

// A document is cut into windows, each begun with BOS, so that nothing of it is lost.
Example DataReader::windows_next() {
  Example out;
  const bool bos = tokenizer_->add_bos() && tokenizer_->bos() >= 0;
  const std::size_t room = options_.length ? options_.length - (bos ? 1 : 0) : document_.size();
  std::size_t n = std::min(room, document_.size() - document_at_);
  if (bos) out.ids.push_back(tokenizer_->bos());
  out.ids.insert(out.ids.end(), document_.begin() + static_cast<std::ptrdiff_t>(document_at_), document_.begin() + static_cast<std::ptrdiff_t>(document_at_ + n));
  document_at_ += n;
  out.loss.assign(out.ids.size(), 1);
  out.loss[0] = 0;
  return out;
}

// False where the row is dropped.
bool DataReader::fit(Row& row) {
  const std::uint32_t length = options_.length;
  const std::size_t longest = std::max(row.example.ids.size(), row.rejected.ids.size());
  for (Example* e : {&row.example, &row.rejected}) {
    if (e->ids.empty()) continue;
    e->loss[0] = 0;
    if (count_learnt(*e) == 0) refuse(DataFault::all_masked, "nothing of it would be learnt");
  }
  if (!length || longest <= length) return true;
  const std::string size = std::to_string(longest) + " tokens, more than " + std::to_string(length);
  if (options_.too_long == TooLong::refuse) refuse(DataFault::too_long, size);
  if (options_.too_long == TooLong::drop) return warn(DataFault::too_long, size + ": dropped"), false;
  for (Example* e : {&row.example, &row.rejected}) {
    if (e->ids.size() <= length) continue;
    e->ids.resize(length);
    e->loss.resize(length);
    if (count_learnt(*e) == 0) refuse(DataFault::all_masked, size + ", and cut to that nothing of it would be learnt");
  }
  warn(DataFault::too_long, size + ": cut");
  return true;
}

// True where the row is dropped.
bool DataReader::seen(const Row& row) {
  const auto [at, fresh] = seen_.try_emplace(hash_of(row), row.line);
  if (fresh) return false;
  warn(DataFault::duplicate, "the same as line " + std::to_string(at->second) + (options_.drop_duplicates ? ": dropped" : ""));
  return options_.drop_duplicates;
}

Dataset load_data(const std::string& path, std::shared_ptr<const Tokenizer> tokenizer, const DataOptions& options) {
  DataReader reader(File::open(path), std::move(tokenizer), options);
  Dataset out;
  for (Row row; reader.next(row);) {
    out.lines.push_back(row.line);
    out.examples.push_back(std::move(row.example));
    if (!row.rejected.ids.empty()) out.rejected.push_back(std::move(row.rejected));
  }
  out.format = reader.format();
  out.shape = reader.shape();
  out.chat_template = reader.template_in_use();
  out.counts = reader.counts();
  out.warnings = reader.take_warnings();
  return out;
}

DataReport examine_data(std::shared_ptr<const File> file, std::shared_ptr<const Tokenizer> tokenizer, const DataOptions& options, std::uint64_t sample) {
  DataReport report;
  std::optional<DataReader> reader;
  const auto note = [&](Finding finding) {
    if (report.findings.size() < max_findings) report.findings.push_back(std::move(finding));
  };
  const auto refused = [&](const DataError& error) { note({error.fault(), error.line(), error.text()}); };
  try {
    reader.emplace(std::move(file), std::move(tokenizer), options);
  } catch (const DataError& error) {
    refused(error);
    ++report.counts.faults[static_cast<std::size_t>(error.fault())];
    ++report.counts.refused;
    return report;
  }
  for (bool more = true; more;) {
    try {
      Row row;
      more = reader->next(row);
      if (more && reader->counts().rows == sample) report.sample = std::move(row);
    } catch (const DataError& error) {
      refused(error);
      more = !error.last();
    }
    for (Finding& finding : reader->take_warnings()) note(std::move(finding));
  }
  report.format = reader->format();
  report.shape = reader->shape();
  report.chat_template = reader->template_in_use();
  report.counts = reader->counts();
  return report;
}

}  // namespace puna
