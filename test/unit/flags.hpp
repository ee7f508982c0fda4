// Flags from descriptions, in heap memory; contexts from maps; a clock and a draw of chance that only tests move.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flags/evaluation.hpp"

namespace pgcache::flags {

inline bool operator==(const Answer& one, const Answer& other) {
  return one.is_enabled == other.is_enabled && one.reason == other.reason && one.error == other.error &&
         one.strategy == other.strategy;
}

inline std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  return out << (answer.is_enabled ? "on, " : "off, ") << name_of(answer.reason) << ' ' << name_of(answer.error)
             << (answer.strategy == nullptr ? "" : " by a strategy");
}

inline std::ostream& operator<<(std::ostream& out, State state) { return out << name_of(state); }

}  // namespace pgcache::flags

namespace pgcache::flags::test {

// A copy with nothing behind it, so that a sanitizer sees who reads on.
class Exactly {
 public:
  explicit Exactly(std::string_view text) : bytes_(new char[text.size()]), size_(text.size()) {
    std::copy(text.begin(), text.end(), bytes_.get());
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_;
};

// All prefixes of a text, and all texts that differ from it in one byte: less, more, or another of `bytes`.
template <typename Use>
void for_each_mutation(std::string_view text, std::string_view bytes, Use use) {
  const auto give = [&](const std::string& mutation) { use(Exactly(mutation).view()); };
  for (size_t at = 0; at <= text.size(); ++at) {
    give(std::string(text.substr(0, at)));
    for (const char c : bytes) give(std::string(text).insert(at, 1, c));
    if (at == text.size()) break;
    give(std::string(text).erase(at, 1));
    for (const char c : bytes) give(std::string(text).replace(at, 1, 1, c));
  }
}

// Each piece by itself, so that a sanitizer sees its bounds.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] Memory memory() {
    return {this, [](void* self, size_t bytes) {
              auto& pieces = static_cast<Arena*>(self)->pieces_;
              pieces.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
              return static_cast<void*>(pieces.back().get());
            }};
  }

  std::string_view text(std::string_view from) {
    const auto copy = memory().array<char>(from.size());
    std::copy(from.begin(), from.end(), copy.begin());
    return {copy.data(), copy.size()};
  }

  std::span<std::string_view> texts(const std::vector<std::string>& from) {
    const auto copies = memory().array<std::string_view>(from.size());
    for (size_t i = 0; i < from.size(); ++i) copies[i] = text(from[i]);
    return copies;
  }

 private:
  std::vector<std::unique_ptr<std::byte[]>> pieces_;
};

// ---------------------------------------------------------------------------------------------------------------------
// The world around a call

struct Attributes : std::map<std::string, std::string, std::less<>> {
  using map::map;

  [[nodiscard]] std::optional<std::string_view> get(std::string_view name) const {
    const auto found = find(name);
    return found == end() ? std::nullopt : std::optional<std::string_view>(found->second);
  }
  [[nodiscard]] Context context() const {
    return {this, [](const void* self, std::string_view name) noexcept {
              return static_cast<const Attributes*>(self)->get(name);
            }};
  }
};

inline struct {
  int64_t time = 0;
  int clock_readings = 0;
  uint64_t number = 0;  // that is drawn
  int draws = 0;
  int breaths = 0;
} fake_world;

constexpr World kWorld{[]() noexcept {
                         ++fake_world.clock_readings;
                         return fake_world.time;
                       },
                       []() noexcept {
                         ++fake_world.draws;
                         return fake_world.number;
                       },
                       []() noexcept { ++fake_world.breaths; }};

// ---------------------------------------------------------------------------------------------------------------------
// Constraints

struct ConstraintText {
  std::string attribute;
  Operator op;
  std::string value;
  std::vector<std::string> values = {};
  bool is_inverted = false;
  bool ignores_case = false;
};

inline Constraint unprepared(const ConstraintText& text, Arena& arena) {
  Constraint constraint{};
  constraint.attribute = arena.text(text.attribute);
  constraint.value = arena.text(text.value);
  constraint.values = arena.texts(text.values);
  constraint.op = text.op;
  constraint.is_inverted = text.is_inverted;
  constraint.ignores_case = text.ignores_case;
  return constraint;
}

// Memory and expressions of what is compiled.
class Workplace {
 public:
  explicit Workplace(bool is_utf8 = true) : workshop_{arena_.memory(), is_utf8, nullptr, false} {}
  ~Workplace() { release_all(workshop_.expressions); }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  [[nodiscard]] Arena& arena() { return arena_; }
  [[nodiscard]] Workshop& workshop() { return workshop_; }

  Constraint prepared(const ConstraintText& text) {
    Constraint constraint = unprepared(text, arena_);
    const std::optional<Problem> problem = prepare(constraint, workshop_);
    EXPECT_FALSE(problem) << name_of(text.op) << " " << problem->value << " " << problem->what;
    return constraint;
  }

 private:
  Arena arena_;
  Workshop workshop_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Flags

struct OverrideText {
  std::string attribute;
  std::vector<std::string> values;
};

struct VariantText {
  std::string name;
  uint32_t weight;
  std::vector<OverrideText> overrides = {};
};

struct VariantsText {
  std::vector<VariantText> all;
  std::string stickiness = "default";
  std::string group_id;

  [[nodiscard]] uint32_t total_weight() const {
    uint32_t total = 0;
    for (const VariantText& variant : all) total += variant.weight;
    return total;
  }
};

struct StrategyText {
  int64_t id = 1;
  Points rollout = kAllPoints;
  std::string stickiness = "default";
  std::string group_id;
  std::vector<ConstraintText> constraints;
  std::vector<std::optional<size_t>> segments;  // none: one that is gone
  VariantsText variants;
};

struct PrerequisiteText {
  size_t flag;
  bool is_enabled = true;
  std::vector<std::string> variants = {};
};

struct FlagText {
  bool is_broken = false;
  bool is_enabled = true;
  bool is_killed = false;
  int64_t on_at = kNoBeginning;
  int64_t off_at = kNoEnd;
  std::vector<StrategyText> strategies;
  VariantsText variants;
  std::vector<PrerequisiteText> prerequisites;
};

struct FlagSetText {
  std::vector<FlagText> flags;
  std::vector<std::vector<ConstraintText>> segments;
};

class FlagSet {
 public:
  explicit FlagSet(const FlagSetText& text) {
    segments_ = place_.arena().memory().array<Segment>(text.segments.size());
    for (size_t i = 0; i < segments_.size(); ++i) segments_[i].constraints = constraints(text.segments[i]);
    flags_ = place_.arena().memory().array<Flag>(text.flags.size());
    for (size_t i = 0; i < flags_.size(); ++i) compile(text.flags[i], i);
    workspace_ = {place_.arena().memory().array<Remembered>(flags_.size()),
                  place_.arena().memory().array<Pending>(flags_.size()), 0};
  }

  [[nodiscard]] const Flag& flag(size_t i) const { return flags_[i]; }
  [[nodiscard]] size_t size() const { return flags_.size(); }
  [[nodiscard]] Workspace& workspace() { return workspace_; }

  Answer answer(size_t i, const Attributes& attributes) {
    const Context context = attributes.context();
    return Evaluation(context, kWorld, workspace_).answer(flags_[i]);
  }

 private:
  static Stickiness stickiness(std::string_view text) {
    if (text == "default") return {Stickiness::By::first_there, {}};
    if (text == "random") return {Stickiness::By::random, {}};
    return {Stickiness::By::attribute, text};
  }

  std::span<const Constraint> constraints(const std::vector<ConstraintText>& texts) {
    const auto all = place_.arena().memory().array<Constraint>(texts.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = place_.prepared(texts[i]);
    return all;
  }

  Variants variants(const VariantsText& text) {
    Arena& arena = place_.arena();
    const auto all = arena.memory().array<Variant>(text.all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      all[i].name = arena.text(text.all[i].name);
      all[i].weight = text.all[i].weight;
      const auto overrides = arena.memory().array<Override>(text.all[i].overrides.size());
      for (size_t j = 0; j < overrides.size(); ++j)
        overrides[j] = {arena.text(text.all[i].overrides[j].attribute), arena.texts(text.all[i].overrides[j].values)};
      all[i].overrides = overrides;
    }
    return {all, text.total_weight(), stickiness(arena.text(text.stickiness)),
            hash_of_group(text.group_id, kVariantSeed)};
  }

  Strategy strategy(const StrategyText& text) {
    Arena& arena = place_.arena();
    const auto segments = arena.memory().array<const Segment*>(text.segments.size());
    for (size_t i = 0; i < segments.size(); ++i)
      segments[i] = text.segments[i] ? &segments_[*text.segments[i]] : nullptr;
    return {text.id,
            text.rollout,
            stickiness(arena.text(text.stickiness)),
            arena.text(text.group_id),
            hash_of_group(text.group_id, kRolloutSeed),
            constraints(text.constraints),
            segments,
            variants(text.variants)};
  }

  void compile(const FlagText& text, size_t number) {
    Arena& arena = place_.arena();
    Flag& flag = flags_[number];
    flag.id = static_cast<int64_t>(number) + 1;
    flag.number = static_cast<uint32_t>(number);
    flag.problem = text.is_broken ? "is broken" : nullptr;
    flag.is_enabled = text.is_enabled;
    flag.is_killed = text.is_killed;
    flag.on_at = text.on_at;
    flag.off_at = text.off_at;
    const auto strategies = arena.memory().array<Strategy>(text.strategies.size());
    for (size_t i = 0; i < strategies.size(); ++i) strategies[i] = strategy(text.strategies[i]);
    flag.strategies = strategies;
    flag.variants = variants(text.variants);
    const auto prerequisites = arena.memory().array<Prerequisite>(text.prerequisites.size());
    for (size_t i = 0; i < prerequisites.size(); ++i) {
      const PrerequisiteText& it = text.prerequisites[i];
      prerequisites[i] = {&flags_[it.flag], it.is_enabled, arena.texts(it.variants)};
    }
    flag.prerequisites = prerequisites;
  }

  Workplace place_;
  std::span<Segment> segments_;
  std::span<Flag> flags_;
  Workspace workspace_{};
};

}  // namespace pgcache::flags::test
