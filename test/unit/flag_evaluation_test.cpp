// What a flag is for a context: states, strategies, buckets, variants, prerequisites; and what a call asks of the
// world.
#include "flags/evaluation.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "flag_hash.hpp"
#include "flags.hpp"

namespace pgcache::flags {
namespace {

using namespace test;

constexpr Answer kOnForAll{true, Reason::is_static, ErrorCode::none, nullptr};
constexpr Answer kOff{false, Reason::disabled, ErrorCode::none, nullptr};
constexpr Answer kNonePasses{false, Reason::by_default, ErrorCode::none, nullptr};
constexpr Answer kLacksKey{false, Reason::error, ErrorCode::targeting_key_missing, nullptr};
constexpr Answer kCannotTell{false, Reason::error, ErrorCode::parse_error, nullptr};

// A world at the beginning of time, in which nothing was asked yet.
class FlagEvaluation : public ::testing::Test {
 protected:
  void SetUp() override { fake_world = {}; }
};

ConstraintText plan_is(std::string plan) { return {"plan", Operator::in, "", {std::move(plan)}}; }

StrategyText rollout(Points points, std::string stickiness = "default", std::string group_id = "group") {
  StrategyText strategy;
  strategy.rollout = points;
  strategy.stickiness = std::move(stickiness);
  strategy.group_id = std::move(group_id);
  return strategy;
}

StrategyText for_plan(std::string plan, Points points = kAllPoints) {
  StrategyText strategy = rollout(points);
  strategy.constraints = {plan_is(std::move(plan))};
  return strategy;
}

FlagText flag_of(std::vector<StrategyText> strategies) {
  FlagText flag;
  flag.strategies = std::move(strategies);
  return flag;
}

FlagText flag_after(std::vector<PrerequisiteText> prerequisites) {
  FlagText flag;
  flag.prerequisites = std::move(prerequisites);
  return flag;
}

Answer answer_of(const FlagText& flag, const Attributes& attributes = {}) {
  FlagSet set({{flag}, {}});
  Answer answer = set.answer(0, attributes);
  answer.strategy = nullptr;
  return answer;
}

struct Chosen {
  std::string name;
  bool is_override;

  bool operator==(const Chosen&) const = default;
};

Chosen variant_of(FlagSet& set, size_t i, const Attributes& attributes) {
  const Context context = attributes.context();
  Evaluation evaluation(context, kWorld, set.workspace());
  const Answer answer = evaluation.answer(set.flag(i));
  bool is_override = true;
  const Variant* variant = evaluation.variant(set.flag(i), answer, is_override);
  EXPECT_EQ(evaluation.variant(set.flag(i), answer), variant);
  return {variant == nullptr ? "" : std::string(variant->name), is_override};
}

Chosen variant_of(const FlagText& flag, const Attributes& attributes = {}) {
  FlagSet set({{flag}, {}});
  return variant_of(set, 0, attributes);
}

// ---------------------------------------------------------------------------------------------------------------------
// Names

TEST_F(FlagEvaluation, NamesAreOpenFeatures) {
  EXPECT_EQ(name_of(Reason::is_static), "STATIC");
  EXPECT_EQ(name_of(Reason::targeting_match), "TARGETING_MATCH");
  EXPECT_EQ(name_of(Reason::split), "SPLIT");
  EXPECT_EQ(name_of(Reason::by_default), "DEFAULT");
  EXPECT_EQ(name_of(Reason::disabled), "DISABLED");
  EXPECT_EQ(name_of(Reason::error), "ERROR");
  EXPECT_EQ(name_of(ErrorCode::none), "");
  EXPECT_EQ(name_of(ErrorCode::flag_not_found), "FLAG_NOT_FOUND");
  EXPECT_EQ(name_of(ErrorCode::targeting_key_missing), "TARGETING_KEY_MISSING");
  EXPECT_EQ(name_of(ErrorCode::invalid_context), "INVALID_CONTEXT");
  EXPECT_EQ(name_of(ErrorCode::parse_error), "PARSE_ERROR");
}

TEST_F(FlagEvaluation, StatesHaveNames) {
  EXPECT_EQ(name_of(State::enabled), "enabled");
  EXPECT_EQ(name_of(State::disabled), "disabled");
  EXPECT_EQ(name_of(State::killed), "killed");
  EXPECT_EQ(name_of(State::scheduled), "scheduled");
  EXPECT_EQ(name_of(State::ended), "ended");
}

// ---------------------------------------------------------------------------------------------------------------------
// States

TEST_F(FlagEvaluation, WithoutStrategiesIsOnForEverybody) { EXPECT_EQ(answer_of({}), kOnForAll); }

TEST_F(FlagEvaluation, DisabledKilledAndBrokenAreOff) {
  FlagText flag;
  flag.is_enabled = false;
  EXPECT_EQ(answer_of(flag), kOff);
  flag.is_killed = true;
  EXPECT_EQ(answer_of(flag), kOff);
  flag.is_enabled = true;
  EXPECT_EQ(answer_of(flag), kOff);
  flag.is_broken = true;
  EXPECT_EQ(answer_of(flag), kCannotTell);
  flag.is_killed = false;
  EXPECT_EQ(answer_of(flag), kCannotTell);
}

TEST_F(FlagEvaluation, AScheduleIncludesItsBeginningAndNotItsEnd) {
  constexpr int64_t kOn = 1'000'000;
  constexpr int64_t kEnd = 2'000'000;
  const struct {
    int64_t on_at;
    int64_t off_at;
    int64_t time;
    State state;
  } cases[] = {{kOn, kEnd, kOn - 1, State::scheduled},
               {kOn, kEnd, kOn, State::enabled},
               {kOn, kEnd, kEnd - 1, State::enabled},
               {kOn, kEnd, kEnd, State::ended},
               {kOn, kNoEnd, kOn - 1, State::scheduled},
               {kOn, kNoEnd, kOn, State::enabled},
               {kOn, kNoEnd, kNoEnd, State::enabled},
               {kNoBeginning, kEnd, kNoBeginning, State::enabled},
               {kNoBeginning, kEnd, kEnd - 1, State::enabled},
               {kNoBeginning, kEnd, kEnd, State::ended},
               {kNoBeginning, kNoEnd, kNoBeginning, State::enabled},
               {kNoBeginning, kNoEnd, kNoEnd, State::enabled},
               {0, 1, 0, State::enabled}};
  for (const auto& it : cases) {
    FlagText flag;
    flag.on_at = it.on_at;
    flag.off_at = it.off_at;
    fake_world.time = it.time;
    FlagSet set({{flag}, {}});
    const Attributes nobody;
    const Context context = nobody.context();
    EXPECT_EQ(Evaluation(context, kWorld, set.workspace()).state(set.flag(0)), it.state) << it.time;
    EXPECT_EQ(answer_of(flag), it.state == State::enabled ? kOnForAll : kOff) << it.time;
  }
}

TEST_F(FlagEvaluation, AKillTellsFirstThenWhatIsDisabled) {
  fake_world.time = 5;
  FlagText flag;
  flag.on_at = 10;
  flag.is_enabled = false;
  const Attributes nobody;
  const Context context = nobody.context();
  const auto state = [&] {
    FlagSet set({{flag}, {}});
    return Evaluation(context, kWorld, set.workspace()).state(set.flag(0));
  };
  EXPECT_EQ(state(), State::disabled);
  flag.is_killed = true;
  EXPECT_EQ(state(), State::killed);
  flag.is_enabled = true;
  EXPECT_EQ(state(), State::killed);
}

// ---------------------------------------------------------------------------------------------------------------------
// Strategies

TEST_F(FlagEvaluation, ReasonsSayWhyAStrategyPasses) {
  EXPECT_EQ(answer_of(flag_of({rollout(kAllPoints)})).reason, Reason::is_static);
  EXPECT_EQ(answer_of(flag_of({for_plan("pro")}), {{"plan", "pro"}}).reason, Reason::targeting_match);
  EXPECT_EQ(answer_of(flag_of({rollout(kAllPoints - 1, "userId")}), {{"userId", "7"}}).reason, Reason::split);
  EXPECT_EQ(answer_of(flag_of({for_plan("pro", kAllPoints - 1)}), {{"plan", "pro"}, {"userId", "7"}}).reason,
            Reason::split);
  StrategyText by_segment = rollout(kAllPoints);
  by_segment.segments = {0};
  FlagSet set({{flag_of({by_segment})}, {{plan_is("pro")}}});
  EXPECT_EQ(set.answer(0, {{"plan", "pro"}}),
            (Answer{true, Reason::targeting_match, ErrorCode::none, set.flag(0).strategies.data()}));
  EXPECT_EQ(set.answer(0, {{"plan", "free"}}), kNonePasses);
}

TEST_F(FlagEvaluation, AllConstraintsAndSegmentsMustPass) {
  StrategyText strategy = for_plan("pro");
  strategy.constraints.push_back({"age", Operator::num_gte, "18", {}});
  strategy.segments = {0, 1};
  FlagSet set({{flag_of({strategy})},
               {{{"country", Operator::in, "", {"DE"}}, {"city", Operator::not_in, "", {"Ulm"}}},
                {{"beta", Operator::in, "", {"true"}}}}});
  const Attributes all = {{"plan", "pro"}, {"age", "18"}, {"country", "DE"}, {"city", "Bonn"}, {"beta", "true"}};
  EXPECT_TRUE(set.answer(0, all).is_enabled);
  for (const auto& [name, value] : all) {
    Attributes changed = all;
    changed[name] = name == "city" ? "Ulm" : "no";
    EXPECT_EQ(set.answer(0, changed), kNonePasses) << name;
  }
}

TEST_F(FlagEvaluation, ASegmentThatIsGonePassesNobody) {
  StrategyText strategy = rollout(kAllPoints);
  strategy.segments = {std::nullopt};
  EXPECT_EQ(answer_of(flag_of({strategy})), kNonePasses);
  strategy.segments = {0, std::nullopt};
  FlagSet set({{flag_of({strategy})}, {{}}});
  EXPECT_EQ(set.answer(0, {}), kNonePasses);
}

TEST_F(FlagEvaluation, ASegmentWithoutConstraintsPassesEverybody) {
  StrategyText strategy = rollout(kAllPoints);
  strategy.segments = {0};
  FlagSet set({{flag_of({strategy})}, {{}}});
  EXPECT_TRUE(set.answer(0, {}).is_enabled);
}

TEST_F(FlagEvaluation, TheFirstStrategyThatPassesAnswers) {
  FlagSet set(
      {{flag_of({for_plan("pro"), for_plan("team"), rollout(0), rollout(kAllPoints), rollout(kAllPoints)})}, {}});
  const Strategy* strategies = set.flag(0).strategies.data();
  EXPECT_EQ(set.answer(0, {{"plan", "pro"}}).strategy, strategies);
  EXPECT_EQ(set.answer(0, {{"plan", "team"}}).strategy, strategies + 1);
  EXPECT_EQ(set.answer(0, {}).strategy, strategies + 3);
  EXPECT_EQ(set.answer(0, {}).reason, Reason::is_static);
}

TEST_F(FlagEvaluation, OnlyWhoWouldNeedTheKeyAloneLacksIt) {
  const StrategyText by_company = rollout(50'000, "company");
  EXPECT_EQ(answer_of(flag_of({by_company})), kLacksKey);
  EXPECT_EQ(answer_of(flag_of({by_company}), {{"userId", "7"}, {"sessionId", "7"}}), kLacksKey);
  EXPECT_EQ(answer_of(flag_of({by_company}), {{"company", ""}}), kLacksKey) << "empty is as if it were not there";
  EXPECT_EQ(answer_of(flag_of({rollout(kAllPoints, "company")})), kLacksKey);
  EXPECT_EQ(answer_of(flag_of({rollout(0, "company")})), kNonePasses) << "the key would not help";
  EXPECT_EQ(answer_of(flag_of({for_plan("pro"), by_company, rollout(0)})), kLacksKey);
  EXPECT_EQ(answer_of(flag_of({by_company, rollout(kAllPoints)})), kOnForAll);
  StrategyText narrow = by_company;
  narrow.constraints = {plan_is("pro")};
  EXPECT_EQ(answer_of(flag_of({narrow})), kNonePasses);
  EXPECT_EQ(answer_of(flag_of({narrow}), {{"plan", "pro"}}), kLacksKey);
}

// ---------------------------------------------------------------------------------------------------------------------
// Rollouts

TEST_F(FlagEvaluation, RolloutsReachTheBucketsBelowThem) {
  for (int id = 0; id < 300; ++id) {
    const std::string text = std::to_string(id);
    const uint32_t hash = published_murmur3("group:" + text, 0);
    const Points point = hash % 100 * 1000 + hash / 100 % 1000;
    for (const Points points : {Points{0}, point, point + 1, Points{kAllPoints}}) {
      const Answer answer = answer_of(flag_of({rollout(points)}), {{"userId", text}});
      EXPECT_EQ(answer.is_enabled, point < points) << id << " at " << points;
    }
  }
}

TEST_F(FlagEvaluation, ARolloutThatGrowsKeepsWhoWasIn) {
  std::vector<FlagText> flags;
  for (Points points = 0; points <= kAllPoints; points += 2'500) flags.push_back(flag_of({rollout(points)}));
  FlagSet set({flags, {}});
  for (int id = 0; id < 1'000; ++id) {
    fake_world.number = static_cast<uint64_t>(id);
    const Attributes user = {{"userId", std::to_string(id)}};
    for (const Attributes& attributes : {user, Attributes()}) {  // by the id, and by chance
      bool was_in = false;
      for (size_t i = 0; i < set.size(); ++i) {
        const bool is_in = set.answer(i, attributes).is_enabled;
        ASSERT_TRUE(is_in || !was_in) << id << " at flag " << i;
        was_in = is_in;
      }
      ASSERT_TRUE(was_in);
    }
  }
}

TEST_F(FlagEvaluation, SticksToTheFirstAttributeThatIsThere) {
  const struct {
    const char* stickiness;
    Attributes attributes;
    std::optional<std::string> attribute;
    std::optional<std::string> value;
  } cases[] = {
      {"default", {{"userId", "u"}, {"sessionId", "s"}}, "userId", "u"},
      {"default", {{"userId", ""}, {"sessionId", "s"}}, "sessionId", "s"},
      {"default", {{"sessionId", "s"}, {"remoteAddress", "::1"}}, "sessionId", "s"},
      {"default", {{"remoteAddress", "::1"}}, {}, {}},
      {"default", {}, {}, {}},
      {"random", {{"userId", "u"}, {"sessionId", "s"}}, {}, {}},
      {"company", {{"userId", "u"}, {"company", "c"}}, "company", "c"},
      {"company", {{"userId", "u"}}, "company", {}},
      {"company", {{"company", ""}}, "company", {}},
      {"userId", {{"sessionId", "s"}}, "userId", {}},
  };
  for (const auto& it : cases) {
    FlagSet set({{flag_of({rollout(1, it.stickiness)})}, {}});
    const Context context = it.attributes.context();
    const Bucket bucket = Evaluation(context, kWorld, set.workspace()).bucket(set.flag(0).strategies[0]);
    EXPECT_EQ(bucket.attribute, it.attribute) << it.stickiness;
    EXPECT_EQ(bucket.value, it.value) << it.stickiness;
    if (!it.value) continue;
    EXPECT_EQ(bucket.point, point_of(published_murmur3("group:" + *it.value, 0)));
  }
}

TEST_F(FlagEvaluation, ChanceReachesItsShare) {
  FlagSet set({{flag_of({rollout(30'000, "random")})}, {}});
  int reached = 0;
  for (uint64_t number = 0; number < 20'000; ++number) {
    fake_world.number = number;
    reached += set.answer(0, {{"userId", "always the same"}}).is_enabled ? 1 : 0;
  }
  EXPECT_NEAR(reached, 6'000, 325);  // five deviations
}

TEST_F(FlagEvaluation, ChanceIsAnotherForEachStrategyAndForVariants) {
  StrategyText one = rollout(50'000, "random");
  StrategyText other = one;
  other.id = 2;
  FlagText flag = flag_of({one});
  flag.variants = {{{"a", 50, {}}, {"b", 50, {}}}, "random", "group"};  // cut as the rollout is
  FlagSet set({{flag, flag_of({other})}, {}});
  int both = 0;
  int is_a = 0;
  int in = 0;
  for (uint64_t number = 0; number < 20'000; ++number) {
    fake_world.number = number;
    const bool is_in = set.answer(0, {}).is_enabled;
    in += is_in ? 1 : 0;
    both += is_in && set.answer(1, {}).is_enabled ? 1 : 0;
    is_a += variant_of(set, 0, {}).name == "a" ? 1 : 0;
  }
  EXPECT_NEAR(in, 10'000, 354);  // five deviations
  EXPECT_NEAR(both, 5'000, 307);
  EXPECT_NEAR(is_a, 5'000, 307);
}

// ---------------------------------------------------------------------------------------------------------------------
// What the docs show

TEST_F(FlagEvaluation, AnswersWhatTheDocsShow) {
  FlagText button;
  button.variants = {{{"blue", 50, {}}, {"red", 50, {{"userId", {"boss"}}}}}, "default", "button_color"};
  FlagSet set({{flag_of({rollout(25'000, "default", "new_checkout")}), button}, {}});
  EXPECT_FALSE(set.answer(0, {{"userId", "42"}}).is_enabled);
  EXPECT_TRUE(set.answer(0, {{"userId", "7"}}).is_enabled);
  int reached = 0;
  for (int n = 1; n <= 10'000; ++n) reached += set.answer(0, {{"userId", std::to_string(n)}}).is_enabled ? 1 : 0;
  EXPECT_EQ(reached, 2'482);
  const Attributes user = {{"userId", "42"}};
  const Context context = user.context();
  EXPECT_EQ(Evaluation(context, kWorld, set.workspace()).bucket(set.flag(0).strategies[0]).point, 79'178);
  EXPECT_EQ(variant_of(set, 1, user), (Chosen{"blue", false}));
  EXPECT_EQ(variant_of(set, 1, {{"userId", "boss"}}), (Chosen{"red", true}));
}

// ---------------------------------------------------------------------------------------------------------------------
// Variants

VariantsText thirds(std::string stickiness = "default") {
  return {{{"a", 1, {}}, {"none", 0, {}}, {"b", 1, {}}, {"c", 1, {}}}, std::move(stickiness), "group"};
}

TEST_F(FlagEvaluation, WithoutVariantsNoneIsChosen) {
  EXPECT_EQ(variant_of({}, {{"userId", "7"}}), (Chosen{"", false}));
}

TEST_F(FlagEvaluation, AFlagThatIsOffHasNoVariant) {
  FlagText flag;
  flag.variants = thirds();
  flag.variants.all[0].overrides = {{"userId", {"7"}}};
  EXPECT_EQ(variant_of(flag, {{"userId", "7"}}), (Chosen{"a", true}));
  flag.is_enabled = false;
  EXPECT_EQ(variant_of(flag, {{"userId", "7"}}), (Chosen{"", false}));
  flag.is_enabled = true;
  flag.is_broken = true;
  EXPECT_EQ(variant_of(flag, {{"userId", "7"}}), (Chosen{"", false}));
}

TEST_F(FlagEvaluation, VariantsAreChosenByWeightAsUnleashDoes) {
  FlagText flag;
  flag.variants = {{{"a", 100, {}}, {"b", 0, {}}, {"c", 300, {}}, {"d", 600, {}}}, "default", "group"};
  FlagSet set({{flag}, {}});
  for (int id = 0; id < 2'000; ++id) {
    const std::string text = std::to_string(id);
    const uint32_t target = published_murmur3("group:" + text, 86028157) % 1000 + 1;
    const char* expected = target <= 100 ? "a" : target <= 400 ? "c" : "d";
    ASSERT_EQ(variant_of(set, 0, {{"userId", text}}), (Chosen{expected, false})) << id;
  }
}

TEST_F(FlagEvaluation, AWeightOfAllIsAlwaysChosen) {
  for (const uint32_t weight : {1U, 1'000'000U}) {
    FlagText flag;
    flag.variants = {{{"before", 0, {}}, {"it", weight, {}}, {"after", 0, {}}}, "default", "group"};
    for (int id = 0; id < 100; ++id) EXPECT_EQ(variant_of(flag, {{"userId", std::to_string(id)}}).name, "it");
  }
}

TEST_F(FlagEvaluation, VariantsStickToAnAddressToo) {
  FlagText flag;
  flag.variants = thirds();
  FlagSet set({{flag}, {}});
  std::set<std::string> seen;
  for (int i = 0; i < 50; ++i) {
    const std::string address = "10.0.0." + std::to_string(i);
    const std::string name = variant_of(set, 0, {{"remoteAddress", address}}).name;
    seen.insert(name);
    const uint32_t target = published_murmur3("group:" + address, 86028157) % 3;
    EXPECT_EQ(name, std::string(1, static_cast<char>('a' + target)));
    EXPECT_EQ(variant_of(set, 0, {{"userId", address}, {"remoteAddress", "other"}}).name, name);
    EXPECT_EQ(variant_of(set, 0, {{"userId", ""}, {"sessionId", address}, {"remoteAddress", "other"}}).name, name);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"a", "b", "c"}));
  EXPECT_EQ(fake_world.draws, 0);
}

TEST_F(FlagEvaluation, VariantsStickToTheAttributeTheyName) {
  FlagText flag;
  flag.variants = thirds("company");
  FlagSet set({{flag}, {}});
  std::set<std::string> by_chance;
  for (int i = 0; i < 50; ++i) {
    const std::string text = std::to_string(i);
    fake_world.number = static_cast<uint64_t>(i);
    const uint32_t target = published_murmur3("group:" + text, 86028157) % 3;
    EXPECT_EQ(variant_of(set, 0, {{"company", text}, {"userId", "7"}}).name,
              std::string(1, static_cast<char>('a' + target)));
    by_chance.insert(variant_of(set, 0, {{"userId", "7"}}).name);
  }
  EXPECT_EQ(by_chance, (std::set<std::string>{"a", "b", "c"}));
}

TEST_F(FlagEvaluation, OverridesComeBeforeBuckets) {
  FlagText flag;
  flag.variants = thirds();
  flag.variants.all[1].overrides = {{"userId", {"boss", "7"}}, {"plan", {"pro"}}};
  flag.variants.all[2].overrides = {{"plan", {"team", "pro"}}};
  FlagSet set({{flag}, {}});
  EXPECT_EQ(variant_of(set, 0, {{"userId", "boss"}}), (Chosen{"none", true})) << "whatever its weight";
  EXPECT_EQ(variant_of(set, 0, {{"userId", "7"}}), (Chosen{"none", true}));
  EXPECT_EQ(variant_of(set, 0, {{"plan", "pro"}}), (Chosen{"none", true})) << "the first one that names it";
  EXPECT_EQ(variant_of(set, 0, {{"plan", "team"}}), (Chosen{"b", true}));
  EXPECT_EQ(variant_of(set, 0, {{"plan", "team"}, {"userId", "boss"}}), (Chosen{"none", true}));
  EXPECT_FALSE(variant_of(set, 0, {{"plan", "free"}, {"userId", "Boss"}}).is_override);
  EXPECT_FALSE(variant_of(set, 0, {}).is_override);
}

TEST_F(FlagEvaluation, AStrategysOwnVariantsReplaceTheFlags) {
  StrategyText with = for_plan("pro");
  with.variants = {{{"own", 1, {}}}, "default", "group"};
  FlagText flag = flag_of({with, rollout(kAllPoints)});
  flag.variants = {{{"flag's", 1, {{"userId", {"boss"}}}}}, "default", "group"};
  FlagSet set({{flag}, {}});
  EXPECT_EQ(variant_of(set, 0, {{"plan", "pro"}}), (Chosen{"own", false}));
  EXPECT_EQ(variant_of(set, 0, {{"plan", "pro"}, {"userId", "boss"}}), (Chosen{"own", false}));
  EXPECT_EQ(variant_of(set, 0, {{"plan", "free"}}), (Chosen{"flag's", false}));
  EXPECT_EQ(variant_of(set, 0, {{"userId", "boss"}}), (Chosen{"flag's", true}));
}

TEST_F(FlagEvaluation, VariantsHaveAReasonOfTheirOwn) {
  const Variant variant{};
  for (const Answer& answer : {kOnForAll, Answer{true, Reason::targeting_match, ErrorCode::none, nullptr}, kOff}) {
    EXPECT_EQ(reason_with(answer, nullptr, false), answer.reason);
    EXPECT_EQ(reason_with(answer, nullptr, true), answer.reason);
    EXPECT_EQ(reason_with(answer, &variant, false), Reason::split);
    EXPECT_EQ(reason_with(answer, &variant, true), Reason::targeting_match);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Prerequisites

TEST_F(FlagEvaluation, PrerequisitesAskForOnOrOff) {
  FlagSet set({{flag_of({for_plan("pro")}), flag_after({{0}}), flag_after({{0, false}}), flag_after({{0}, {0, false}}),
                flag_after({{1}, {0}})},
               {}});
  EXPECT_EQ(set.answer(1, {{"plan", "pro"}}), kOnForAll);
  EXPECT_EQ(set.answer(2, {{"plan", "pro"}}), kOff);
  EXPECT_EQ(set.answer(3, {{"plan", "pro"}}), kOff);
  EXPECT_EQ(set.answer(4, {{"plan", "pro"}}), kOnForAll);
  EXPECT_EQ(set.answer(1, {}), kOff);
  EXPECT_EQ(set.answer(2, {}), kOnForAll);
  EXPECT_EQ(set.answer(3, {}), kOff);
  EXPECT_EQ(set.answer(4, {}), kOff);
}

TEST_F(FlagEvaluation, PrerequisitesMayAskForVariants) {
  FlagText button;
  button.variants = {{{"red", 1, {}}, {"blue", 0, {{"userId", {"boss"}}}}}, "default", "group"};
  const FlagText plain;
  FlagSet set({{button, plain, flag_after({{0, true, {"red"}}}), flag_after({{0, true, {"green", "blue"}}}),
                flag_after({{1, true, {"red"}}}), flag_after({{0, false, {"red"}}})},
               {}});
  EXPECT_EQ(set.answer(2, {{"userId", "7"}}), kOnForAll);
  EXPECT_EQ(set.answer(3, {{"userId", "7"}}), kOff);
  EXPECT_EQ(set.answer(2, {{"userId", "boss"}}), kOff);
  EXPECT_EQ(set.answer(3, {{"userId", "boss"}}), kOnForAll);
  EXPECT_EQ(set.answer(4, {}), kOff) << "it has none";
  EXPECT_EQ(set.answer(5, {}), kOff) << "it is on";
}

TEST_F(FlagEvaluation, WhatIsBrokenIsNeitherOnNorOff) {
  FlagText broken;
  broken.is_broken = true;
  FlagSet set({{broken, flag_after({{0}}), flag_after({{0, false}})}, {}});
  EXPECT_EQ(set.answer(1, {}), kOff);
  EXPECT_EQ(set.answer(2, {}), kOff);
}

TEST_F(FlagEvaluation, WhatLacksItsKeyIsOff) {
  FlagSet set({{flag_of({rollout(50'000, "company")}), flag_after({{0}}), flag_after({{0, false}})}, {}});
  EXPECT_EQ(set.answer(0, {}), kLacksKey);
  EXPECT_EQ(set.answer(1, {}), kOff);
  EXPECT_EQ(set.answer(2, {}), kOnForAll);
}

TEST_F(FlagEvaluation, ABrokenFlagIsBrokenWhateverItAsksFor) {
  FlagText off;
  off.is_enabled = false;
  for (const bool wants_on : {false, true}) {
    FlagText broken = flag_after({{0, wants_on}});
    broken.is_broken = true;
    FlagSet set({{off, broken, flag_after({{1}}), flag_after({{1, false}})}, {}});
    EXPECT_EQ(set.answer(1, {}), kCannotTell);
    EXPECT_EQ(set.answer(2, {}), kOff);
    EXPECT_EQ(set.answer(3, {}), kOff);
  }
}

// Rows that came in without being checked may ask for each other.
TEST_F(FlagEvaluation, WhatABrokenFlagAsksForIsNotLookedAt) {
  FlagText one = flag_after({{1}});
  FlagText other = flag_after({{0}});
  one.is_broken = other.is_broken = true;
  FlagSet set({{one, other, flag_after({{0}}), flag_after({{1, false}})}, {}});
  EXPECT_EQ(set.answer(0, {}), kCannotTell);
  EXPECT_EQ(set.answer(2, {}), kOff);
  EXPECT_EQ(set.answer(3, {}), kOff);
}

TEST_F(FlagEvaluation, AFlagsOwnStateCountsBesideItsPrerequisites) {
  FlagText killed = flag_after({{0}});
  killed.is_killed = true;
  FlagText lacking = flag_after({{0}});
  lacking.strategies = {rollout(50'000, "company")};
  FlagText failing = flag_after({{0}});
  failing.strategies = {for_plan("pro")};
  FlagSet set({{{}, killed, lacking, failing}, {}});
  EXPECT_EQ(set.answer(1, {}), kOff);
  EXPECT_EQ(set.answer(2, {}), kLacksKey);
  EXPECT_EQ(set.answer(3, {}), kNonePasses);
  EXPECT_EQ(set.answer(3, {{"plan", "pro"}}).reason, Reason::targeting_match);
}

// Each asks for the next one.
FlagSetText chain(size_t length, bool wants_on) {
  FlagSetText text;
  text.flags.resize(length);
  for (size_t i = 0; i + 1 < length; ++i) text.flags[i].prerequisites = {{i + 1, wants_on, {}}};
  return text;
}

TEST_F(FlagEvaluation, AChainMayBeDeep) {
  constexpr size_t kLength = 100'000;
  FlagSetText text = chain(kLength, true);
  text.flags.back() = flag_of({for_plan("pro")});
  FlagSet set(text);
  EXPECT_EQ(set.answer(0, {{"plan", "pro"}}), kOnForAll);
  EXPECT_EQ(set.answer(0, {}), kOff);
}

TEST_F(FlagEvaluation, AChainOfOppositesAlternates) {
  constexpr size_t kLength = 10'001;
  FlagSet set(chain(kLength, false));
  const Attributes nobody;
  const Context context = nobody.context();
  Evaluation evaluation(context, kWorld, set.workspace());
  for (size_t i = 0; i < kLength; ++i)
    ASSERT_EQ(evaluation.answer(set.flag(i)), (kLength - 1 - i) % 2 == 0 ? kOnForAll : kOff) << i;
}

struct CountingContext {
  int lookups = 0;

  Context context() {
    return {this, [](const void* self, std::string_view) noexcept {
              ++static_cast<CountingContext*>(const_cast<void*>(self))->lookups;
              return std::optional<std::string_view>("pro");
            }};
  }
};

// Layers of two flags that both ask for both of the next layer: 2^60 paths.
TEST_F(FlagEvaluation, EachFlagIsLookedAtOnceHoweverManyPathsLeadThere) {
  constexpr size_t kLayers = 60;
  FlagSetText text;
  for (size_t i = 0; i < 2 * kLayers; ++i) {
    const size_t next = i / 2 * 2 + 2;
    FlagText flag = flag_of({for_plan("pro")});
    if (next < 2 * kLayers) flag.prerequisites = {{next, true, {}}, {next + 1, true, {}}};
    text.flags.push_back(flag);
  }
  FlagSet set(text);
  CountingContext counting;
  const Context context = counting.context();
  EXPECT_TRUE(Evaluation(context, kWorld, set.workspace()).answer(set.flag(0)).is_enabled);
  EXPECT_EQ(counting.lookups, 2 * kLayers - 1);
}

TEST_F(FlagEvaluation, OneCallRemembersWhatItHasAnswered) {
  FlagSet set({{flag_of({for_plan("pro")}), flag_after({{0}}), flag_after({{0}}), flag_after({{1}, {2}})}, {}});
  CountingContext counting;
  const Context context = counting.context();
  Evaluation evaluation(context, kWorld, set.workspace());
  for (size_t i = 1; i < set.size(); ++i) EXPECT_EQ(evaluation.answer(set.flag(i)), kOnForAll);
  EXPECT_EQ(counting.lookups, 1);
}

TEST_F(FlagEvaluation, OneCallDoesNotRememberAnother) {
  FlagSet set({{flag_of({for_plan("pro")}), flag_after({{0}})}, {}});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(set.answer(1, {{"plan", "pro"}}), kOnForAll);
    EXPECT_EQ(set.answer(1, {{"plan", "free"}}), kOff);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// The world

TEST_F(FlagEvaluation, ReadsTheClockOnceWhereItIsNeeded) {
  FlagText scheduled;
  scheduled.on_at = 0;
  scheduled.off_at = 10;
  scheduled.prerequisites = {{1}};
  FlagText other = scheduled;
  other.prerequisites = {};
  StrategyText dated = rollout(kAllPoints);
  dated.constraints = {{"", Operator::date_before, "2026-12-24", {}}, {"", Operator::date_after, "1999-12-24", {}}};
  other.strategies = {dated};
  FlagSet set({{scheduled, other}, {}});
  EXPECT_EQ(set.answer(0, {}), kOnForAll);
  EXPECT_EQ(fake_world.clock_readings, 1);
  EXPECT_EQ(fake_world.draws, 0);
}

TEST_F(FlagEvaluation, DoesNotReadTheClockWhereItIsNotNeeded) {
  FlagText killed;
  killed.is_killed = true;
  killed.on_at = 0;
  FlagText disabled;
  disabled.is_enabled = false;
  disabled.on_at = 0;
  FlagText broken;
  broken.is_broken = true;
  broken.off_at = 0;
  FlagText given = flag_of({rollout(kAllPoints)});
  given.strategies[0].constraints = {{"", Operator::date_before, "2026-12-24", {}}};
  FlagText plain = flag_of({for_plan("pro"), rollout(50'000)});
  plain.variants = thirds();
  for (const FlagText& flag : {killed, disabled, broken, given, plain, FlagText()}) {
    FlagSet set({{flag}, {}});
    static_cast<void>(variant_of(set, 0, {{"plan", "pro"}, {"currentTime", "2026-12-23"}}));
    EXPECT_EQ(fake_world.clock_readings, 0);
  }
}

TEST_F(FlagEvaluation, DatesGoByTheContextsTimeWhereItHasOne) {
  const auto is_before = [](const Attributes& attributes, bool is_inverted = false) {
    StrategyText strategy = rollout(kAllPoints);
    strategy.constraints = {{"whatever", Operator::date_before, "2000-01-01", {}, is_inverted}};
    return answer_of(flag_of({strategy}), attributes).is_enabled;
  };
  fake_world.time = -1;
  EXPECT_TRUE(is_before({}));
  EXPECT_TRUE(is_before({{"whatever", "2001-01-01"}}));
  EXPECT_FALSE(is_before({{"currentTime", "2000-01-01"}}));
  EXPECT_TRUE(is_before({{"currentTime", " 1999-12-31T23:59:59.999999Z\t"}}));
  fake_world.time = 0;
  EXPECT_FALSE(is_before({}));
  EXPECT_TRUE(is_before({{"currentTime", "1999-12-31"}}));
  fake_world.time = -1;
  EXPECT_TRUE(is_before({{"currentTime", ""}})) << "empty is as if it were not there";
  fake_world.time = 0;
  EXPECT_FALSE(is_before({{"currentTime", ""}}));
  for (const char* none : {" ", "soon", "2000-13-01"}) {
    fake_world.time = -1;
    EXPECT_FALSE(is_before({{"currentTime", none}})) << none;
    EXPECT_TRUE(is_before({{"currentTime", none}}, true)) << none;
  }
}

TEST_F(FlagEvaluation, ATimeInTheContextDoesNotMoveSchedules) {
  FlagText flag;
  flag.on_at = 10;
  fake_world.time = 10;
  EXPECT_EQ(answer_of(flag, {{"currentTime", "1999-01-01"}}), kOnForAll);
  fake_world.time = 9;
  EXPECT_EQ(answer_of(flag, {{"currentTime", "2026-01-01"}}), kOff);
}

TEST_F(FlagEvaluation, BreathesAtEachConstraint) {
  StrategyText strategy = rollout(kAllPoints);
  strategy.constraints.assign(10, {"plan", Operator::not_in, "", {"pro"}});
  EXPECT_TRUE(answer_of(flag_of({strategy})).is_enabled);
  EXPECT_GE(fake_world.breaths, 10);
}

TEST_F(FlagEvaluation, DrawsOnlyWhereChanceDecides) {
  const struct {
    StrategyText strategy;
    Attributes attributes;
    int draws;
  } cases[] = {{rollout(50'000), {{"userId", "7"}}, 0},
               {rollout(50'000), {{"sessionId", "7"}}, 0},
               {rollout(50'000), {}, 1},
               {rollout(0), {}, 0},
               {rollout(kAllPoints), {}, 0},
               {rollout(50'000, "random"), {{"userId", "7"}}, 1},
               {rollout(0, "random"), {}, 0},
               {rollout(kAllPoints, "random"), {}, 0},
               {for_plan("pro", 50'000), {}, 0},
               {rollout(50'000, "company"), {{"company", "c"}}, 0},
               {rollout(50'000, "company"), {{"userId", "7"}}, 0}};
  for (const auto& it : cases) {
    fake_world.draws = 0;
    static_cast<void>(answer_of(flag_of({it.strategy, it.strategy}), it.attributes));
    EXPECT_EQ(fake_world.draws, it.draws) << it.strategy.rollout << ' ' << it.strategy.stickiness;
  }
}

TEST_F(FlagEvaluation, DrawsOnceAndStaysWithIt) {
  FlagText parent = flag_of({rollout(50'000, "random")});
  parent.variants = thirds("random");
  FlagSet set({{parent, flag_after({{0}}), flag_after({{0, false}}), flag_after({{0, true, {"a"}}}),
                flag_after({{0, true, {"b", "c"}}})},
               {}});
  std::set<std::string> seen;
  const Attributes nobody;
  const Context context = nobody.context();
  for (uint64_t number = 0; number < 200; ++number) {
    fake_world.number = number;
    fake_world.draws = 0;
    Evaluation evaluation(context, kWorld, set.workspace());
    const Answer answer = evaluation.answer(set.flag(0));
    const Variant* variant = evaluation.variant(set.flag(0), answer);
    fake_world.number = ~number;  // a second draw would be seen
    EXPECT_EQ(evaluation.answer(set.flag(0)), answer);
    EXPECT_EQ(evaluation.variant(set.flag(0), answer), variant);
    EXPECT_EQ(evaluation.answer(set.flag(1)).is_enabled, answer.is_enabled);
    EXPECT_EQ(evaluation.answer(set.flag(2)).is_enabled, !answer.is_enabled);
    EXPECT_EQ(evaluation.answer(set.flag(3)).is_enabled, variant != nullptr && variant->name == "a");
    EXPECT_EQ(evaluation.answer(set.flag(4)).is_enabled, variant != nullptr && variant->name != "a");
    EXPECT_EQ(fake_world.draws, 1);
    seen.insert(variant == nullptr ? "" : std::string(variant->name));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", "a", "b", "c"}));
}

}  // namespace
}  // namespace pgcache::flags
