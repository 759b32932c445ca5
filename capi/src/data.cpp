// Chat templates, and training data looked at: puna_chat_..., puna_data.
#include "puna/train/data.hpp"

#include "handles.hpp"
#include "border.hpp"
#include "source.hpp"

using puna::Code;
using puna::fail;
namespace capi = puna::capi;

struct puna_data {
  puna::DataReport report;
};

namespace {

puna_chat_options chat_defaults() {
  puna_chat_options o{};
  o.struct_size = sizeof o;
  return o;
}

puna_data_options data_defaults() {
  puna_data_options o{};
  o.struct_size = sizeof o;
  o.sample = 1;
  return o;
}

const puna::Tokenizer& tokenizer_of(const puna_tokenizer* handle) {
  const auto& ref = capi::required(handle, "tokenizer").ref;
  if (!ref) fail(Code::state, "the model has no tokenizer");
  return *ref;
}

// One of the ABI's numbers.
template <class E>
E choice(std::int32_t value, std::int32_t last, const char* name) {
  if (value < 0 || value > last) fail(Code::argument, std::string(name) + " is " + std::to_string(value) + ", not from 0 to " + std::to_string(last));
  return static_cast<E>(value);
}

puna::DataOptions data_options(const puna_data_options& o, const puna::Tokenizer& tokenizer) {
  puna::DataOptions out;
  constexpr std::uint32_t known = PUNA_DATA_DROP_DUPLICATES | PUNA_DATA_LEARN_PROMPTS | PUNA_DATA_CHAT_PROMPTS;
  if (o.flags & ~known) fail(Code::unsupported, "options.flags has a bit that this library does not know");
  out.format = choice<puna::DataFormat>(o.format, PUNA_DATA_TEXT, "options.format");
  out.shape = choice<puna::RowShape>(o.rows, PUNA_ROWS_TEXT, "options.rows");
  out.tags = choice<puna::TagPolicy>(o.tags, PUNA_TAGS_KEEP, "options.tags");
  out.too_long = choice<puna::TooLong>(o.too_long, PUNA_TOO_LONG_REFUSE, "options.too_long");
  out.length = o.length;
  out.drop_duplicates = (o.flags & PUNA_DATA_DROP_DUPLICATES) != 0;
  out.learn_prompts = (o.flags & PUNA_DATA_LEARN_PROMPTS) != 0;
  out.chat_for_prompts = (o.flags & PUNA_DATA_CHAT_PROMPTS) != 0;
  out.chat = puna::resolve_chat_template(o.chat_template ? o.chat_template : "", tokenizer);
  return out;
}

}  // namespace

extern "C" {

const char* PUNA_CALL puna_chat_template_name(size_t index) {
  try {
    const auto all = puna::chat_templates();
    return index < all.size() ? all[index].name.c_str() : nullptr;
  } catch (...) {
    return nullptr;
  }
}

int32_t PUNA_CALL puna_chat_template_recognise(const char* text, size_t length, const char** name, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(name, "name");
    if (length) capi::required(text, "text");
    *name = puna::recognise_chat_template({length ? text : "", length}).name.c_str();
  });
}

void PUNA_CALL puna_chat_options_init(puna_chat_options* options, size_t size) { capi::init_options(options, size, chat_defaults()); }

int32_t PUNA_CALL puna_chat_render(const puna_tokenizer* tokenizer, const char* chat_template, const puna_message* messages,
                                   size_t message_count, const puna_chat_options* options, int32_t* ids, uint8_t* loss,
                                   size_t capacity, size_t* count, puna_error* error) {
  return capi::entry(error, [&] {
    const puna::Tokenizer& t = tokenizer_of(tokenizer);
    const auto o = capi::read_options(options, chat_defaults(), "options");
    if (message_count) capi::required(messages, "messages");
    std::vector<puna::Message> said;
    for (std::size_t i = 0; i < message_count; ++i) {
      const puna_message& m = messages[i];
      const std::string at = "messages[" + std::to_string(i) + "]";
      if (m.flags & ~PUNA_MESSAGE_NO_LOSS) fail(Code::unsupported, at + ".flags has a bit that this library does not know");
      if (m.length) capi::required(m.text, (at + ".text").c_str());
      said.push_back({choice<puna::Role>(m.role, PUNA_ROLE_ASSISTANT, (at + ".role").c_str()),
                      std::string(m.length ? m.text : "", m.length), (m.flags & PUNA_MESSAGE_NO_LOSS) == 0});
    }
    const auto chat = puna::resolve_chat_template(chat_template ? chat_template : "", t);
    if (!chat) puna::recognise_chat_template(t.vocab().chat_template);  // says what is missing
    const auto out = puna::render_chat(*chat, t, said, {choice<puna::TagPolicy>(o.tags, PUNA_TAGS_KEEP, "options.tags"), o.whole == 0});
    capi::write_array(out.ids.data(), out.ids.size(), ids, capacity, count, "ids");
    if (loss && ids) std::copy(out.loss.begin(), out.loss.end(), loss);
  });
}

void PUNA_CALL puna_data_options_init(puna_data_options* options, size_t size) { capi::init_options(options, size, data_defaults()); }

int32_t PUNA_CALL puna_data_open(puna_data** out, const puna_tokenizer* tokenizer, const puna_source* source,
                                 const puna_data_options* options, puna_error* error) {
  return capi::entry(error, [&] {
    capi::required(out, "out");
    tokenizer_of(tokenizer);
    const auto o = capi::read_options(options, data_defaults(), "options");
    const auto wanted = data_options(o, *tokenizer->ref);
    auto data = std::make_unique<puna_data>();
    data->report = puna::examine_data(capi::open_file(capi::read_source(source)), tokenizer->ref, wanted, o.sample);
    *out = data.release();
  });
}

void PUNA_CALL puna_data_destroy(puna_data* data) { delete data; }

int32_t PUNA_CALL puna_data_get_info(const puna_data* data, puna_data_info* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const puna::DataReport& report = capi::required(data, "data").report;
    puna_data_info info{};
    info.format = static_cast<std::int32_t>(report.format);
    info.rows_kind = static_cast<std::int32_t>(report.shape);
    info.rows = report.counts.rows;
    info.tokens = report.counts.tokens;
    info.loss_tokens = report.counts.loss_tokens;
    info.longest = report.counts.longest;
    info.neutralised = report.counts.neutralised;
    info.warnings = report.counts.warnings;
    info.refused = report.counts.refused;
    info.chat_template = report.chat_template.c_str();
    capi::write_output(out, size, info, "out");
  });
}

const char* PUNA_CALL puna_data_fault_name(int32_t fault) {
  const bool known = fault >= 0 && static_cast<std::size_t>(fault) < puna::data_fault_count;
  return known ? puna::data_fault_name(static_cast<puna::DataFault>(fault)).data() : nullptr;
}

uint64_t PUNA_CALL puna_data_fault_count(const puna_data* data, int32_t fault) {
  const bool known = data && fault >= 0 && static_cast<std::size_t>(fault) < puna::data_fault_count;
  return known ? data->report.counts.faults[static_cast<std::size_t>(fault)] : 0;
}

size_t PUNA_CALL puna_data_finding_count(const puna_data* data) { return data ? data->report.findings.size() : 0; }

int32_t PUNA_CALL puna_data_get_finding(const puna_data* data, size_t index, puna_data_finding* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const auto& findings = capi::required(data, "data").report.findings;
    if (index >= findings.size()) fail(Code::argument, "there is no finding " + std::to_string(index) + " of " + std::to_string(findings.size()));
    puna_data_finding finding{};
    finding.fault = static_cast<std::int32_t>(findings[index].fault);
    finding.line = findings[index].line;
    finding.text = findings[index].text.c_str();
    capi::write_output(out, size, finding, "out");
  });
}

int32_t PUNA_CALL puna_data_sample(const puna_data* data, int32_t rejected, puna_data_row* out, size_t size, puna_error* error) {
  return capi::entry(error, [&] {
    const auto& sample = capi::required(data, "data").report.sample;
    puna_data_row row{};
    if (sample) {
      const puna::Example& example = rejected ? sample->rejected : sample->example;
      row.line = sample->line;
      row.count = example.ids.size();
      row.ids = example.ids.data();
      row.loss = example.loss.data();
    }
    capi::write_output(out, size, row, "out");
  });
}

}  // extern "C"
