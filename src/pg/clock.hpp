// The time that TTLs, limits and schedules go by: the system's, or pgcache.test_clock.
#pragma once

#include "engine/types.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace pgcache::pg {

void define_clock_settings();

TimestampTz clock_now();

// The engine counts milliseconds from PostgreSQL's epoch, 2000-01-01. What has begun counts as over for reads, and as
// not begun for a time to live, so that an entry lives for its whole ttl.
inline engine::Milliseconds for_reading(TimestampTz now) { return now / 1000; }
inline engine::Milliseconds for_expiry(TimestampTz now) { return (now + 999) / 1000; }

inline engine::Milliseconds now_for_reading() { return for_reading(clock_now()); }

}  // namespace pgcache::pg
