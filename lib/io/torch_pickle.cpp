#include "torch_pickle.hpp"

#include <array>
#include <bit>
#include <unordered_map>

#include "puna/base/status.hpp"
#include "puna/io/printable.hpp"

namespace puna::io {
namespace {

// More than any checkpoint of tensors needs; they bound memory to a few times the pickle's own size.
constexpr std::size_t max_bytes = std::size_t{64} << 20;
constexpr std::size_t max_values = std::size_t{1} << 22;
constexpr std::size_t max_containers = std::size_t{1} << 20;
constexpr std::size_t max_stack = std::size_t{1} << 17;
constexpr std::size_t max_memo = std::size_t{1} << 20;
constexpr std::size_t max_tensors = std::size_t{1} << 18;
constexpr std::size_t max_rank = 16;

constexpr std::array types{
    TorchType{"FloatStorage", "float32", 4, DType::f32},
    TorchType{"HalfStorage", "float16", 2, DType::f16},
    TorchType{"BFloat16Storage", "bfloat16", 2, DType::bf16},
    TorchType{"DoubleStorage", "float64", 8, {}},
    TorchType{"ByteStorage", "uint8", 1, {}},
    TorchType{"CharStorage", "int8", 1, {}},
    TorchType{"ShortStorage", "int16", 2, {}},
    TorchType{"IntStorage", "int32", 4, {}},
    TorchType{"LongStorage", "int64", 8, {}},
    TorchType{"BoolStorage", "bool", 1, {}},
    TorchType{"ComplexFloatStorage", "complex64", 8, {}},
    TorchType{"ComplexDoubleStorage", "complex128", 16, {}},
    TorchType{"", "uint16", 2, {}},
    TorchType{"", "uint32", 4, {}},
    TorchType{"", "uint64", 8, {}},
    TorchType{"", "float8_e4m3fn", 1, {}},
    TorchType{"", "float8_e5m2", 1, {}},
    TorchType{"", "float8_e4m3fnuz", 1, {}},
    TorchType{"", "float8_e5m2fnuz", 1, {}},
    TorchType{"", "float8_e8m0fnu", 1, {}},
};

// What GLOBAL may name; the rest of the index space are storages and dtypes.
enum Global : std::uint32_t {
  ordered_dict, rebuild_tensor_v2, rebuild_tensor_v3, rebuild_parameter, raw_storage, first_storage,
  first_dtype = first_storage + 1000
};

std::optional<std::uint32_t> find_global(std::string_view module, std::string_view name) {
  if (module == "collections" && name == "OrderedDict") return ordered_dict;
  if (module == "torch._utils") {
    if (name == "_rebuild_tensor_v2") return rebuild_tensor_v2;
    if (name == "_rebuild_tensor_v3") return rebuild_tensor_v3;
    if (name == "_rebuild_parameter") return rebuild_parameter;
  }
  if ((module == "torch.storage" || module == "torch") && name == "UntypedStorage") return raw_storage;
  if (module != "torch" || name.empty()) return std::nullopt;
  for (std::uint32_t i = 0; i < types.size(); ++i) {
    if (types[i].storage == name) return first_storage + i;
    if (types[i].dtype == name) return first_dtype + i;
  }
  return std::nullopt;
}

enum Op : unsigned char {
  op_mark = '(', op_stop = '.', op_appends = 'e', op_append = 'a', op_setitems = 'u', op_setitem = 's',
  op_empty_tuple = ')', op_empty_list = ']', op_empty_dict = '}', op_tuple = 't', op_none = 'N', op_binfloat = 'G',
  op_binint = 'J', op_binint1 = 'K', op_binint2 = 'M', op_binpersid = 'Q', op_reduce = 'R', op_build = 'b',
  op_global = 'c', op_binget = 'h', op_long_binget = 'j', op_binput = 'q', op_long_binput = 'r', op_binunicode = 'X',
  op_proto = 0x80, op_tuple1 = 0x85, op_tuple2 = 0x86, op_tuple3 = 0x87, op_true = 0x88, op_false = 0x89,
  op_long1 = 0x8a, op_short_binunicode = 0x8c, op_binunicode8 = 0x8d, op_stack_global = 0x93, op_memoize = 0x94,
  op_frame = 0x95
};

// Opcodes that exist and are refused, for the message.
std::string_view refused_opcode(unsigned char op) {
  struct Name {
    unsigned char op;
    std::string_view name;
  };
  static constexpr std::array names{
      Name{'0', "POP"}, Name{'1', "POP_MARK"}, Name{'2', "DUP"}, Name{'F', "FLOAT"}, Name{'I', "INT"},
      Name{'L', "LONG"}, Name{'P', "PERSID"}, Name{'S', "STRING"}, Name{'T', "BINSTRING"},
      Name{'U', "SHORT_BINSTRING"}, Name{'V', "UNICODE"}, Name{'B', "BINBYTES"}, Name{'C', "SHORT_BINBYTES"},
      Name{'d', "DICT"}, Name{'g', "GET"}, Name{'i', "INST"}, Name{'l', "LIST"}, Name{'o', "OBJ"}, Name{'p', "PUT"},
      Name{0x81, "NEWOBJ"}, Name{0x82, "EXT1"}, Name{0x83, "EXT2"}, Name{0x84, "EXT4"}, Name{0x8b, "LONG4"},
      Name{0x8e, "BINBYTES8"}, Name{0x8f, "EMPTY_SET"}, Name{0x90, "ADDITEMS"}, Name{0x91, "FROZENSET"},
      Name{0x92, "NEWOBJ_EX"}, Name{0x96, "BYTEARRAY8"}, Name{0x97, "NEXT_BUFFER"}, Name{0x98, "READONLY_BUFFER"},
  };
  for (const Name& n : names)
    if (n.op == op) return n.name;
  return {};
}

class PickleReader {
 public:
  PickleReader(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Pickle run() {
    if (text_.size() > max_bytes)
      broken("a pickle of " + std::to_string(text_.size()) + " bytes, but at most " + std::to_string(max_bytes) +
             " are read");
    while (!stopped_) {
      op_at_ = at_;
      step(static_cast<unsigned char>(take(1)[0]));
    }
    if (at_ != text_.size()) broken(std::to_string(text_.size() - at_) + " bytes follow its end");
    return std::move(out_);
  }

 private:
  using Kind = PickleKind;
  using Value = PickleValue;

  std::string where() const { return file_ + ": pickle: at byte " + std::to_string(op_at_) + ": "; }
  [[noreturn]] void broken(const std::string& what) const { fail(Code::format, where() + what); }
  [[noreturn]] void refuse(const std::string& what) const {
    fail(Code::unsupported, where() + what + ": only tensors are read, nothing is run");
  }

  // --- bytes
  std::string_view take(std::uint64_t n) {
    if (n > text_.size() - at_) broken("the pickle is cut short");
    const auto bytes = text_.substr(at_, static_cast<std::size_t>(n));
    at_ += static_cast<std::size_t>(n);
    return bytes;
  }
  std::uint64_t number(std::size_t n) {
    const auto bytes = take(n);
    std::uint64_t value = 0;
    for (std::size_t i = n; i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  std::string_view line() {
    const auto end = text_.find('\n', at_);
    if (end == std::string_view::npos) broken("the pickle is cut short");
    auto bytes = take(end + 1 - at_);
    bytes.remove_suffix(1);
    return bytes;
  }

  // --- stack
  void push(Value v) {
    if (stack_.size() == max_stack) broken("more than " + std::to_string(max_stack) + " values on the stack");
    if (++values_ > max_values) broken("more than " + std::to_string(max_values) + " values");
    stack_.push_back(v);
  }
  void push(Kind kind, std::size_t index) {
    Value v;
    v.kind = kind;
    v.index = static_cast<std::uint32_t>(index);
    push(v);
  }
  Value& top() {
    if (stack_.empty()) broken("the stack is empty");
    return stack_.back();
  }
  Value pop() {
    const Value v = top();
    if (v.kind == Kind::mark) broken("a mark where a value must be");
    stack_.pop_back();
    return v;
  }
  // The values above the last mark; the mark goes too.
  std::vector<Value> pop_to_mark() {
    std::size_t i = stack_.size();
    while (i > 0 && stack_[i - 1].kind != Kind::mark) --i;
    if (i == 0) broken("no mark on the stack");
    std::vector<Value> values(stack_.begin() + static_cast<std::ptrdiff_t>(i), stack_.end());
    stack_.resize(i - 1);
    return values;
  }
  template <class Table, class Item>
  std::size_t store(Table& table, Item&& item) {
    if (table.size() == max_containers) broken("more than " + std::to_string(max_containers) + " objects of one kind");
    table.push_back(std::forward<Item>(item));
    return table.size() - 1;
  }
  void push_whole(std::int64_t n, Kind kind = Kind::whole) {
    Value v;
    v.kind = kind;
    v.whole = n;
    push(v);
  }
  void push_string(std::string_view s) { push(Kind::string, store(out_.strings, s)); }
  void push_tuple(std::size_t n) {
    std::vector<Value> values(n);
    for (std::size_t i = n; i-- > 0;) values[i] = pop();
    push(Kind::tuple, store(out_.sequences, std::move(values)));
  }
  void remember(std::uint64_t key) {
    const Value v = top();
    if (v.kind == Kind::mark) broken("a mark where a value must be");
    if (memo_.size() >= max_memo) broken("more than " + std::to_string(max_memo) + " memo entries");
    memo_[key] = v;
  }
  void recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) broken("memo entry " + std::to_string(key) + " is not set");
    push(found->second);
  }

  void step(unsigned char op);
  bool step_value(unsigned char op);
  bool step_container(unsigned char op);
  void long1();
  void find_and_push_global(std::string_view module, std::string_view name);
  void append(const std::vector<Value>& values);
  void set_items(const std::vector<Value>& values);
  void reduce();
  void persistent();
  void build();
  std::size_t make_tensor(const std::vector<Value>& args, bool v3);
  std::uint64_t size(const Value& v, const char* what) const;
  std::vector<std::uint64_t> sizes(const Value& v, const char* what) const;
  const std::vector<Value>& tuple(const Value& v, const char* what) const {
    if (v.kind != Kind::tuple) broken(std::string(what) + " must be a tuple");
    return out_.sequences[v.index];
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0, op_at_ = 0, values_ = 0;
  bool stopped_ = false;
  std::vector<Value> stack_;
  std::unordered_map<std::uint64_t, Value> memo_;
  Pickle out_;
};

void PickleReader::step(unsigned char op) {
  if (step_value(op) || step_container(op)) return;
  switch (op) {
    case op_proto:
      if (const auto version = number(1); version < 2 || version > 5)
        fail(Code::unsupported, where() + "pickle protocol " + std::to_string(version) + ", but 2 to 5 are read");
      return;
    case op_frame:
      if (const auto n = number(8); n > text_.size() - at_)
        broken("a frame of " + std::to_string(n) + " bytes passes the end");
      return;
    case op_binput: return remember(number(1));
    case op_long_binput: return remember(number(4));
    case op_memoize: return remember(memo_.size());
    case op_binget: return recall(number(1));
    case op_long_binget: return recall(number(4));
    case op_global: {
      const auto module = line();
      return find_and_push_global(module, line());
    }
    case op_stack_global: {
      const Value name = pop(), module = pop();
      if (name.kind != Kind::string || module.kind != Kind::string) broken("STACK_GLOBAL of what are no strings");
      return find_and_push_global(out_.strings[module.index], out_.strings[name.index]);
    }
    case op_reduce: return reduce();
    case op_binpersid: return persistent();
    case op_build: return build();
    case op_stop:
      out_.root = pop();
      if (!stack_.empty()) broken(std::to_string(stack_.size()) + " values are left at its end");
      stopped_ = true;
      return;
    default: break;
  }
  const auto name = refused_opcode(op);
  if (!name.empty()) refuse("opcode " + std::string(name));
  broken("byte " + std::to_string(op) + " is no pickle opcode");
}

bool PickleReader::step_value(unsigned char op) {
  switch (op) {
    case op_none: return push(Value{}), true;
    case op_true: return push_whole(1, Kind::boolean), true;
    case op_false: return push_whole(0, Kind::boolean), true;
    case op_binint: return push_whole(static_cast<std::int32_t>(number(4))), true;
    case op_binint1: return push_whole(static_cast<std::int64_t>(number(1))), true;
    case op_binint2: return push_whole(static_cast<std::int64_t>(number(2))), true;
    case op_long1: return long1(), true;
    case op_binfloat: {
      std::uint64_t bits = 0;
      for (const char c : take(8)) bits = (bits << 8) | static_cast<unsigned char>(c);  // big-endian, alone in pickles
      Value v;
      v.kind = Kind::number;
      v.number = std::bit_cast<double>(bits);
      return push(v), true;
    }
    case op_short_binunicode: return push_string(take(number(1))), true;
    case op_binunicode: return push_string(take(number(4))), true;
    case op_binunicode8: return push_string(take(number(8))), true;
    default: return false;
  }
}

bool PickleReader::step_container(unsigned char op) {
  switch (op) {
    case op_mark: return push(Kind::mark, 0), true;
    case op_empty_tuple: return push_tuple(0), true;
    case op_tuple1: return push_tuple(1), true;
    case op_tuple2: return push_tuple(2), true;
    case op_tuple3: return push_tuple(3), true;
    case op_tuple: {
      auto values = pop_to_mark();
      return push(Kind::tuple, store(out_.sequences, std::move(values))), true;
    }
    case op_empty_list: return push(Kind::list, store(out_.sequences, std::vector<Value>{})), true;
    case op_empty_dict: return push(Kind::dict, store(out_.dicts, std::vector<std::pair<Value, Value>>{})), true;
    case op_append: return append({pop()}), true;
    case op_appends: return append(pop_to_mark()), true;
    case op_setitem: {
      const Value value = pop(), key = pop();
      return set_items({key, value}), true;
    }
    case op_setitems: return set_items(pop_to_mark()), true;
    default: return false;
  }
}

// A little-endian two's-complement number; past 64 bits it is kept as "big", which nothing here accepts as a size.
void PickleReader::long1() {
  const auto bytes = take(number(1));
  if (bytes.size() > 8) return push(Kind::big, 0);
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  if (!bytes.empty() && bytes.size() < 8 && (static_cast<unsigned char>(bytes.back()) & 0x80))
    value |= ~std::uint64_t{0} << (8 * bytes.size());
  push_whole(static_cast<std::int64_t>(value));
}

void PickleReader::find_and_push_global(std::string_view module, std::string_view name) {
  const auto global = find_global(module, name);
  if (!global)
    refuse("global " + puna::quoted(std::string(module.substr(0, 200)) + "." + std::string(name.substr(0, 200)), 200));
  push(Kind::global, *global);
}

void PickleReader::append(const std::vector<Value>& values) {
  const Value list = top();
  if (list.kind != Kind::list) broken("APPEND to what is no list");
  auto& items = out_.sequences[list.index];
  items.insert(items.end(), values.begin(), values.end());
}

void PickleReader::set_items(const std::vector<Value>& values) {
  const Value dict = top();
  if (dict.kind != Kind::dict) broken("SETITEM on what is no dict");
  if (values.size() % 2 != 0) broken("SETITEMS with a key that has no value");
  auto& items = out_.dicts[dict.index];
  for (std::size_t i = 0; i < values.size(); i += 2) items.emplace_back(values[i], values[i + 1]);
}

void PickleReader::reduce() {
  const Value args = pop(), callee = pop();
  if (callee.kind != Kind::global) broken("REDUCE of what is no global");
  const auto& values = tuple(args, "the arguments of REDUCE");
  switch (callee.index) {
    case ordered_dict:
      if (!values.empty()) refuse("an OrderedDict with arguments");
      return push(Kind::dict, store(out_.dicts, std::vector<std::pair<Value, Value>>{}));
    case rebuild_tensor_v2: return push(Kind::tensor, make_tensor(values, false));
    case rebuild_tensor_v3: return push(Kind::tensor, make_tensor(values, true));
    case rebuild_parameter:
      if (values.size() != 3 || values[0].kind != Kind::tensor) broken("_rebuild_parameter of what is no tensor");
      return push(values[0]);
    default: refuse("a call of a type");
  }
}

std::uint64_t PickleReader::size(const Value& v, const char* what) const {
  if (v.kind != Kind::whole) broken(std::string(what) + " must be a whole number");
  if (v.whole < 0) broken(std::string(what) + " is " + std::to_string(v.whole) + ", but must not be negative");
  return static_cast<std::uint64_t>(v.whole);
}

std::vector<std::uint64_t> PickleReader::sizes(const Value& v, const char* what) const {
  const auto& values = tuple(v, what);
  if (values.size() > max_rank) broken(std::string(what) + " has " + std::to_string(values.size()) + " dimensions");
  std::vector<std::uint64_t> out;
  for (const Value& item : values) out.push_back(size(item, what));
  return out;
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]); v3 has a dtype after the hooks.
std::size_t PickleReader::make_tensor(const std::vector<Value>& args, bool v3) {
  const std::size_t needed = v3 ? 7 : 6;
  if (args.size() != needed && args.size() != needed + 1)
    broken("a tensor of " + std::to_string(args.size()) + " arguments, but it takes " + std::to_string(needed));
  if (args[0].kind != Kind::storage) broken("a tensor without a storage");
  PickleTensor t;
  t.storage = args[0].index;
  t.offset = size(args[1], "a tensor's offset");
  t.shape = sizes(args[2], "a tensor's size");
  t.strides = sizes(args[3], "a tensor's stride");
  if (t.shape.size() != t.strides.size()) broken("a tensor's size and stride differ in length");
  t.type = out_.storages[t.storage].type;
  if (v3) {
    if (args[6].kind != Kind::global || args[6].index < first_dtype) broken("a tensor without a dtype");
    t.type = args[6].index - first_dtype;
  } else if (t.type == untyped_storage) {
    broken("a tensor of an untyped storage");
  }
  if (out_.tensors.size() == max_tensors) broken("more than " + std::to_string(max_tensors) + " tensors");
  values_ += t.shape.size();  // sizes are copied out of tuples that may be shared
  // Metadata can say that the values are to be negated or conjugated.
  if (args.size() > needed && args[needed].kind != Kind::none &&
      (args[needed].kind != Kind::dict || !out_.dicts[args[needed].index].empty()))
    refuse("a tensor with metadata");
  return store(out_.tensors, std::move(t));
}

// ('storage', type, key, location, elements)
void PickleReader::persistent() {
  const Value id = pop();
  const auto& values = tuple(id, "a persistent id");
  if (values.size() != 5 || values[0].kind != Kind::string || out_.strings[values[0].index] != "storage")
    refuse("a persistent id that is no storage");
  if (values[1].kind != Kind::global || values[1].index < raw_storage || values[1].index >= first_dtype)
    broken("a storage without a type");
  if (values[2].kind != Kind::string || values[3].kind != Kind::string) broken("a storage without a key or location");
  PickleStorage s;
  s.key = out_.strings[values[2].index];
  s.type = values[1].index == raw_storage ? untyped_storage : values[1].index - first_storage;
  s.elements = size(values[4], "a storage's length");
  push(Kind::storage, store(out_.storages, s));
}

// torch hangs a state dict's _metadata on it this way. It says nothing about tensors.
void PickleReader::build() {
  const Value state = pop();
  if (state.kind != Kind::dict || top().kind != Kind::dict) refuse("BUILD on what is no OrderedDict");
}

}  // namespace

const TorchType& torch_type(std::uint32_t index) { return types[index]; }

Pickle read_pickle(std::string_view text, const std::string& file) { return PickleReader(text, file).run(); }

}  // namespace puna::io
