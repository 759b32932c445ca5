// puna train, merge and generate --lora: a run and its output, kills, refusals.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cmath>
#include <sstream>
#include <thread>

#include "puna/base/rng.hpp"
#include "run_cli.hpp"

using namespace cli_test;
using puna_test::fixture;
using puna_test::read_file;
using puna_test::read_text;
using puna_test::TempDir;

namespace {

std::string model() { return fixture("tiny/model.gguf").string(); }

// Short stories of one kind, that the demo model was not made of.
std::string rows() {
  std::string text;
  for (const char* name : {"Mia", "Tom", "Ben", "Lily"})
    for (const char* thing : {"boat", "kite", "drum", "cake", "lamp", "ball"})
      text += Json{{"text", std::string(name) + " made a " + thing + ". The " + thing + " was very big. " + name + " was proud of the " + thing + "."}}.dump() + "\n";
  return text;
}

Arguments train(const fs::path& data, const fs::path& out, const Arguments& more = {}, const char* steps = "12", const char* threads = "1",
                const char* length = "64") {
  Arguments all{"train", "-m", model(), "--data", data.string(), "--out", out.string(), "--length", length, "--batch", "2", "--steps", steps,
                "--rank", "4", "--lr", "2e-3", "--dropout", "0.1", "--checkpoint-every", "1", "--threads", threads, "--json", "-q"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<Json> lines(const std::string& text) {
  std::vector<Json> all;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) all.push_back(Json::parse(line));
  return all;
}

}  // namespace

TEST_CASE("train: an adapter, a line of JSON a step, a curve, a held-out loss that falls; generate and merge take it") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  const Ran ran = run(train(dir / "rows.jsonl", dir / "adapter", {"--held-out", (dir / "rows.jsonl").string()}));
  REQUIRE(ran.code == 0);
  const auto all = lines(ran.out);
  REQUIRE(all.size() == 15);  // 12 steps, two measurements, the end
  CHECK(all[0]["event"] == "held_out");
  CHECK(keys(all[1]) == std::vector<std::string>{"epoch", "event", "grad_norm", "loss", "lr", "memory_bytes", "seconds_left", "step", "steps", "tokens", "tokens_per_second"});
  CHECK(all.back()["event"] == "done");
  CHECK(all.back()["held_out_after"].get<double>() < 0.8 * all.back()["held_out_before"].get<double>());
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "loss.svg"}) CHECK(fs::exists(dir / "adapter" / name));
  CHECK_FALSE(fs::exists(dir / "adapter.checkpoint"));

  const Arguments prompt{"-p", "Tom made a", "-n", "8", "--ignore-eos", "--json", "-q"};
  const auto generated = [&](Arguments with) {
    with.insert(with.begin(), "generate");
    with.insert(with.end(), prompt.begin(), prompt.end());
    return run(with).json()["ids"];
  };
  const std::string adapter = (dir / "adapter").string(), merged = (dir / "merged.gguf").string();
  const Json plain = generated({"-m", model()}), live = generated({"-m", model(), "--lora", adapter});
  CHECK(live != plain);
  CHECK(generated({"-m", model(), "--lora", adapter + "=0"}) == plain);
  REQUIRE(run({"merge", "-m", model(), "--lora", adapter, "--out", merged, "-q"}).code == 0);
  CHECK(generated({"-m", merged}) == live);
}

TEST_CASE("train: preferences, recognised or asked for; what is no pair, or has no reference, is refused") {
  const TempDir dir;
  std::string text;
  for (const char* name : {"Mia", "Tom", "Ben", "Lily"})
    text += Json{{"prompt", std::string(name) + " made a "}, {"chosen", "boat."}, {"rejected", "cake. It was bad."}}.dump() + "\n";
  puna_test::write_file(dir / "pairs.jsonl", text);
  puna_test::write_file(dir / "rows.jsonl", rows());
  const fs::path pairs = dir / "pairs.jsonl", out = dir / "adapter";
  const Ran ran = run(train(pairs, out, {"--held-out", pairs.string(), "--beta", "0.2"}));
  REQUIRE(ran.code == 0);
  const auto all = lines(ran.out);
  CHECK(all[0]["loss"].get<double>() == doctest::Approx(std::log(2.0)));
  CHECK(all[1]["reward_margin"].get<double>() == doctest::Approx(0).epsilon(1e-6));
  CHECK(all[12]["reward_accuracy"] == 1.0);
  CHECK(all[12]["reward_margin"].get<double>() > 0);
  CHECK(all.back()["held_out_after"].get<double>() < 0.6);
  CHECK(run({"generate", "-m", model(), "--lora", out.string(), "-p", "Tom made a", "-n", "2", "-q"}).code == 0);
  CHECK(run(train(pairs, dir / "sft", {"--objective", "sft"}, "1")).code == 0);
  check_refused(run(train(dir / "rows.jsonl", dir / "no", {"--objective", "dpo"})), 1);
  check_refused(run(train(pairs, dir / "no", {"--method", "full"})), 1);
  check_refused(run(train(pairs, dir / "no", {"--objective", "magic"})), 2);
  check_refused(run(train(pairs, dir / "no", {"--held-out", (dir / "rows.jsonl").string()})), 1);
  CHECK_FALSE(fs::exists(dir / "no"));
}

TEST_CASE("train: full leaves a model that loads") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  const std::string out = (dir / "tuned.gguf").string();
  REQUIRE(run({"train", "-m", model(), "--data", (dir / "rows.jsonl").string(), "--out", out, "--method", "full", "--lr", "1e-3", "--steps", "2",
               "--length", "64", "--type", "f16", "-q"}).code == 0);
  CHECK(run({"generate", "-m", out, "-p", "Tom", "-n", "4", "-q"}).code == 0);
}

TEST_CASE("train --from-scratch: one command from a text to a model that continues it, measured on rows that it never saw") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  const std::string out = (dir / "new.gguf").string(), shape = "dim=32,layers=2,heads=4,kv_heads=2,vocab=512,context=128,tied=1";
  const Arguments command{"train", "--from-scratch", shape, "--tokenizer", model(), "--data", (dir / "rows.jsonl").string(),
                          "--batch", "4", "--length", "64", "--lr", "1e-2", "--eval-every", "20", "--json", "-q"};
  const auto with = [&](const std::string& to, const Arguments& more = {}, const char* held_out = "20%", const char* epochs = "60") {
    Arguments all = command;
    all.insert(all.end(), {"--out", to, "--held-out", held_out, "--epochs", epochs});
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  };
  const Ran ran = with(out);
  REQUIRE(ran.code == 0);
  const auto all = lines(ran.out);
  REQUIRE(all.size() > 2);
  CHECK(all[0]["loss"].get<double>() == doctest::Approx(std::log(512.0)).epsilon(0.01));  // it knows nothing
  CHECK(all.back()["held_out_before"] == all[0]["loss"]);
  CHECK(all.back()["held_out_after"].get<double>() < 2.0);
  const auto held_out = std::count_if(all.begin(), all.end(), [](const Json& line) { return line["event"] == "held_out"; });
  CHECK(held_out == 2 + (all.back()["steps"].get<int>() - 1) / 20);
  const Ran told = run({"generate", "-m", out, "-p", "Tom made a", "-n", "12", "--json", "-q"});
  REQUIRE(told.code == 0);
  CHECK(told.json()["text"].get<std::string>().find("was very big") != std::string::npos);
  const Json inspected = run({"inspect", out, "--json"}).json();
  CHECK(inspected["config"]["dim"] == 32);

  // Another seed begins elsewhere; the shape and the words of a model can be taken as they are.
  CHECK(lines(with((dir / "seed.gguf").string(), {"--seed", "5"}, "20%", "1").out).at(0)["loss"] != all[0]["loss"]);
  const Ran same = run({"train", "--from-scratch", "same", "-m", model(), "--data", (dir / "rows.jsonl").string(), "--out", (dir / "same").string(), "--steps", "1",
                        "--length", "64", "--json", "-q"});
  REQUIRE(same.code == 0);
  CHECK(lines(same.out).at(0)["loss"].get<double>() > 6.0);
  CHECK(run({"generate", "-m", (dir / "same").string(), "-p", "Tom", "-n", "1", "-q"}).code == 0);

  check_refused(with((dir / "no").string(), {"--method", "lora"}), 1);
  check_refused(with((dir / "no").string(), {"-m", model()}), 2);
  check_refused(run({"train", "--from-scratch", shape, "--data", "x", "--out", (dir / "no").string()}), 2);
  check_refused(run({"train", "--from-scratch", "dim=32,heads=x", "--tokenizer", model(), "--data", "x", "--out", (dir / "no").string()}), 1);
  check_refused(with((dir / "no").string(), {}, "0.5%"), 1);  // of 24 rows: none
  CHECK_FALSE(fs::exists(dir / "no"));
}

TEST_CASE("train: --patience stops where the held-out loss turns, and keeps the best; --general tells what is forgotten") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  std::string other, general;  // what the rows drive out
  for (const char* name : {"Anna", "Max"}) other += Json{{"text", std::string("Once upon a time there was a boy. He met ") + name + " in the park."}}.dump() + "\n";
  general = read_text(fixture("tiny/expected.txt"));
  puna_test::write_file(dir / "other.jsonl", other);
  puna_test::write_file(dir / "general.txt", general);
  const Arguments measured{"--held-out", (dir / "other.jsonl").string(), "--general", (dir / "general.txt").string(), "--eval-every", "2"};
  Arguments patient = measured;
  patient.insert(patient.end(), {"--patience", "2"});
  const Ran ran = run(train(dir / "rows.jsonl", dir / "early", patient, "200"));
  REQUIRE(ran.code == 0);
  const auto all = lines(ran.out);
  const Json done = all.back();
  CHECK(done["steps"].get<int>() < 200);
  const int best = done["best_step"].get<int>();
  CHECK(best + 4 == done["steps"].get<int>());
  double lowest = 1e9, at_best = 0;
  for (const Json& line : all)
    if (line["event"] == "held_out") {
      lowest = std::min(lowest, line["loss"].get<double>());
      if (line["step"] == best) at_best = line["loss"].get<double>();
    }
  CHECK(done["held_out_after"].get<double>() == lowest);
  CHECK(at_best == lowest);
  CHECK(std::count_if(all.begin(), all.end(), [](const Json& line) { return line["event"] == "general"; }) == 2);

  // The weights are those of a run that ended there by itself.
  const Ran whole = run(train(dir / "rows.jsonl", dir / "whole", measured, "30"));
  REQUIRE(whole.code == 0);
  const Json end = lines(whole.out).back();
  CHECK(end["best_step"] == 30);
  CHECK(std::fabs(std::log(end["general_ppl_after"].get<double>() / end["general_ppl_before"].get<double>())) > 0.05);
  CHECK(end["general_ppl_before"] == done["general_ppl_before"]);
  check_refused(run(train(dir / "rows.jsonl", dir / "no", {"--patience", "2"})), 1);
  CHECK_FALSE(fs::exists(dir / "no"));
}

TEST_CASE("train: a kill at twenty moments, and the same command goes on to the same adapter") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(run(train(dir / "rows.jsonl", dir / "whole")).code == 0);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  const auto expected = read_file(dir / "whole" / "adapter_model.safetensors");
  REQUIRE(run(train(dir / "rows.jsonl", dir / "threads", {}, "12", "3")).code == 0);
  CHECK(read_file(dir / "threads" / "adapter_model.safetensors") == expected);
  puna::Rng rng(9, 1);
  int resumed = 0;
  for (int i = 0; i < 20; ++i) {
    CAPTURE(i);
    const fs::path out = dir / ("out" + std::to_string(i));
    {
      Child child(cli_path(), train(dir / "rows.jsonl", out));
      std::this_thread::sleep_for(whole * (static_cast<double>(rng.next() % 1000) / 1000));
      child.kill_now();
      child.wait();
    }
    resumed += fs::exists(out.string() + ".checkpoint");
    if (!fs::exists(out)) REQUIRE(run(train(dir / "rows.jsonl", out)).code == 0);
    CHECK(read_file(out / "adapter_model.safetensors") == expected);
  }
  CHECK(resumed > 0);
}

TEST_CASE("train: Ctrl-C saves and says how to go on") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  Arguments long_run = train(dir / "rows.jsonl", dir / "out", {}, "4000");
  Child child(cli_path(), long_run);
  REQUIRE(child.wait_for_output(200));
  child.interrupt();
  const Ran ran = child.wait();
  CHECK(ran.code == 130);
  CHECK(fs::exists(dir / "out.checkpoint"));
  CHECK_FALSE(fs::exists(dir / "out"));
}

TEST_CASE("train: stopped with an empty folder as its output, the same command goes on and finishes") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  fs::create_directory(dir / "out");
  Child child(cli_path(), train(dir / "rows.jsonl", dir / "out", {}, "60"));
  REQUIRE(child.wait_for_output(200));
  child.interrupt();
  REQUIRE(child.wait().code == 130);
  REQUIRE(fs::exists(dir / "out.checkpoint"));
  REQUIRE(run(train(dir / "rows.jsonl", dir / "out", {}, "60")).code == 0);
  CHECK_FALSE(fs::exists(dir / "out.checkpoint"));
  REQUIRE(run(train(dir / "rows.jsonl", dir / "whole", {}, "60")).code == 0);
  CHECK(read_file(dir / "out" / "adapter_model.safetensors") == read_file(dir / "whole" / "adapter_model.safetensors"));
}

TEST_CASE("train and merge: what is refused, and nothing is left") {
  const TempDir dir;
  puna_test::write_file(dir / "rows.jsonl", rows());
  puna_test::write_file(dir / "broken.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
  puna_test::write_file(dir / "empty.jsonl", "");
  puna_test::write_file(dir / "there", "x");
  const fs::path data = dir / "rows.jsonl", out = dir / "out";
  check_refused(run({"train", "-m", model(), "--out", out.string()}), 2);
  check_refused(run({"train", "-m", model(), "--data", data.string()}), 2);
  check_refused(run(train(data, out, {"--method", "magic"})), 2);
  check_refused(run(train(data, out, {"--targets", "q,w"})), 2);
  check_refused(run(train(data, out, {}, "12", "1", "100000")), 1);
  check_refused(run(train(data, dir / "there")), 1);
  // What would fail at the end is told at the beginning.
  const Ran early = run(train(data, dir / "no" / "such" / "out"));
  check_refused(early, 1);
  CHECK(early.out.empty());
  check_refused(run(train(data, out, {"--type", "q4_0"})), 2);
  const Ran type = run(train(data, dir / "full.gguf", {"--method", "full", "--type", "q9"}));
  check_refused(type, 1);
  CHECK(type.out.empty());
  CHECK_FALSE(fs::exists(dir / "full.gguf.checkpoint"));
  const Ran broken = run(train(dir / "broken.jsonl", out));
  check_refused(broken, 1);
  CHECK(broken.err.find("line 2") != std::string::npos);
  check_refused(run(train(dir / "empty.jsonl", out)), 1);
  check_refused(run(train(dir / "absent.jsonl", out)), 1);
  check_refused(run({"merge", "-m", model(), "--lora", (dir / "absent").string(), "--out", (dir / "m.gguf").string()}), 1);
  check_refused(run({"generate", "-m", model(), "--lora", data.string(), "-p", "x", "-n", "1"}), 1);
  CHECK_FALSE(fs::exists(out));
  CHECK_FALSE(fs::exists(dir / "out.checkpoint"));
  CHECK_FALSE(fs::exists(dir / "m.gguf"));
}
