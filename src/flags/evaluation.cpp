#include "flags/evaluation.hpp"

#include <algorithm>

#include "flags/moment.hpp"

namespace pgcache::flags {

namespace {

constexpr Answer kDisabled{false, Reason::disabled, ErrorCode::none, nullptr};
constexpr Answer kDefault{false, Reason::by_default, ErrorCode::none, nullptr};
constexpr Answer kStatic{true, Reason::is_static, ErrorCode::none, nullptr};
constexpr Answer kKeyMissing{false, Reason::error, ErrorCode::targeting_key_missing, nullptr};
constexpr Answer kBroken{false, Reason::error, ErrorCode::parse_error, nullptr};

Reason reason_of(const Strategy& strategy) noexcept {
  if (strategy.rollout < kAllPoints) return Reason::split;
  return strategy.constraints.empty() && strategy.segments.empty() ? Reason::is_static : Reason::targeting_match;
}

// Splitmix64's finalizer: every draw of a call comes from one random number.
uint64_t scrambled(uint64_t number) noexcept {
  number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9U;
  number = (number ^ number >> 27) * 0x94d049bb133111ebU;
  return number ^ number >> 31;
}

Variant* variant_at(const Variants& variants, uint32_t point) noexcept {
  for (Variant& variant : variants.all) {
    if (point < variant.weight) return &variant;
    point -= variant.weight;
  }
  return nullptr;
}

}  // namespace

std::string_view name_of(Reason reason) noexcept {
  constexpr std::string_view names[] = {"STATIC", "TARGETING_MATCH", "SPLIT", "DEFAULT", "DISABLED", "ERROR"};
  return names[static_cast<size_t>(reason)];
}

std::string_view name_of(ErrorCode code) noexcept {
  constexpr std::string_view names[] = {"", "FLAG_NOT_FOUND", "TARGETING_KEY_MISSING", "INVALID_CONTEXT",
                                        "PARSE_ERROR"};
  return names[static_cast<size_t>(code)];
}

std::string_view name_of(State state) noexcept {
  constexpr std::string_view names[] = {"enabled", "disabled", "killed", "scheduled", "ended"};
  return names[static_cast<size_t>(state)];
}

int64_t Evaluation::now() noexcept {
  if (!now_) now_ = world_.clock();
  return *now_;
}

// What date constraints compare: currentTime where the context has one, even if that is no time.
std::optional<int64_t> Evaluation::time_of_context() noexcept {
  const std::optional<std::string_view> given = context_.attribute("currentTime");
  return given && !given->empty() ? parse_moment(without_blanks(*given)) : std::optional(now());
}

uint32_t Evaluation::chance(uint64_t of) noexcept {
  if (!chance_) chance_ = world_.random();
  return static_cast<uint32_t>(scrambled(*chance_ + of * 0x9e3779b97f4a7c15U) >> 32);
}

State Evaluation::state(const Flag& flag) noexcept {
  if (flag.is_killed) return State::killed;
  if (!flag.is_enabled) return State::disabled;
  const bool has_on = flag.on_at != kNoBeginning;
  const bool has_off = flag.off_at != kNoEnd;
  if (has_on && now() < flag.on_at) return State::scheduled;
  return has_off && now() >= flag.off_at ? State::ended : State::enabled;
}

bool Evaluation::passes(const Constraint& constraint) noexcept {
  world_.breathe();
  const auto attribute = compares_time(constraint.op) ? std::nullopt : context_.attribute(constraint.attribute);
  return flags::passes(constraint, attribute, [&] { return time_of_context(); });
}

bool Evaluation::pass_all(std::span<const Constraint> constraints) noexcept {
  return std::all_of(constraints.begin(), constraints.end(), [&](const Constraint& it) { return passes(it); });
}

bool Evaluation::passes(const Segment& segment) noexcept { return pass_all(segment.constraints); }

// An empty one is as if it were not there. `name` is the attribute that was found.
std::optional<std::string_view> Evaluation::attribute_to_stick_to(const Stickiness& stickiness, bool also_address,
                                                                  std::string_view& name) noexcept {
  constexpr std::string_view kDefaults[] = {"userId", "sessionId", "remoteAddress"};
  const auto find = [&](std::string_view attribute) {
    std::optional<std::string_view> value = context_.attribute(attribute);
    if (value && value->empty()) value.reset();
    if (value) name = attribute;
    return value;
  };
  if (stickiness.by == Stickiness::By::attribute) {
    name = stickiness.attribute;
    return find(stickiness.attribute);
  }
  if (stickiness.by == Stickiness::By::random) return std::nullopt;
  for (const std::string_view attribute : std::span(kDefaults, also_address ? 3 : 2))
    if (const auto value = find(attribute)) return value;
  return std::nullopt;
}

Bucket Evaluation::bucket(const Strategy& strategy) noexcept {
  std::string_view name;
  Bucket bucket{};
  bucket.value = attribute_to_stick_to(strategy.stickiness, false, name);
  const bool needs_attribute = strategy.stickiness.by == Stickiness::By::attribute;
  if (bucket.value || needs_attribute) bucket.attribute = name;
  if (!bucket.value && needs_attribute) return bucket;
  bucket.point = point_of(bucket.value ? hash_in_group(strategy.group, *bucket.value)
                                       : chance(static_cast<uint64_t>(strategy.id)));
  return bucket;
}

Passed Evaluation::reaches(const Strategy& strategy) noexcept {
  if (strategy.rollout == 0) return Passed::no;
  const bool needs_attribute = strategy.stickiness.by == Stickiness::By::attribute;
  if (strategy.rollout == kAllPoints && !needs_attribute) return Passed::yes;
  const Bucket found = bucket(strategy);
  if (needs_attribute && !found.value) return Passed::lacks_attribute;
  return found.point < strategy.rollout ? Passed::yes : Passed::no;
}

Passed Evaluation::passes(const Strategy& strategy) noexcept {
  if (!pass_all(strategy.constraints)) return Passed::no;
  for (const Segment* segment : strategy.segments)
    if (segment == nullptr || !passes(*segment)) return Passed::no;
  return reaches(strategy);
}

Answer Evaluation::answer_of_strategies(const Flag& flag) noexcept {
  bool lacks_attribute = false;
  for (const Strategy& strategy : flag.strategies) {
    const Passed passed = passes(strategy);
    if (passed == Passed::yes) return {true, reason_of(strategy), ErrorCode::none, &strategy};
    lacks_attribute = lacks_attribute || passed == Passed::lacks_attribute;
  }
  return lacks_attribute ? kKeyMissing : kDefault;
}

Answer Evaluation::answer_of_itself(const Flag& flag) noexcept {
  if (flag.problem != nullptr) return kBroken;
  if (state(flag) != State::enabled) return kDisabled;
  return flag.strategies.empty() ? kStatic : answer_of_strategies(flag);
}

bool Evaluation::is_met(const Prerequisite& prerequisite, const Answer& answer) noexcept {
  if (answer.error == ErrorCode::parse_error) return false;
  if (answer.is_enabled != prerequisite.is_enabled) return false;
  if (prerequisite.variants.empty() || !prerequisite.is_enabled) return true;
  const Variant* chosen = variant(*prerequisite.flag, answer);
  return chosen != nullptr && std::find(prerequisite.variants.begin(), prerequisite.variants.end(), chosen->name) !=
                                  prerequisite.variants.end();
}

const Answer* Evaluation::remembered(const Flag& flag) const noexcept {
  const Remembered& it = workspace_.remembered[flag.number];
  return it.call == call_ ? &it.answer : nullptr;
}

void Evaluation::remember(const Flag& flag, const Answer& answer) noexcept {
  workspace_.remembered[flag.number] = {call_, answer};
}

// A flag that waits for a prerequisite stays in `pending`, whose last one is at work. No flag is in it twice: there are
// no circles.
Answer Evaluation::answer_with_prerequisites(const Flag& flag) noexcept {
  size_t depth = 0;
  const auto wait_for = [&](const Flag& it) { workspace_.pending[depth++] = {&it, 0}; };
  const auto finish = [&](const Flag& it, const Answer& answer) {
    remember(it, answer);
    --depth;
  };
  wait_for(flag);
  while (depth > 0) {
    Pending& top = workspace_.pending[depth - 1];
    if (top.flag->problem != nullptr || top.next == top.flag->prerequisites.size()) {
      finish(*top.flag, answer_of_itself(*top.flag));
      continue;
    }
    const Prerequisite& prerequisite = top.flag->prerequisites[top.next];
    const Answer* answer = remembered(*prerequisite.flag);
    if (answer == nullptr)
      wait_for(*prerequisite.flag);
    else if (is_met(prerequisite, *answer))
      ++top.next;
    else
      finish(*top.flag, kDisabled);
  }
  return *remembered(flag);
}

Variant* Evaluation::variant(const Flag& flag, const Answer& answer, bool& is_override) noexcept {
  is_override = false;
  if (!answer.is_enabled) return nullptr;
  const bool has_own = answer.strategy != nullptr && !answer.strategy->variants.all.empty();
  const Variants& variants = has_own ? answer.strategy->variants : flag.variants;
  if (variants.total_weight == 0) return nullptr;
  for (Variant& variant : variants.all)
    for (const Override& named : variant.overrides) {
      const std::optional<std::string_view> value = context_.attribute(named.attribute);
      if (!value || std::find(named.values.begin(), named.values.end(), *value) == named.values.end()) continue;
      is_override = true;
      return &variant;
    }
  std::string_view name;
  const std::optional<std::string_view> value = attribute_to_stick_to(variants.stickiness, true, name);
  const uint32_t hash = value ? hash_in_group(variants.group, *value) : chance(~static_cast<uint64_t>(flag.id));
  return variant_at(variants, hash % variants.total_weight);
}

}  // namespace pgcache::flags
