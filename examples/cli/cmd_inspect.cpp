#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "terminal.hpp"

#include <fmt/format.h>

namespace cli {
namespace {

class Listing : public puna::Handle<puna_listing, puna_listing_destroy> {
 public:
  explicit Listing(const puna::Source& source) { create(puna_listing_open, &source); }
  const char* format() const { return puna_listing_format(get()); }
  std::size_t metadata_count() const { return puna_listing_metadata_count(get()); }
  const char* key(std::size_t i) const { return puna_listing_metadata_key(get(), i); }
  const char* value(std::size_t i) const { return puna_listing_metadata_value(get(), i); }
  std::size_t tensor_count() const { return puna_listing_tensor_count(get()); }
  puna_tensor_info tensor(std::size_t i) const { return puna::fetch<puna_tensor_info>(puna_listing_tensor, get(), i); }
  // Nothing where it is not a Llama that could be loaded.
  std::optional<puna_model_info> model_info() const {
    puna_model_info out{};
    puna_error error;
    puna_error_init(&error, sizeof error);
    if (puna_listing_model_info(get(), &out, sizeof out, &error) != PUNA_OK) return std::nullopt;
    return out;
  }
};

std::uint64_t elements(const puna_tensor_info& tensor) {
  std::uint64_t n = 1;
  for (std::uint32_t i = 0; i < tensor.rank; ++i) {
    const std::uint64_t d = tensor.shape[i];
    if (d != 0 && n > std::numeric_limits<std::uint64_t>::max() / d) return std::numeric_limits<std::uint64_t>::max();
    n *= d;
  }
  return n;
}

std::uint64_t parameters(const Listing& listing) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < listing.tensor_count(); ++i) {
    const std::uint64_t n = elements(listing.tensor(i));
    sum = n > std::numeric_limits<std::uint64_t>::max() - sum ? std::numeric_limits<std::uint64_t>::max() : sum + n;
  }
  return sum;
}

Json config_json(const std::optional<puna_model_info>& info) {
  if (!info) return nullptr;
  return {{"dim", info->dim},
          {"ffn_dim", info->ffn_dim},
          {"layers", info->layers},
          {"heads", info->heads},
          {"kv_heads", info->kv_heads},
          {"head_dim", info->head_dim},
          {"vocab", info->vocab},
          {"context", info->context},
          {"tied", info->tied != 0},
          {"norm_epsilon", info->norm_epsilon},
          {"rope_theta", info->rope_theta},
          {"weight_bytes", info->weight_bytes}};
}

Json tensors_json(const Listing& listing) {
  Json out = Json::array();
  for (std::size_t i = 0; i < listing.tensor_count(); ++i) {
    const puna_tensor_info tensor = listing.tensor(i);
    out.push_back({{"name", tensor.name},
                   {"type", tensor.type},
                   {"shape", std::vector<std::uint64_t>(tensor.shape, tensor.shape + tensor.rank)},
                   {"bytes", tensor.bytes}});
  }
  return out;
}

Json metadata_json(const Listing& listing) {
  Json out = Json::object();
  for (std::size_t i = 0; i < listing.metadata_count(); ++i) out[listing.key(i)] = listing.value(i);
  return out;
}

void print_text(const Listing& listing, const std::optional<puna_model_info>& info, std::uint64_t parameter_count) {
  std::string out = fmt::format("format      {}\nparameters  {}\n", printable(listing.format()), parameter_count);
  if (info) {
    out += "\nconfig\n";
    const Json config = config_json(info);  // items() only borrows
    for (const auto& [key, value] : config.items()) out += fmt::format("  {:<14}{}\n", key, value.dump());
  }
  if (listing.metadata_count() > 0) out += "\nmetadata\n";
  for (std::size_t i = 0; i < listing.metadata_count(); ++i)
    out += fmt::format("  {} = {}\n", printable(listing.key(i)), printable(listing.value(i), 70));
  out += fmt::format("\n{} tensors\n", listing.tensor_count());
  for (std::size_t i = 0; i < listing.tensor_count(); ++i) {
    const puna_tensor_info tensor = listing.tensor(i);
    std::string shape;
    for (std::uint32_t d = 0; d < tensor.rank; ++d) shape += fmt::format("{}{}", d ? " x " : "", tensor.shape[d]);
    out += fmt::format("  {:<44} {:<6} {:<18} {:>12} bytes\n", printable(tensor.name), printable(tensor.type), shape,
                       tensor.bytes);
  }
  write_out(out);
}

// What two files say differently: tensors by name, type, shape and size, and metadata by value.
Json difference(const Listing& a, const Listing& b) {
  const Json first = tensors_json(a), second = tensors_json(b);
  const auto by_name = [](const Json& tensors) {
    std::map<std::string, Json> out;
    for (const Json& t : tensors) out[t["name"].get<std::string>()] = t;
    return out;
  };
  const auto left = by_name(first), right = by_name(second);
  Json out{{"only_first", Json::array()},
           {"only_second", Json::array()},
           {"changed", Json::array()},
           {"metadata", Json::object()}};
  for (const auto& [name, t] : left) {
    const auto other = right.find(name);
    if (other == right.end())
      out["only_first"].push_back(name);
    else if (other->second != t)
      out["changed"].push_back({{"name", name}, {"first", t}, {"second", other->second}});
  }
  for (const auto& [name, t] : right)
    if (left.count(name) == 0) out["only_second"].push_back(name);
  const Json meta_a = metadata_json(a), meta_b = metadata_json(b);
  for (const auto& [key, value] : meta_a.items())
    if (!meta_b.contains(key) || meta_b[key] != value) out["metadata"][key] = {value, meta_b.value(key, Json(nullptr))};
  for (const auto& [key, value] : meta_b.items())
    if (!meta_a.contains(key)) out["metadata"][key] = {nullptr, value};
  return out;
}

void print_difference(const Json& d) {
  std::string out;
  for (const Json& name : d["only_first"]) out += fmt::format("- {}\n", printable(name.get<std::string>()));
  for (const Json& name : d["only_second"]) out += fmt::format("+ {}\n", printable(name.get<std::string>()));
  for (const Json& t : d["changed"])
    out += fmt::format("  {:<40} {} {} -> {} {}, {} -> {} bytes\n", printable(t["name"].get<std::string>()),
                       t["first"]["type"].get<std::string>(), t["first"]["shape"].dump(),
                       t["second"]["type"].get<std::string>(), t["second"]["shape"].dump(), t["first"]["bytes"].dump(),
                       t["second"]["bytes"].dump());
  for (const auto& [key, values] : d["metadata"].items())
    out += fmt::format("  {}: {} -> {}\n", printable(key), printable(values[0].dump(), 60),
                       printable(values[1].dump(), 60));
  write_out(out.empty() ? "no difference in the headers\n" : out);
}

}  // namespace

int run_inspect(const Arguments& arguments) {
  CommandLine line("inspect",
                   "What a file holds, by its header alone: any GGUF, safetensors or torch file, a model folder, or a\n"
                   "llama2.c .bin. No weights are read. config is shown for a Llama that puna could load.",
                   "  puna inspect llama.gguf\n"
                   "  puna inspect model.safetensors --json");
  std::string file, other;
  line.text("FILE", file, "", "the file or folder");
  line.text("--diff", other, "FILE", "what that file's header says differently");
  line.add_output();
  if (!line.parse(arguments)) return exit_ok;
  if (file.empty()) throw Usage("no FILE to inspect");

  const Listing listing{puna::Source(file.c_str())};
  if (!other.empty()) {
    const Json d = difference(listing, Listing{puna::Source(other.c_str())});
    line.options().json ? write_json(d) : print_difference(d);
    return exit_ok;
  }
  const std::optional<puna_model_info> info = listing.model_info();
  const std::uint64_t count = info ? info->parameters : parameters(listing);
  if (line.options().json)
    write_json({{"format", listing.format()},
                {"config", config_json(info)},
                {"parameters", count},
                {"metadata", metadata_json(listing)},
                {"tensors", tensors_json(listing)}});
  else
    print_text(listing, info, count);
  return exit_ok;
}

}  // namespace cli
