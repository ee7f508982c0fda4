// When a schedule is due. `every` is a grid that begins on 2000-01-01 00:00 UTC, so that schedules of the same interval
// are due together; a day counts 24 hours and a month 30 days.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace pgcache {

struct Timing {
  const Interval* every;  // or nullptr
  const char* cron;       // or nullptr
  const char* timezone;
  const Interval* jitter;  // or nullptr
};

// 22023 for what cannot be: both or neither, an interval out of range, an expression that cannot be read or never
// comes, an unknown time zone.
void check_timing(const Timing& timing);
// 22023 if it is not over 0.
void check_timeout(const Interval* timeout);

// What follows raises nothing: a schedule may have come from a server where it was valid.

int64_t milliseconds_of(const Interval& interval);

// The first time after `after`; nothing if it is not valid here.
std::optional<TimestampTz> next_due(const Timing& timing, TimestampTz after);

// `due`, or up to the jitter later by chance.
TimestampTz with_jitter(const Timing& timing, TimestampTz due);

// When to try again what has failed so often in a row: after 10 s, then twice as long each time, up to an hour; but
// not later than it is due anyway.
TimestampTz retry_time(TimestampTz now, int failures, TimestampTz due);

}  // namespace pgcache
