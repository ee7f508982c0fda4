// What a worker runs next, and what became of it: where schedules stand, and their runs, in the tables. The caller is
// connected to SPI as a superuser.
//
// Contract
//  - Where a schedule stands is changed under the planning lock or, by its run, with the run's outcome. A transaction
//    of a user may change it too; then the worker passes over it, and comes again.
//  - A run is written down as running, and committed, before it begins; its outcome commits with the refresh, or after
//    its failure. What is written as running and is in no worker's slot was interrupted.
//  - Nothing that users can write into a schedule or a view keeps another one from being planned: an ERROR while one is
//    looked at is that one's failure.
#pragma once

#include "matviews/schedules.hpp"

namespace pgcache {

// One worker of a database plans at a time. Until the end of the transaction.
void lock_plan();
// Schedules without a state get one; what was interrupted and what is too old to be kept is dealt with.
void put_in_order(TimestampTz now);

struct Run {
  Oid extension;  // that the ids are of: it can be dropped and created anew meanwhile
  int64_t id;
  Schedule schedule;
  Oid owner;               // of the view
  TimestampTz started;     // by the schedules' clock
  struct varlena* inputs;  // nullptr: unknowable
  const char* note;
};

enum class Planned : uint8_t {
  nothing,    // that could run now
  recorded,   // something that needs no refresh
  elsewhere,  // the next one is of another owner than this session's
  run,        // is written down as running
};
// `run` lives in the current memory context. Code of one owner runs in a session, InvalidOid: of any.
Planned plan_run(TimestampTz now, Oid session_owner, Run& run);
// Whether plan_run would find something.
bool could_run(TimestampTz now);
// The schedule that was looked at when planning failed; 0: none since begin_planning.
int64_t looked_at();
void begin_planning();

// Whether the tables are still those that know the run.
bool is_known(const Run& run);
void record_success(const Run& run, TimestampTz now, const Interval& duration, const Refreshed& done);
void record_failure(const Run& run, TimestampTz now, const Interval& duration, const char* error_code,
                    const char* error);
// Planning it failed. False: somebody holds it, so it cannot be written down.
bool record_unplannable(int64_t schedule, TimestampTz now, const char* error_code, const char* error);

// This process looks at it no more. False: there are too many already.
bool skip(int64_t schedule);

// When the next run is due that no worker is at; DT_NOEND: never.
TimestampTz next_planned_run();

}  // namespace pgcache
