// What a limit is, and what is answered. Times are microseconds since 2000-01-01, not before it; waits are
// microseconds.
#pragma once

#include <cstdint>
#include <string_view>

namespace pgcache::limits {

enum class Algorithm : uint8_t { gcra, fixed, sliding, exact, calendar };

enum class CalendarUnit : uint8_t { hour, day, month };

struct Limit {
  Algorithm algorithm;
  int64_t quota;   // 0: nothing is ever allowed
  int64_t period;  // 1 to kLongestSpan; of calendar, a CalendarUnit
  int64_t burst;   // of gcra, 1 or more; of the others, the quota

  // The most that is there to be taken.
  [[nodiscard]] int64_t capacity() const noexcept { return algorithm == Algorithm::gcra ? burst : quota; }
};

// A key's name in a database, hashed twice with two secrets.
struct Key {
  uint64_t first;  // not 0
  uint64_t second;
  uint32_t database;
  std::string_view text;  // for the list of denied keys
};

struct Request {
  Limit limit;
  int64_t cost;
  int64_t block;  // 0: a denial does not block
  bool allow_when_full;
};

constexpr int64_t kMaxExactQuota = 1000;
// About 126,000 years. A limit whose period, or whose burst's refill, is longer does not come here.
constexpr int64_t kLongestSpan = 4'000'000'000'000'000'000;

enum class Reason : uint8_t { none, limit_exceeded, blocked, quota_is_zero, cost_exceeds_limit, memory_full };

constexpr int64_t kNever = -1;

struct Verdict {
  bool allowed;
  bool lacks_room;  // for the count, or for a block
  Reason reason;
  int64_t remaining;      // after the call
  int64_t retry_after;    // kNever: the same call can never succeed
  int64_t reset_after;    // until the key is as if it had never been used
  int64_t blocked_until;  // 0: it is not
};

// Saturates: a time that no clock will show.
inline int64_t later(int64_t time, int64_t span) noexcept {
  int64_t sum;
  return __builtin_add_overflow(time, span, &sum) ? INT64_MAX : sum;
}

}  // namespace pgcache::limits
