// Random flags for random contexts, against an oracle that follows the docs.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "flag_oracle.hpp"
#include "flags.hpp"

namespace pgcache::flags {
namespace {

using namespace test;

using Texts = std::vector<std::string>;

const std::map<std::string, Texts> kAttributes = {
    {"userId", {"1", "2", "3", "40", "500", ""}},
    {"sessionId", {"s1", "s2", "7", ""}},
    {"remoteAddress", {"10.0.0.1", "10.255.0.0", "192.168.0.1", "::1", "2001:db8::1", "localhost"}},
    {"currentTime",
     {"2000-01-01", "2000-01-01T00:00:01Z", "2000-01-01 00:01", "2000-01-01T01:00:00+01:00", "soon", ""}},
    {"plan", {"free", "pro", "test", "Pro Plus", ""}},
    {"age", {"17", "18", "18.5", "-1", "1e3", "old"}},
    {"version", {"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0", "1.0.0+build", "1.2.0", "1.10.0", "1.0", "new"}},
    {"company", {"acme", "umbrella", "3", ""}}};

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  FlagSetText flag_set() {
    FlagSetText text;
    text.segments.resize(below(4));
    for (auto& segment : text.segments) segment = constraints(3);
    const size_t flags = 1 + below(10);
    for (size_t i = 0; i < flags; ++i) text.flags.push_back(flag(i, text));
    return text;
  }

  Attributes attributes() {
    Attributes result;
    for (const auto& [name, values] : kAttributes)
      if (one_in(2)) result[name] = pick(values);
    if (one_in(2)) result["userId"] = std::to_string(below(1'000));
    return result;
  }

  int64_t time() { return pick(kTimes) - (one_in(3) ? 1 : 0); }
  uint64_t number() { return random_(); }
  size_t below(size_t count) { return random_() % count; }

 private:
  static inline const std::vector<int64_t> kTimes = {0, 1'000'000, 2'000'000, 60'000'000, 120'000'000};

  bool one_in(size_t count) { return below(count) == 0; }

  template <typename All>
  typename All::value_type pick(const All& all) {
    return *std::next(all.begin(), static_cast<ptrdiff_t>(below(all.size())));
  }

  std::string any_attribute() { return pick(kAttributes).first; }

  ConstraintText constraint() {
    ConstraintText text;
    text.op = static_cast<Operator>(below(static_cast<size_t>(Operator::in_cidr) + 1));
    text.is_inverted = one_in(4);
    text.attribute = any_attribute();
    if (text.op <= Operator::str_contains) {
      for (size_t count = below(4); text.values.size() < count;) {
        std::string value = pick(kAttributes.at(text.attribute));
        if (text.op >= Operator::str_starts_with) value = "r" + value.substr(0, below(3));
        if (text.op >= Operator::str_starts_with && one_in(2))
          value = pick(Texts{"p", "P", "1", "e", "ro", "us", "st"});
        if (!value.empty()) text.values.push_back(value);
      }
      text.ignores_case = text.op >= Operator::str_starts_with && one_in(4);
    } else if (text.op <= Operator::num_lte) {
      if (!one_in(4)) text.attribute = "age";
      text.value = pick(Texts{"18", "18.5", "-1", "1000", "3"});
    } else if (text.op <= Operator::date_before) {
      text.value = pick(kMoments).first;
    } else if (text.op <= Operator::semver_lte) {
      if (!one_in(4)) text.attribute = "version";
      text.value = pick(kVersionRanks).first;
    } else if (text.op == Operator::regex) {
      text.attribute = "plan";
      text.value = pick(kPatterns).first;
    } else {
      if (!one_in(4)) text.attribute = "remoteAddress";
      for (size_t count = below(3); text.values.size() < count;) text.values.push_back(pick(kNetworks).first);
    }
    return text;
  }

  std::vector<ConstraintText> constraints(size_t most) {
    std::vector<ConstraintText> all(one_in(3) ? below(most + 1) : 0);
    for (ConstraintText& it : all) it = constraint();
    return all;
  }

  std::string stickiness() {
    return pick(Texts{"default", "default", "default", "random", "company", "userId", "plan"});
  }

  VariantsText variants() {
    VariantsText text;
    if (one_in(2)) return text;
    for (size_t count = 1 + below(4); text.all.size() < count;) {
      VariantText variant{
          std::string(1, static_cast<char>('a' + text.all.size())), pick(std::array{0U, 1U, 3U, 500U}), {}};
      if (one_in(4)) {
        const std::string attribute = any_attribute();
        variant.overrides.push_back({attribute, {pick(kAttributes.at(attribute)), pick(kAttributes.at(attribute))}});
      }
      text.all.push_back(variant);
    }
    if (text.total_weight() == 0) text.all.back().weight = 1;
    text.stickiness = stickiness();
    text.group_id = pick(Texts{"", "flag", "other group"});
    return text;
  }

  Points points() {
    if (one_in(2)) return kAllPoints;
    return one_in(6) ? 0 : static_cast<Points>(below(kAllPoints + 1));
  }

  FlagText flag(size_t number, const FlagSetText& set) {
    FlagText text;
    text.is_broken = one_in(25);
    text.is_enabled = !one_in(12);
    text.is_killed = one_in(20);
    if (one_in(5)) text.on_at = pick(kTimes);
    if (one_in(5)) text.off_at = std::max<int64_t>(pick(kTimes), text.on_at == kNoBeginning ? 0 : text.on_at + 1);
    for (size_t count = below(4); text.strategies.size() < count;) {
      StrategyText strategy;
      strategy.id = static_cast<int64_t>(number * 10 + text.strategies.size());
      strategy.rollout = points();
      strategy.stickiness = stickiness();
      strategy.group_id = pick(Texts{"flag", "other group"});
      strategy.constraints = constraints(3);
      for (size_t segments = one_in(3) ? below(3) : 0; strategy.segments.size() < segments;) {
        const size_t segment = below(set.segments.size() + 1);
        strategy.segments.push_back(segment < set.segments.size() ? std::optional(segment) : std::nullopt);
      }
      if (one_in(4)) strategy.variants = variants();
      text.strategies.push_back(strategy);
    }
    text.variants = variants();
    for (size_t count = number == 0 || one_in(2) ? 0 : 1 + below(2); text.prerequisites.size() < count;) {
      PrerequisiteText prerequisite{below(number), !one_in(3), {}};
      const VariantsText& its = set.flags[prerequisite.flag].variants;
      if (!its.all.empty() && one_in(2)) prerequisite.variants = {pick(its.all).name, pick(its.all).name};
      text.prerequisites.push_back(prerequisite);
    }
    return text;
  }

  std::mt19937_64 random_;
};

TEST(FlagProperties, AnswersAreTheOracles) {
  constexpr int kSets = 3'000;
  constexpr int kContexts = 14;
  Generator generator(127);
  FlagOracle::constraints_seen.clear();
  std::map<Reason, int> reasons;
  std::map<ErrorCode, int> errors;
  int evaluations = 0;
  int variants = 0;
  int overrides = 0;
  int with_prerequisites = 0;
  for (int i = 0; i < kSets; ++i) {
    const FlagSetText text = generator.flag_set();
    FlagSet set(text);
    for (int j = 0; j < kContexts; ++j) {
      const Attributes attributes = generator.attributes();
      const Context context = attributes.context();
      const FlagOracle oracle(text, set, attributes);
      fake_world.time = generator.time();
      fake_world.number = generator.number();
      fake_world.clock_readings = fake_world.draws = 0;
      Evaluation all_at_once(context, kWorld, set.workspace());
      std::vector<Answer> answers;
      std::vector<const Variant*> chosen;
      for (size_t f = 0; f < set.size(); ++f) {
        answers.push_back(all_at_once.answer(set.flag(f)));
        chosen.push_back(all_at_once.variant(set.flag(f), answers.back()));
      }
      ASSERT_LE(fake_world.clock_readings, 1);
      ASSERT_LE(fake_world.draws, 1);
      for (size_t f = 0; f < set.size(); ++f) {
        SCOPED_TRACE("set " + std::to_string(i) + ", context " + std::to_string(j) + ", flag " + std::to_string(f));
        const FlagOracle::Told told = oracle.tell(f);
        const FlagOracle::Chosen expected = oracle.choose(f, told);
        const Strategy* strategy = told.strategy ? &set.flag(f).strategies[*told.strategy] : nullptr;
        Evaluation alone(context, kWorld, set.workspace());
        const Answer answer = alone.answer(set.flag(f));
        ASSERT_EQ(answer, (Answer{told.is_enabled, told.reason, told.error, strategy}));
        bool is_override = false;
        const Variant* variant = alone.variant(set.flag(f), answer, is_override);
        ASSERT_EQ(variant == nullptr ? "" : variant->name, expected.name);
        ASSERT_EQ(is_override, expected.is_override);
        ASSERT_EQ(answers[f], answer) << "of all at once";
        ASSERT_EQ(chosen[f], variant) << "of all at once";
        ASSERT_EQ(alone.state(set.flag(f)), FlagOracle::state(text.flags[f]));
        ++evaluations;
        ++reasons[answer.reason];
        ++errors[answer.error];
        variants += variant != nullptr && !is_override ? 1 : 0;
        overrides += is_override ? 1 : 0;
        with_prerequisites += answer.is_enabled && !text.flags[f].prerequisites.empty() ? 1 : 0;
      }
    }
  }
  // Nothing is left out.
  EXPECT_GE(evaluations, 200'000);
  for (const Reason reason :
       {Reason::is_static, Reason::targeting_match, Reason::split, Reason::by_default, Reason::disabled, Reason::error})
    EXPECT_GE(reasons[reason], 3'000) << name_of(reason);
  EXPECT_GE(errors[ErrorCode::targeting_key_missing], 1'000);
  EXPECT_GE(errors[ErrorCode::parse_error], 1'000);
  EXPECT_GE(variants, 10'000);
  EXPECT_GE(overrides, 2'000);
  EXPECT_GE(with_prerequisites, 5'000);
  for (int op = 0; op <= static_cast<int>(Operator::in_cidr); ++op)
    for (const bool passed : {false, true})
      EXPECT_GE(FlagOracle::constraints_seen[static_cast<Operator>(op)][passed], 500)
          << name_of(static_cast<Operator>(op)) << ' ' << passed;
}

// Who was reached stays so, whatever else a flag asks for.
TEST(FlagProperties, RolloutsThatGrowLoseNobody) {
  Generator generator(131);
  int reached = 0;
  int joined = 0;
  for (int i = 0; i < 1'000; ++i) {
    FlagSetText text = generator.flag_set();
    text.flags.back().prerequisites.clear();
    FlagSet before(text);
    for (StrategyText& strategy : text.flags.back().strategies)
      strategy.rollout += static_cast<Points>(generator.below(kAllPoints - strategy.rollout + 1));
    FlagSet after(text);
    for (int j = 0; j < 20; ++j) {
      const Attributes attributes = generator.attributes();
      fake_world.time = generator.time();
      fake_world.number = generator.number();
      const size_t last = text.flags.size() - 1;
      const bool was_in = before.answer(last, attributes).is_enabled;
      const bool is_in = after.answer(last, attributes).is_enabled;
      ASSERT_TRUE(is_in || !was_in) << "set " << i << ", context " << j;
      reached += was_in ? 1 : 0;
      joined += is_in && !was_in ? 1 : 0;
    }
  }
  EXPECT_GT(reached, 5'000);
  EXPECT_GT(joined, 500);
}

}  // namespace
}  // namespace pgcache::flags
