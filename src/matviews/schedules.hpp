// Schedules as users make them. The caller is connected to SPI with the rights of the extension's owner.
#pragma once

#include "matviews/due_times.hpp"
#include "matviews/refresh.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

struct Schedule {
  int64_t id;
  Oid view;
  Timing timing;
  std::optional<bool> concurrently;
  bool only_if_changed;
  const Interval* timeout;  // or nullptr
};

// So that a view gets one schedule. Until the end of the transaction.
void lock_schedule_changes(Oid view);

// 0: none.
int64_t find_schedule(Oid view);
// Makes it, or changes the one with its id; its id.
int64_t put_schedule(const Schedule& schedule, TimestampTz now);
void remove_schedule(int64_t id);

// At once, where it is every so often.
TimestampTz first_run(const Timing& timing, TimestampTz now);

void add_run_by_hand(Oid view, TimestampTz started, const Interval& duration, const Refreshed& done);

}  // namespace pgcache
