// How each algorithm counts, but `exact`, which keeps a log (hit_log.hpp). Pure rules over one count.
//
// Guaranteed, for any sequence of calls with one limit whose times do not decrease:
//
//  - gcra takes at most burst + floor(w * quota / period) within any w microseconds; fixed and sliding at most
//    twice the quota within any period; calendar at most the quota within any of its units.
//
//  - `wait` is the least wait after which the same cost is there; nothing is rounded but the result, up.
//
//  - No call waits longer than one period after the last charge (gcra: than the burst takes to refill), also where the
//    limit was lowered in between.
//
// The limit may change from call to call: a count holds what was taken, not what is left. That is a number, but of gcra
// the time in which it runs off.
#pragma once

#include "limits/limit.hpp"

namespace pgcache::limits {

// What is kept. A count with nothing taken is not kept at all.
struct Count {
  int64_t charged_at;  // the last time that something was taken
  int64_t fresh_at;    // from then on it equals no count; of a block, its end
  // What was taken: of sliding, in the window of charged_at, and (rest) in the one before; of fixed and calendar, in
  // the window. Of gcra, fresh_at says it: less the fraction rest / used of a microsecond.
  uint64_t used;
  uint64_t rest;
};

// The count as it is now: what has run off is gone. Only what `take` has made of it is stored.
[[nodiscard]] Count at(const Count& stored, const Limit& limit, int64_t now) noexcept;

// These ask about what `at` returned, with the same time. cost: 1 to the capacity.
[[nodiscard]] int64_t remaining(const Count& count, const Limit& limit, int64_t now) noexcept;
[[nodiscard]] int64_t wait(const Count& count, const Limit& limit, int64_t cost, int64_t now) noexcept;
[[nodiscard]] int64_t reset(const Count& count, const Limit& limit, int64_t now) noexcept;
void take(Count& count, const Limit& limit, int64_t cost, int64_t now) noexcept;

// From what is stored, whatever the time.
void give_back(Count& stored, const Limit& limit, int64_t cost) noexcept;

// The clock was set back to before the last charge: it counts as made now.
void set_back(Count& stored, int64_t now) noexcept;

// Until the whole burst is there.
struct Refill {
  bool in_range;         // not over kLongestSpan
  int64_t microseconds;  // rounded up
};
[[nodiscard]] Refill refill_time(const Limit& limit) noexcept;

// When the unit of the calendar ends in which the time lies, in UTC.
[[nodiscard]] int64_t end_of_unit(CalendarUnit unit, int64_t time) noexcept;

}  // namespace pgcache::limits
