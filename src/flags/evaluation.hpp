// What a flag is for a context. Pure. What the context, the world and RE2 do below it is theirs: they may allocate, and
// leave the call by longjmp, which loses nothing.
//
// A flag is on if it is enabled, not killed, within its schedule, its prerequisites are met, and one of its strategies
// passes or it has none. Prerequisites are evaluated with a stack of their own, each flag once for a call, so neither
// their depth nor their number of paths can hurt.
#pragma once

#include "flags/flag.hpp"

namespace pgcache::flags {

enum class Reason : uint8_t { is_static, targeting_match, split, by_default, disabled, error };
enum class ErrorCode : uint8_t { none, flag_not_found, targeting_key_missing, invalid_context, parse_error };

std::string_view name_of(Reason reason) noexcept;
std::string_view name_of(ErrorCode code) noexcept;  // empty for none

struct Answer {
  bool is_enabled;
  Reason reason;
  ErrorCode error;
  const Strategy* strategy;  // that passed; nullptr: none, or there is none
};

// The reason of a flag's variant: weights decided, unless the context was named.
inline Reason reason_with(const Answer& answer, const Variant* variant, bool is_override) noexcept {
  if (variant == nullptr) return answer.reason;
  return is_override ? Reason::targeting_match : Reason::split;
}

enum class State : uint8_t { enabled, disabled, killed, scheduled, ended };
std::string_view name_of(State state) noexcept;

// Whom it is evaluated for. Attributes are texts that stay during the call.
struct Context {
  const void* source;
  std::optional<std::string_view> (*find)(const void* source, std::string_view attribute) noexcept;

  std::optional<std::string_view> attribute(std::string_view name) const noexcept { return find(source, name); }
};

// What the server gives for a call, when it is first needed.
struct World {
  int64_t (*clock)() noexcept;  // microseconds since 2000
  uint64_t (*random)() noexcept;
  void (*breathe)() noexcept;  // called again and again; it may leave the call by longjmp
};

// For each flag of a set that is a prerequisite: its answer in the call with this number.
struct Remembered {
  uint64_t call;
  Answer answer;
};

struct Pending {
  const Flag* flag;
  size_t next;  // of its prerequisites
};

// Room for one call at a time, for a set of so many flags: both have a place for each.
struct Workspace {
  std::span<Remembered> remembered;
  std::span<Pending> pending;
  uint64_t calls;
};

enum class Passed : uint8_t { yes, no, lacks_attribute };

struct Bucket {
  std::optional<std::string_view> attribute;  // stuck to; nullopt: random
  std::optional<std::string_view> value;
  Points point;
};

// One call: one context, one reading of the clock, one draw of chance.
class Evaluation {
 public:
  Evaluation(const Context& context, const World& world, Workspace& workspace) noexcept
      : context_(context), world_(world), workspace_(workspace), call_(++workspace.calls) {}

  Answer answer(const Flag& flag) noexcept {
    return flag.prerequisites.empty() ? answer_of_itself(flag) : answer_with_prerequisites(flag);
  }

  // The variant of a flag with that answer; nullptr: none. `is_override` tells whether the variant names the context.
  Variant* variant(const Flag& flag, const Answer& answer, bool& is_override) noexcept;
  Variant* variant(const Flag& flag, const Answer& answer) noexcept {
    bool is_override;
    return variant(flag, answer, is_override);
  }

  // What answers are made of.
  State state(const Flag& flag) noexcept;
  bool passes(const Constraint& constraint) noexcept;
  bool passes(const Segment& segment) noexcept;
  bool is_met(const Prerequisite& prerequisite, const Answer& answer) noexcept;
  Passed passes(const Strategy& strategy) noexcept;
  // Whether the rollout reaches the context.
  Passed reaches(const Strategy& strategy) noexcept;
  // Without a value where the attribute to stick to is missing, and the point means nothing.
  Bucket bucket(const Strategy& strategy) noexcept;
  int64_t now() noexcept;
  const Context& context() const noexcept { return context_; }

 private:
  Answer answer_of_itself(const Flag& flag) noexcept;
  Answer answer_with_prerequisites(const Flag& flag) noexcept;
  Answer answer_of_strategies(const Flag& flag) noexcept;
  bool pass_all(std::span<const Constraint> constraints) noexcept;
  const Answer* remembered(const Flag& flag) const noexcept;
  void remember(const Flag& flag, const Answer& answer) noexcept;
  std::optional<int64_t> time_of_context() noexcept;
  std::optional<std::string_view> attribute_to_stick_to(const Stickiness& stickiness, bool also_address,
                                                        std::string_view& name) noexcept;
  uint32_t chance(uint64_t of) noexcept;

  const Context& context_;
  const World& world_;
  Workspace& workspace_;
  const uint64_t call_;
  std::optional<int64_t> now_;
  std::optional<uint64_t> chance_;
};

}  // namespace pgcache::flags
