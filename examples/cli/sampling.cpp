#include "sampling.hpp"

#include <limits>

namespace cli {
namespace {

constexpr std::uint32_t most = std::numeric_limits<std::int32_t>::max();

// "ID=VALUE"; -inf forbids the token.
void parse_bias(const std::string& text, std::vector<std::int32_t>& ids, std::vector<float>& biases) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) throw Usage("--logit-bias: '" + text + "' is not ID=VALUE, such as 29871=-2.5");
  ids.push_back(static_cast<std::int32_t>(parse_integer("--logit-bias", text.substr(0, equals), 0, most)));
  const std::string value = text.substr(equals + 1);
  biases.push_back(value == "-inf" ? -std::numeric_limits<float>::infinity()
                                   : static_cast<float>(parse_real("--logit-bias", value, -1e6, 1e6)));
}

}  // namespace

void Sampling::add_options(CommandLine& line) {
  line.group("Sampling, in this order (mirostat instead of what cuts the tail, after the temperature)");
  line.texts("--logit-bias", biases_, "ID=X", "add X to one token's score; -inf forbids it; repeatable");
  line.real("--repeat-penalty", repeat_, 1e-6, 1e6, "divide the scores of recent tokens by X; 1: off");
  line.real("--frequency-penalty", frequency_, -1e6, 1e6, "subtract X per recent occurrence; 0: off");
  line.real("--presence-penalty", presence_, -1e6, 1e6, "subtract X from each recent token; 0: off");
  line.integer("--penalty-window", penalty_window_, 0, most, "how many tokens are recent; default 64");
  line.real("--dry", dry_, 0, 1e6, "DRY: penalty X for going on with a repetition; 0: off");
  line.real("--dry-base", dry_base_, 1, 1e6, "it grows by this factor per token; default 1.75");
  line.integer("--dry-allowed", dry_allowed_, 1, most, "repetitions up to this length are free; default 2");
  line.integer("--dry-window", dry_window_, 1, most, "how far back it looks; default: everything");
  line.ids("--dry-breakers", dry_breakers_, "what ends a repetition; default: newline, colon, quote, star");
  line.integer("--top-k", top_k_, 0, most, "draw from the N likeliest; 0: off");
  line.real("--typical", typical_, 1e-9, 1, "locally typical sampling with mass X; 1: off");
  line.real("--top-p", top_p_, 1e-9, 1, "draw from the likeliest that together reach X; 1: off");
  line.real("--min-p", min_p_, 0, 1, "drop what is less likely than X times the likeliest; 0: off");
  line.real("--temperature", temperature_, 0, 1000,
            "0: always the likeliest; default 0, or 1 when an option below the penalties is given");
  line.real("--mirostat", mirostat_, 1e-9, 1000, "mirostat 2 with a target surprise of X bits (5 is usual)");
  line.real("--mirostat-eta", mirostat_eta_, 0, 100, "its learning rate; default 0.1");
  line.value("--seed", "N", "the same seed draws the same tokens; default 0",
             [this](const std::string& name, const std::string& text) { seed_ = parse_unsigned(name, text); });
}

void Sampling::check() const {
  std::vector<std::int32_t> ids;
  std::vector<float> values;
  for (const std::string& text : biases_) parse_bias(text, ids, values);
}

bool Sampling::random() const { return top_k_ || top_p_ || min_p_ || typical_ || mirostat_; }

bool Sampling::wanted() const {
  return random() || temperature_ || repeat_ || frequency_ || presence_ || dry_ || !biases_.empty();
}

void Sampling::add_bias(puna::Sampler& sampler) const {
  if (biases_.empty()) return;
  std::vector<std::int32_t> ids;
  std::vector<float> values;
  for (const std::string& text : biases_) parse_bias(text, ids, values);
  sampler.logit_bias(ids, values);
}

void Sampling::add_dry(puna::Sampler& sampler, const puna::Tokenizer& tokenizer) const {
  if (!dry_) return;
  std::vector<std::int32_t> breakers = dry_breakers_.value_or(std::vector<std::int32_t>{});
  if (!dry_breakers_ && tokenizer) {
    puna::EncodeOptions plain;
    plain.bos = 0;
    plain.space_prefix = 0;
    for (const char* text : {"\n", ":", "\"", "*"})
      if (const auto ids = tokenizer.encode(text, plain); ids.size() == 1) breakers.push_back(ids[0]);
  }
  sampler.dry(*dry_, dry_base_.value_or(1.75), dry_allowed_, dry_window_, breakers);
}

puna::Sampler Sampling::make(const puna::Tokenizer& tokenizer) const {
  puna::Sampler sampler(seed_);
  const double temperature = temperature_.value_or(random() ? 1 : 0);
  add_bias(sampler);
  if (repeat_ || frequency_ || presence_)
    sampler.penalties(penalty_window_, repeat_.value_or(1), frequency_.value_or(0), presence_.value_or(0));
  add_dry(sampler, tokenizer);
  if (temperature == 0) {
    sampler.greedy();
  } else if (mirostat_) {
    sampler.temperature(temperature).mirostat(*mirostat_, mirostat_eta_.value_or(0.1));
  } else {
    if (top_k_) sampler.top_k(*top_k_);
    if (typical_) sampler.typical(*typical_);
    if (top_p_) sampler.top_p(*top_p_);
    if (min_p_) sampler.min_p(*min_p_);
    sampler.temperature(temperature);
  }
  return sampler;
}

}  // namespace cli
