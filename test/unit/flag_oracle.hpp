// What a flag is for a context, told from its description in the simplest way: recursively, by the words of the docs,
// with nothing remembered and nothing compiled. Texts to compare come from small tables, whose meaning is written
// beside them.
#pragma once

#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "flag_hash.hpp"
#include "flags.hpp"

namespace pgcache::flags::test {

// In the order of the specification; what is not here is no version.
inline const std::map<std::string, int, std::less<>> kVersionRanks = {
    {"1.0.0-alpha", 1}, {"1.0.0-alpha.1", 2}, {"1.0.0", 3}, {"1.0.0+build", 3}, {"1.2.0", 4}, {"1.10.0", 5}};

inline const std::map<std::string, int64_t, std::less<>> kMoments = {{"2000-01-01", 0},
                                                                     {"2000-01-01T00:00:01Z", 1'000'000},
                                                                     {"2000-01-01 00:01", 60'000'000},
                                                                     {"2000-01-01T01:00:00+01:00", 0}};

inline const std::map<std::string, std::set<std::string>, std::less<>> kNetworks = {
    {"10.0.0.0/8", {"10.0.0.1", "10.255.0.0"}},
    {"10.0.0.1", {"10.0.0.1"}},
    {"0.0.0.0/0", {"10.0.0.1", "10.255.0.0", "192.168.0.1"}},
    {"::/1", {"::1", "2001:db8::1"}},
    {"2001:db8::/32", {"2001:db8::1"}}};

// Each pattern with those of the texts that it matches.
inline const std::map<std::string, std::set<std::string>, std::less<>> kPatterns = {
    {"^pro$", {"pro"}}, {"e+", {"free", "test"}}, {"^[0-9]", {}}};

class FlagOracle {
 public:
  FlagOracle(const FlagSetText& text, const FlagSet& compiled, const Attributes& attributes)
      : text_(text), compiled_(compiled), attributes_(attributes) {}

  // How often a constraint of each operator passed, or did not; all oracles together.
  static inline std::map<Operator, std::map<bool, int>> constraints_seen;

  struct Told {
    bool is_enabled;
    Reason reason;
    ErrorCode error;
    std::optional<size_t> strategy;
  };

  [[nodiscard]] Told tell(size_t i) const {
    const FlagText& flag = text_.flags[i];
    if (flag.is_broken) return {false, Reason::error, ErrorCode::parse_error, {}};
    if (state(flag) != State::enabled) return {false, Reason::disabled, ErrorCode::none, {}};
    for (const PrerequisiteText& it : flag.prerequisites)
      if (!is_met(it)) return {false, Reason::disabled, ErrorCode::none, {}};
    if (flag.strategies.empty()) return {true, Reason::is_static, ErrorCode::none, {}};
    bool lacks_attribute = false;
    for (size_t j = 0; j < flag.strategies.size(); ++j) {
      const StrategyText& strategy = flag.strategies[j];
      if (!are_met(strategy)) continue;
      if (strategy.rollout > 0 && lacks(strategy.stickiness))
        lacks_attribute = true;
      else if (bucket(i, j) < strategy.rollout)
        return {true, reason_of(strategy), ErrorCode::none, j};
    }
    if (lacks_attribute) return {false, Reason::error, ErrorCode::targeting_key_missing, {}};
    return {false, Reason::by_default, ErrorCode::none, {}};
  }

  struct Chosen {
    std::string name;  // empty: none
    bool is_override;
  };

  [[nodiscard]] Chosen choose(size_t i, const Told& told) const {
    if (!told.is_enabled) return {"", false};
    const FlagText& flag = text_.flags[i];
    const bool has_own = told.strategy && !flag.strategies[*told.strategy].variants.all.empty();
    const VariantsText& variants = has_own ? flag.strategies[*told.strategy].variants : flag.variants;
    for (const VariantText& variant : variants.all)
      for (const OverrideText& it : variant.overrides) {
        const auto value = attributes_.get(it.attribute);
        if (value && std::count(it.values.begin(), it.values.end(), *value) > 0) return {variant.name, true};
      }
    if (variants.all.empty()) return {"", false};
    const auto id = stuck_to(variants.stickiness, true);
    if (!id) return {drawn_variant(i, told, variants), false};
    // Unleash counts from one.
    const uint32_t target = published_murmur3(variants.group_id + ':' + *id, 86028157) % variants.total_weight() + 1;
    uint32_t sum = 0;
    for (const VariantText& variant : variants.all) {
      sum += variant.weight;
      if (variant.weight > 0 && target <= sum) return {variant.name, false};
    }
    ADD_FAILURE() << "weights do not reach their sum";
    return {"", false};
  }

  static State state(const FlagText& flag) {
    if (flag.is_killed) return State::killed;
    if (!flag.is_enabled) return State::disabled;
    if (flag.on_at != kNoBeginning && fake_world.time < flag.on_at) return State::scheduled;
    if (flag.off_at != kNoEnd && fake_world.time >= flag.off_at) return State::ended;
    return State::enabled;
  }

 private:
  [[nodiscard]] bool is_met(const PrerequisiteText& it) const {
    const Told told = tell(it.flag);
    if (told.error == ErrorCode::parse_error) return false;
    if (told.is_enabled != it.is_enabled) return false;
    if (!it.is_enabled || it.variants.empty()) return true;
    const std::string name = choose(it.flag, told).name;
    return !name.empty() && std::count(it.variants.begin(), it.variants.end(), name) > 0;
  }

  [[nodiscard]] bool are_met(const StrategyText& strategy) const {
    bool all = true;
    for (const ConstraintText& it : strategy.constraints) all = passes(it) && all;
    for (const auto& segment : strategy.segments) {
      if (!segment) return false;
      for (const ConstraintText& it : text_.segments[*segment]) all = passes(it) && all;
    }
    return all;
  }

  static Reason reason_of(const StrategyText& strategy) {
    if (strategy.rollout < kAllPoints) return Reason::split;
    const bool targets = !strategy.constraints.empty() || !strategy.segments.empty();
    return targets ? Reason::targeting_match : Reason::is_static;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What it sticks to

  [[nodiscard]] std::optional<std::string> not_empty(std::string_view name) const {
    const auto value = attributes_.get(name);
    return value && !value->empty() ? std::optional(std::string(*value)) : std::nullopt;
  }

  // Nothing where chance decides, or there is nothing.
  [[nodiscard]] std::optional<std::string> stuck_to(const std::string& stickiness, bool also_address) const {
    if (stickiness == "random") return std::nullopt;
    if (stickiness != "default") return not_empty(stickiness);
    if (const auto id = not_empty("userId")) return id;
    if (const auto id = not_empty("sessionId")) return id;
    return also_address ? not_empty("remoteAddress") : std::nullopt;
  }

  [[nodiscard]] bool lacks(const std::string& stickiness) const {
    return stickiness != "random" && stickiness != "default" && !not_empty(stickiness);
  }

  [[nodiscard]] uint32_t bucket(size_t i, size_t j) const {
    const StrategyText& strategy = text_.flags[i].strategies[j];
    const auto id = stuck_to(strategy.stickiness, false);
    if (!id) return drawn_point(i, j);
    const uint32_t hash = published_murmur3(strategy.group_id + ':' + *id, 0);
    return hash % 100 * 1000 + hash / 100 % 1000;
  }

  // Chance is what the code makes of the number drawn; here only that it is always the same.
  [[nodiscard]] Points drawn_point(size_t i, size_t j) const {
    const Context context = attributes_.context();
    Workspace workspace{};
    return Evaluation(context, kWorld, workspace).bucket(compiled_.flag(i).strategies[j]).point;
  }

  [[nodiscard]] std::string drawn_variant(size_t i, const Told& told, const VariantsText& variants) const {
    const Flag& flag = compiled_.flag(i);
    const Strategy* strategy = told.strategy ? &flag.strategies[*told.strategy] : nullptr;
    const Context context = attributes_.context();
    Workspace workspace{};
    const Variant* drawn =
        Evaluation(context, kWorld, workspace).variant(flag, {true, told.reason, told.error, strategy});
    if (drawn == nullptr) {
      ADD_FAILURE() << "no variant is drawn";
      return "";
    }
    EXPECT_TRUE(std::any_of(variants.all.begin(), variants.all.end(), [&](const VariantText& it) {
      return it.name == drawn->name && it.weight > 0;
    })) << drawn->name;
    return std::string(drawn->name);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Constraints

  template <typename T>
  static bool compares(Operator op, Operator equal, T one, T other) {
    switch (static_cast<int>(op) - static_cast<int>(equal)) {
      case 0:
        return one == other;
      case 1:
        return one > other;
      case 2:
        return one >= other;
      case 3:
        return one < other;
      default:
        return one <= other;
    }
  }

  static std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return text;
  }

  [[nodiscard]] bool passes(const ConstraintText& it) const {
    const bool result = compare(it) != it.is_inverted;
    ++constraints_seen[it.op][result];
    return result;
  }

  [[nodiscard]] bool compare(const ConstraintText& it) const {
    if (it.op == Operator::date_after || it.op == Operator::date_before) {
      int64_t time = fake_world.time;
      if (const auto given = not_empty("currentTime")) {
        const auto moment = kMoments.find(*given);
        if (moment == kMoments.end()) return false;
        time = moment->second;
      }
      const int64_t bound = kMoments.find(it.value)->second;
      return it.op == Operator::date_after ? time > bound : time < bound;
    }
    const auto found = attributes_.get(it.attribute);
    if (!found) return it.op == Operator::not_in;
    const std::string attribute(*found);
    const bool is_there = std::count(it.values.begin(), it.values.end(), attribute) > 0;
    if (it.op == Operator::in) return is_there;
    if (it.op == Operator::not_in) return !is_there;
    if (it.op < Operator::num_eq) {
      for (const std::string& value : it.values) {
        const std::string text = it.ignores_case ? lower(attribute) : attribute;
        const size_t at = text.rfind(it.ignores_case ? lower(value) : value);
        if (at == std::string::npos) continue;
        if (it.op == Operator::str_contains) return true;
        if (it.op == Operator::str_ends_with && at + value.size() == text.size()) return true;
        if (it.op == Operator::str_starts_with && text.find(it.ignores_case ? lower(value) : value) == 0) return true;
      }
      return false;
    }
    if (it.op < Operator::date_after) {
      char* end;
      const double number = std::strtod(attribute.c_str(), &end);
      return !attribute.empty() && *end == '\0' &&
             compares(it.op, Operator::num_eq, number, std::atof(it.value.c_str()));
    }
    if (it.op == Operator::regex) return kPatterns.find(it.value)->second.contains(attribute);
    if (it.op == Operator::in_cidr)
      return std::any_of(it.values.begin(), it.values.end(), [&](const std::string& network) {
        return kNetworks.find(network)->second.contains(attribute);
      });
    const auto version = kVersionRanks.find(attribute);
    return version != kVersionRanks.end() &&
           compares(it.op, Operator::semver_eq, version->second, kVersionRanks.find(it.value)->second);
  }

  const FlagSetText& text_;
  const FlagSet& compiled_;
  const Attributes& attributes_;
};

}  // namespace pgcache::flags::test
