// A table of limits in heap memory, with a clock that only tests move.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <ostream>
#include <string>
#include <string_view>

#include "heap_environment.hpp"
#include "limits/limit_table.hpp"

namespace pgcache::limits {

inline std::ostream& operator<<(std::ostream& out, Reason reason) {
  static constexpr const char* kNames[] = {"none",          "limit_exceeded",     "blocked",
                                           "quota_is_zero", "cost_exceeds_limit", "memory_full"};
  return out << kNames[static_cast<size_t>(reason)];
}

inline std::ostream& operator<<(std::ostream& out, Algorithm algorithm) {
  static constexpr const char* kNames[] = {"gcra", "fixed", "sliding", "exact", "calendar"};
  return out << kNames[static_cast<size_t>(algorithm)];
}

inline std::ostream& operator<<(std::ostream& out, const Limit& limit) {
  return out << limit.algorithm << " of " << limit.quota << " per " << limit.period << ", burst " << limit.burst;
}

inline std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  return out << (verdict.allowed ? "allowed" : "denied") << " (" << verdict.reason << "), remaining "
             << verdict.remaining << ", retry " << verdict.retry_after << ", reset " << verdict.reset_after
             << ", blocked until " << verdict.blocked_until;
}

inline bool operator==(const Verdict& one, const Verdict& other) {
  return one.allowed == other.allowed && one.reason == other.reason && one.remaining == other.remaining &&
         one.retry_after == other.retry_after && one.reset_after == other.reset_after &&
         one.blocked_until == other.blocked_until && one.lacks_room == other.lacks_room;
}

}  // namespace pgcache::limits

namespace pgcache::limits::test {

using engine::test::constant_hash;
using engine::test::Hash;
using engine::test::spreading_hash;

// It makes copies of memory slow, and has nothing to say about one thread.
#if defined(__SANITIZE_THREAD__)
constexpr bool kUnderThreadSanitizer = true;
#else
constexpr bool kUnderThreadSanitizer = false;
#endif

constexpr uint64_t kMegabyte = uint64_t{1} << 20;
constexpr int64_t kMillisecond = 1'000;
constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
// The first and the last that the clock can show.
constexpr int64_t kFirstTime = 0;
constexpr int64_t kLastTime = 9'223'371'331'199'999'999;
constexpr int64_t kStart = 825'638'400'000'000;  // 2026-03-01

constexpr Algorithm kAlgorithms[] = {Algorithm::gcra, Algorithm::fixed, Algorithm::sliding, Algorithm::exact,
                                     Algorithm::calendar};

inline std::atomic<int64_t> shared_time;
inline int64_t shared_clock() { return shared_time.load(std::memory_order_relaxed); }

inline Limit limit(Algorithm algorithm, int64_t quota, int64_t period, int64_t burst = 0) {
  return {algorithm, quota, period, burst == 0 ? quota : burst};
}
inline Limit calendar(int64_t quota, CalendarUnit unit) {
  return limit(Algorithm::calendar, quota, static_cast<int64_t>(unit));
}

class Table {
 public:
  explicit Table(uint64_t bytes = kMinTableBytes, Hash hash = spreading_hash)
      : memory_(bytes),
        environment_{engine::test::Locks::lock, engine::test::Locks::unlock, hash, &locks_},
        table(LimitTable::format(memory_.span(), environment_, {0x5ec7e7, 0x07e3}, kStart)) {}

  // A copy of the memory, attached elsewhere.
  Table(const Table& other)
      : now(other.now),
        memory_(other.memory_.span().size()),
        environment_{other.environment_.lock, other.environment_.unlock, other.environment_.hash, &locks_},
        table(LimitTable::attach(memory_.span(), environment_)) {
    become(other);
  }
  Table& operator=(const Table&) = delete;

  void become(const Table& other) {
    std::memcpy(memory_.span().data(), other.memory_.span().data(), memory_.span().size());
    now = other.now;
  }

  [[nodiscard]] Key key(std::string_view text, uint32_t database = 1) const { return table.key(database, text); }

  Verdict charge(std::string_view text, const Limit& by, int64_t cost = 1, int64_t block = 0,
                 bool allow_when_full = false) {
    return table.charge(key(text), {by, cost, block, allow_when_full}, clock());
  }
  Verdict peek(std::string_view text, const Limit& by, int64_t cost = 1) {
    return table.peek(key(text), {by, cost, 0, false}, clock());
  }
  Verdict refund(std::string_view text, const Limit& by, int64_t cost = 1) {
    return table.refund(key(text), {by, cost, 0, false}, clock());
  }
  int64_t block(std::string_view text, int64_t duration) { return table.block(key(text), duration, clock()); }
  bool unblock(std::string_view text) { return table.unblock(key(text), clock()); }
  uint32_t reset(std::string_view text) { return table.reset(key(text), clock()); }
  [[nodiscard]] Totals totals() const { return table.totals(); }
  [[nodiscard]] engine::Buffer memory() const { return memory_.span(); }

  // What a call at that time would be told; no time before the last call's.
  Verdict peek_at(int64_t time, std::string_view text, const Limit& by, int64_t cost = 1) {
    const int64_t before = now;
    now = time;
    const Verdict verdict = peek(text, by, cost);
    now = before;
    return verdict;
  }

  int64_t now = kStart;

 private:
  [[nodiscard]] Clock clock() const {
    shared_time = now;
    return shared_clock;
  }

  engine::test::Memory memory_;
  engine::test::Locks locks_{kPartitions};
  engine::Environment environment_;

 public:
  LimitTable table;
};

inline std::string numbered(std::string_view name, uint64_t number) {
  return std::string(name) + std::to_string(number);
}

}  // namespace pgcache::limits::test
