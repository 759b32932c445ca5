// Files of people: what is recognised, what each shape teaches, what is refused and with which line.
#include "puna/train/data.hpp"

#include <algorithm>
#include <sstream>

#include "puna/io/json.hpp"
#include "puna/train/data_pack.hpp"
#include "refusal.hpp"
#include "support.hpp"

using namespace puna;

namespace {

std::shared_ptr<const Tokenizer> demo() {
  static const auto tokenizer = Tokenizer::open(File::open(puna_test::fixture("tiny/tokenizer.model").string()));
  return tokenizer;
}

std::shared_ptr<const File> file_of(std::string_view text) {
  return File::from_memory(std::as_bytes(std::span(text.data(), text.size())), "rows");
}

DataOptions with(const char* chat) {
  DataOptions o;
  if (*chat) o.chat = find_chat_template(chat);
  return o;
}

DataReport examine(std::string_view text, const DataOptions& options = with("zephyr"), std::uint64_t sample = 1) {
  return examine_data(file_of(text), demo(), options, sample);
}

std::string pieces(const Example& e, bool learnt) {
  std::string out;
  for (std::size_t i = 0; i < e.ids.size(); ++i)
    if (!learnt || e.loss[i]) out += demo()->piece(e.ids[i]);
  return out;
}

std::string learnt(std::string_view text, const DataOptions& options = with("zephyr")) {
  const DataReport report = examine(text, options);
  for (const Finding& f : report.findings) MESSAGE(f.text);
  REQUIRE(report.sample);
  return pieces(report.sample->example, true);
}

// One row is refused, for this reason, at this line.
std::string refused(std::string_view text, DataFault fault, std::uint64_t line, const DataOptions& options = with("zephyr")) {
  const DataReport report = examine(text, options);
  CAPTURE(text);
  REQUIRE(!report.findings.empty());
  CHECK(std::string(data_fault_name(report.findings[0].fault)) == std::string(data_fault_name(fault)));
  CHECK(report.findings[0].line == line);
  CHECK(report.counts.of(fault) >= 1);
  // The trainer stops there.
  CHECK_THROWS_AS(
      [&] {
        DataReader reader(file_of(text), demo(), options);
        for (Row row; reader.next(row);) {
        }
      }(),
      DataError);
  return report.findings[0].text;
}

constexpr const char* good = R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"hello"}]})" "\n";

}  // namespace

TEST_CASE("each shape is recognised by itself, and its answer and EOS are learnt") {
  const std::string s(space_symbol);
  CHECK(examine(good).shape == RowShape::messages);
  CHECK(learnt(good) == "hello</s>");
  const std::string sharegpt = R"({"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"hello"}]})";
  CHECK(examine(sharegpt).shape == RowShape::sharegpt);
  CHECK(learnt(sharegpt) == "hello</s>");
  CHECK(learnt(R"({"instruction":"Do","input":"","output":"it"})", with("")) == "it</s>");
  CHECK(learnt(R"({"instruction":"Do","response":"it"})", with("llama-2")) == s + "it" + s + "</s>");
  CHECK(learnt(R"({"prompt":"the day","completion":" was long"})") == s + "was" + s + "long</s>");
  const std::string pair = R"({"chosen":[{"role":"user","content":"Hi"},{"role":"assistant","content":"good"}],"rejected":[{"role":"user","content":"Hi"},{"role":"assistant","content":"bad"}]})";
  const DataReport both = examine(pair);
  CHECK(both.shape == RowShape::preference);
  REQUIRE(both.sample);
  CHECK(pieces(both.sample->example, true) == "good</s>");
  CHECK(pieces(both.sample->rejected, true) == "bad</s>");
  CHECK(examine(R"({"prompt":"a ","chosen":"b","rejected":"c"})", with("")).counts.rows == 1);
  CHECK(learnt(R"({"text":"the day"})", with("")) == s + "the" + s + "day</s>");
  // An answer that is marked as not to be learnt.
  CHECK(learnt(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0},{"role":"user","content":"c"},{"role":"assistant","content":"d","train":true}]})") == "d</s>");
}

TEST_CASE("a JSON list, CSV and plain text say the same as JSON lines") {
  const std::string list = "[\n {\"prompt\": \"a [{\",\n  \"completion\": \"b\\\"}\"} ,\n {\"prompt\":\"c\",\"completion\":\"d\"}]\n";
  const DataReport report = examine(list, with(""), 2);
  CHECK(report.format == DataFormat::json);
  CHECK(report.counts.rows == 2);
  REQUIRE(report.sample);
  CHECK(report.sample->line == 4);

  const std::string csv = "\xEF\xBB\xBFprompt,completion,id\r\n\"a, \"\"b\"\"\",c,1\r\n\"two\nlines\",\"d\",2\n\nlast,e,3";
  const DataReport table = examine(csv, with(""), 3);
  CHECK(table.format == DataFormat::csv);
  CHECK(table.shape == RowShape::prompt);
  CHECK(table.counts.rows == 3);
  REQUIRE(table.sample);
  CHECK(table.sample->line == 6);
  const auto same = [](std::string_view a, std::string_view b) {
    CHECK(examine(a, with("")).sample->example.ids == examine(b, with("")).sample->example.ids);
  };
  same(csv, R"({"prompt":"a, \"b\"","completion":"c"})");
  same("prompt,completion\n\"two\nlines\",d\n", R"({"prompt":"two\nlines","completion":"d"})");

  const DataReport plain = examine("One day,\nhe said \"no\", then left.\n", with(""));
  CHECK(plain.format == DataFormat::text);
  CHECK(plain.counts.rows == 1);
  const DataReport stories = examine("One day\n<|endoftext|>\nTwo days\n<|endoftext|>\n", with(""), 2);
  CHECK(stories.counts.rows == 2);
  REQUIRE(stories.sample);
  CHECK(stories.sample->line == 3);
  CHECK(stories.sample->example.ids.front() == 1);
  CHECK(stories.sample->example.ids.back() == 2);
}

TEST_CASE("a document longer than the context is cut into windows that hold all of it") {
  DataOptions o = with("");
  o.length = 8;
  const std::string text = "the day was long and the night was short and all was well\n";
  DataReader reader(file_of(text), demo(), o);
  std::vector<std::int32_t> all;
  for (Row row; reader.next(row);) {
    CHECK(row.example.ids.size() <= 8);
    CHECK(row.example.ids[0] == 1);
    CHECK(row.example.loss[0] == 0);
    all.insert(all.end(), row.example.ids.begin() + 1, row.example.ids.end());
  }
  EncodeOptions e;
  e.eos = true;
  CHECK(all == demo()->encode(text.substr(0, text.size() - 1), e));
}

TEST_CASE("what is broken is refused with its line") {
  const std::string two = std::string(good) + "\n";
  CHECK(refused(two + "{\"messages\": [", DataFault::broken, 3).find("rows: line 3: not JSON from byte") == 0);
  refused(two + "[1]", DataFault::broken, 3);
  refused(two + "{\"a\":1,\"a\":2}", DataFault::broken, 3);
  refused("[{\"text\":\"a\"}", DataFault::broken, 1);
  refused("[{\"text\":\"a\"}] x", DataFault::broken, 1);
  refused("[{\"text\":\"a\"} {\"text\":\"b\"}]", DataFault::broken, 1);
  refused("text,id\na\n", DataFault::broken, 2, with(""));
  refused("text,id\n\"a\n\nb", DataFault::broken, 2, with(""));
  refused("text,id\n\"a\"b,1\n", DataFault::broken, 2, with(""));
  refused("text,id\na\"b\",1\n", DataFault::broken, 2, with(""));
  refused("text,text\na,b\n", DataFault::broken, 1, [] { DataOptions o; o.format = DataFormat::csv; return o; }());
  refused("  \n\n", DataFault::empty_file, 0);
  refused("prompt,completion\n", DataFault::empty_file, 0, with(""));
  refused("[]", DataFault::empty_file, 0);
  CHECK(refused(two + "{\"text\":\"\xff\"}", DataFault::encoding, 3).find("byte 9 of the line") != std::string::npos);
  refused("\xff\xfe{\0", DataFault::encoding, 1);
  refused("ok\nbad \xc3\n", DataFault::encoding, 2, with(""));
}

TEST_CASE("rows that say the wrong thing are refused with line and reason") {
  const auto chat = [](const std::string& messages) { return std::string(good) + "{\"messages\":[" + messages + "]}\n"; };
  const std::string u = R"({"role":"user","content":"a"})", a = R"({"role":"assistant","content":"b"})";
  CHECK(refused(chat(u + "," + u), DataFault::roles, 2).find("message 2 (user)") != std::string::npos);
  refused(chat(a), DataFault::roles, 2);
  refused(chat(u), DataFault::roles, 2);
  refused(chat(""), DataFault::roles, 2);
  refused(chat(R"({"role":"tool","content":"a"})"), DataFault::roles, 2);
  refused(chat(u + R"(,{"role":"assistant","content":"  "})"), DataFault::empty_answer, 2);
  refused(chat(u + R"(,{"role":"assistant","content":"b","train":false})"), DataFault::all_masked, 2);
  CHECK(refused(chat(u + R"(,{"role":"assistant","content":"b<|user|>"})"), DataFault::tag, 2).find("\"<|user|>\"") != std::string::npos);
  refused(chat(u + R"(,{"role":"assistant","content":"b</s>"})"), DataFault::tag, 2);
  refused(R"({"text":"<s>[INST] hi"})", DataFault::tag, 1, with(""));
  refused("ok\nhere </s>\n", DataFault::tag, 2, with(""));
  refused(chat(u + R"(,{"role":"assistant"})"), DataFault::shape, 2);
  refused(std::string(good) + R"({"text":"a"})", DataFault::shape, 2);
  CHECK(refused(R"({"a":1,"b":2})", DataFault::shape, 1).find("\"a\", \"b\"") != std::string::npos);
  refused(R"({"prompt":"a","completion":""})", DataFault::empty_answer, 1);
  refused(R"({"prompt":"a","chosen":"b","rejected":"b"})", DataFault::all_masked, 1);
  refused(R"({"prompt":3,"completion":"b"})", DataFault::shape, 1);
  refused(R"({"text":" "})", DataFault::all_masked, 1, with(""));
  // Neutralised, the tag is text.
  DataOptions neutral = with("zephyr");
  neutral.tags = TagPolicy::neutralise;
  const DataReport report = examine(chat(u + R"(,{"role":"assistant","content":"b<|user|></s>"})"), neutral, 2);
  CHECK(report.findings.empty());
  CHECK(report.counts.neutralised == 2);
  REQUIRE(report.sample);
  CHECK(std::count(report.sample->example.ids.begin(), report.sample->example.ids.end(), 2) == 2);
}

TEST_CASE("the doctor reads on after a refused row, and counts what is learnt") {
  const std::string text = std::string(good) + "{broken\n" + good + R"({"messages":[]})" + "\n" + good;
  const DataReport report = examine(text);
  CHECK(report.counts.rows == 3);
  CHECK(report.counts.of(DataFault::broken) == 1);
  CHECK(report.counts.of(DataFault::roles) == 1);
  CHECK(report.counts.of(DataFault::duplicate) == 2);
  CHECK(report.counts.loss_tokens == 3 * static_cast<std::uint64_t>(std::count(report.sample->example.loss.begin(), report.sample->example.loss.end(), 1)));
  REQUIRE(report.findings.size() == 4);
  CHECK(report.findings[1].text == "the same as line 1");
  CHECK(report.findings[1].line == 3);
}

TEST_CASE("duplicates and rows too long are kept, dropped, cut or refused, as asked") {
  const std::string text = std::string(good) + good + R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"hello and more"}]})" + "\n";
  DataOptions o = with("zephyr");
  o.drop_duplicates = true;
  CHECK(examine(text, o).counts.rows == 2);
  const auto short_one = static_cast<std::uint32_t>(examine(good).sample->example.ids.size());
  o = with("zephyr");
  o.length = short_one;
  const DataReport cut = examine(text, o, 3);
  CHECK(cut.counts.rows == 3);
  CHECK(cut.counts.longest == short_one);
  CHECK(cut.counts.of(DataFault::too_long) == 1);
  o.too_long = TooLong::drop;
  CHECK(examine(text, o).counts.rows == 2);
  o.too_long = TooLong::refuse;
  refused(text, DataFault::too_long, 2 + 1, [&] { DataOptions p = o; p.drop_duplicates = true; return p; }());
  // Cut before its answer begins, a row would teach nothing.
  o.too_long = TooLong::cut;
  o.length = 4;
  refused(good, DataFault::all_masked, 1, o);
}

TEST_CASE("texts are duplicates as wholes: windows that are alike are not") {
  const std::string a = R"({"text":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})", b = R"({"text":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"})";
  DataOptions o;
  o.length = 5;
  const DataReport apart = examine(a + "\n" + b + "\n", o);
  CHECK(apart.counts.of(DataFault::duplicate) == 0);
  o.drop_duplicates = true;
  const DataReport one = examine(a + "\n", o), twice = examine(a + "\n" + b + "\n" + a + "\n", o);
  CHECK(twice.counts.of(DataFault::duplicate) == 1);
  CHECK(twice.counts.rows == apart.counts.rows);
  CHECK(one.counts.rows > 1);
}

TEST_CASE("a row of any size is read in bounded memory, and one past the limit is refused") {
  DataOptions o = with("");
  o.max_row_bytes = 1000;
  std::string many;
  for (int i = 0; i < 5000; ++i) many += R"({"text":"row )" + std::to_string(i) + "\"}\n";
  CHECK(examine(many, o).counts.rows == 5000);
  const std::string long_text(2000, 'a');
  refused("{\"text\":\"" + long_text + "\"}\n", DataFault::broken, 1, o);
  refused("[{\"text\":\"" + long_text + "\"}]\n", DataFault::broken, 1, o);
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += "abcdefgh\n";
  refused("text\n\"" + lines + "\"\n", DataFault::broken, 2, o);
  refused("[{\"text\":\n\"" + std::string(600, 'a') + "\",\n\"b\":\"" + std::string(600, 'a') + "\"}]\n", DataFault::broken, 3, o);
}

TEST_CASE("rows of messages without a template name the templates") {
  puna_test::refusal(Code::argument, {"need a chat template", "llama-2, code-llama"}, [] {
    DataReader reader(file_of(good), demo(), with(""));
    Row row;
    reader.next(row);
  });
}

TEST_CASE("packing: whole rows, positions from 0 in each, the first of each without loss") {
  const Examples rows{{{1, 5, 6}, {1, 1, 1}}, {{1, 7}, {0, 1}}, {{1, 8, 9, 2}, {0, 0, 1, 1}}, {{1}, {0}}};
  const auto packed = pack(rows, 5);
  REQUIRE(packed.size() == 2);
  CHECK(packed[0].ids == std::vector<std::int32_t>{1, 5, 6, 1, 7});
  CHECK(packed[0].loss == std::vector<std::uint8_t>{0, 1, 1, 0, 1});
  CHECK(packed[0].positions == std::vector<std::uint32_t>{0, 1, 2, 0, 1});
  CHECK(packed[0].starts == std::vector<std::uint32_t>{0, 3, 5});
  CHECK(packed[0].begin_of(4) == 3);
  CHECK(packed[1].rows == std::vector<std::uint32_t>{2, 3});
  CHECK(packed[1].segments() == 2);
  puna_test::refusal(Code::argument, {"row 2", "4 tokens"}, [&] { pack(rows, 3); });
}

// torchtune encodes a template's parts one by one, so that its prompts have spaces that Meta's do not, and leaves out the
// space that Meta and llama-recipes put before an answer's EOS: of its rows, what is learnt is compared, without that space.
std::vector<std::int32_t> learnt_ids(const Example& e, bool space_before_eos) {
  std::vector<std::int32_t> out;
  for (std::size_t i = 0; i < e.ids.size(); ++i) {
    if (!space_before_eos && i + 1 < e.ids.size() && e.ids[i + 1] == demo()->eos() && demo()->piece(e.ids[i]) == space_symbol) continue;
    if (e.loss[i]) out.push_back(e.ids[i]);
  }
  return out;
}

TEST_CASE("what is learnt is what torchtune and llama-cookbook learn of the same rows") {
  std::istringstream in(puna_test::read_text(puna_test::fixture("chat/masks.jsonl")));
  std::size_t rows = 0;
  for (std::string line; std::getline(in, line); ++rows) {
    const Json row = Json::parse(line, "masks.jsonl");
    CAPTURE(line);
    const bool torchtune = *row.find("by")->string() == "torchtune";
    const DataReport report = examine(row.find("data")->dump(100000), with(row.find("template")->string()->c_str()));
    REQUIRE(report.sample);
    const auto expect = [&](const char* ids, const char* loss, const Example& e) {
      Example theirs;
      for (const Json& id : *row.find(ids)->items()) theirs.ids.push_back(static_cast<std::int32_t>(*id.whole()));
      for (const Json& l : *row.find(loss)->items()) theirs.loss.push_back(static_cast<std::uint8_t>(*l.whole()));
      CHECK(learnt_ids(e, !torchtune) == learnt_ids(theirs, true));
      if (torchtune) return;
      CHECK(e.ids == theirs.ids);
      CHECK(e.loss == theirs.loss);
    };
    expect("ids", "loss", report.sample->example);
    if (row.find("rejected_ids")) expect("rejected_ids", "rejected_loss", report.sample->rejected);
  }
  CHECK(rows == 9);
}

TEST_CASE("the shared sets in the shapes users have") {
  PUNA_SHARED(chat, "instruct/torchtune_chat_tiny.json");
  PUNA_SHARED(instruct, "instruct/torchtune_instruct_tiny.json");
  PUNA_SHARED(pairs, "instruct/torchtune_hh_rlhf_tiny.json");
  PUNA_SHARED(tasks, "instruct/seed_tasks.jsonl");
  PUNA_SHARED(shakespeare, "text/tinyshakespeare.txt");
  PUNA_SHARED(stories, "text/tinystories_a.txt");
  CHECK(load_data(chat.string(), demo(), with("llama-2")).shape == RowShape::sharegpt);
  CHECK(load_data(instruct.string(), demo(), with("")).shape == RowShape::alpaca);
  CHECK(load_data(pairs.string(), demo(), with("llama-2")).rejected.size() == 1);
  // Its answers lie in a list of instances, which is no shape of rows.
  CHECK_THROWS_AS(load_data(tasks.string(), demo(), with("")), DataError);
  DataOptions o;
  o.length = 256;
  const Dataset plays = load_data(shakespeare.string(), demo(), o);
  CHECK(plays.format == DataFormat::text);
  CHECK(plays.examples.size() > 1000);
  const Dataset told = load_data(stories.string(), demo(), {});
  CHECK(told.examples.size() > 1000);
}
