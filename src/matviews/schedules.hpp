// The tables of schedules, of where each stands, and of runs. The caller is connected to SPI, with the rights of the
// extension's owner or a superuser's.
//
// Contract
//  - Where a schedule stands is changed under the planning lock or, by its run, with the run's outcome. A transaction
//    of a user may change it too; then the worker passes over it, and comes again.
//  - A run is written down as running, and committed, before it begins; its outcome commits with the refresh, or after
//    its failure. What is written as running and is in no worker's slot was interrupted.
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

// ---- for users

// So that a view gets one schedule. Until the end of the transaction.
void lock_schedule_changes();
// 0: none.
int64_t find_schedule(Oid view);
int64_t put_schedule(const Schedule& schedule, TimestampTz now);
void remove_schedule(int64_t id);
// A refresh by hand.
void add_run_by_hand(Oid view, TimestampTz started, const Interval& duration, const Refreshed& done);

// ---- for the worker

// One worker of a database plans at a time. Until the end of the transaction.
void lock_plan();
// Schedules without a state get one; what was interrupted and what is too old to be kept is dealt with.
void put_in_order(TimestampTz now);

struct Run {
  int64_t id;
  Schedule schedule;
  TimestampTz started;     // by the schedules' clock
  struct varlena* inputs;  // nullptr: unknowable
  const char* note;
};

enum class Planned : uint8_t {
  nothing,   // that could run now
  recorded,  // something that needs no refresh
  run,       // is written down as running
};
// `run` lives in the current memory context.
Planned plan_run(TimestampTz now, Run& run);
// Whether plan_run would find something.
bool could_run(TimestampTz now);

void record_success(const Run& run, TimestampTz now, const Interval& duration, const Refreshed& done);
void record_failure(const Run& run, TimestampTz now, const Interval& duration, const char* error_code,
                    const char* error);

// When the next run is due that no worker is at; DT_NOEND: never.
TimestampTz next_planned_run();

}  // namespace pgcache
