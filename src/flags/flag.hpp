// Flags as they are evaluated: compiled from rows, unchanging, all of it in one piece of memory. Pure.
#pragma once

#include <limits>

#include "flags/bucket.hpp"
#include "flags/constraint.hpp"

namespace pgcache::flags {

// What decides in which bucket a context falls.
struct Stickiness {
  enum class By : uint8_t { first_there, random, attribute };  // first_there: userId, else sessionId, else random
  By by;
  std::string_view attribute;
};

struct Override {
  std::string_view attribute;
  std::span<const std::string_view> values;
};

struct Variant {
  std::string_view name;
  uint32_t weight;
  const void* value;  // the caller's; nullptr: none
  std::span<const Override> overrides;
  uint64_t evaluations;  // not handed on yet
};

struct Variants {
  std::span<Variant> all;
  uint32_t total_weight;  // 0 only where there are none
  Stickiness stickiness;
  Murmur3 group{0};  // of kVariantSeed
};

struct Segment {
  std::string_view name;
  std::span<const Constraint> constraints;
};

struct Strategy {
  int64_t id;
  Points rollout;
  Stickiness stickiness;
  std::string_view group_id;
  Murmur3 group{0};  // of kRolloutSeed
  std::span<const Constraint> constraints;
  std::span<const Segment* const> segments;
  Variants variants;
};

constexpr int64_t kNoBeginning = std::numeric_limits<int64_t>::min();
constexpr int64_t kNoEnd = std::numeric_limits<int64_t>::max();

struct Flag;

struct Prerequisite {
  Flag* flag;
  bool is_enabled;
  std::span<const std::string_view> variants;  // empty: any
};

struct Counts {
  uint64_t enabled;
  uint64_t disabled;
  uint64_t fallback;
};

struct Flag {
  int64_t id;
  std::string_view name;
  uint32_t number;      // in its set
  const char* problem;  // why it cannot be evaluated; nullptr: it can
  bool is_enabled;
  bool is_killed;
  int64_t on_at;   // microseconds since 2000, or kNoBeginning
  int64_t off_at;  // or kNoEnd
  std::span<const Strategy> strategies;
  Variants variants;
  std::span<const Prerequisite> prerequisites;
  Counts counts;  // not handed on yet
  bool is_counted;
};

}  // namespace pgcache::flags
