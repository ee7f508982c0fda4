// What the scheduler, the refresh workers and everybody else tell each other, in shared memory.
//
// Contract
//  - The scheduler alone takes slots and frees them. A worker fills in its own; the end of its process, however it
//    comes, marks it finished. A crash starts shared memory anew.
//  - Of a schedule that is in a slot there is one run, in that slot's worker: it is written there before the
//    transaction that claims it commits, and goes after its outcome has committed.
//  - While somebody is about to drop, rename or copy a database (`leave_database`), no worker of it starts, and those
//    that run are told to end.
//  - One lock guards all of it; nothing else is taken under it, and it is held for a look at the slots.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace pgcache {

constexpr int kRefreshSlots = 64;

void install_refresh_slots();

// ---- for everybody

// The scheduler will look at the database.
void notify_scheduler_of(Oid database);
// At the list of databases.
void notify_scheduler_of_list();
// Whether the module was preloaded.
bool scheduler_is_shared();
// 0: not running.
int scheduler_process();

// Makes way for a command that wants the database for itself, until `return_to_database` or the end of this process.
void leave_database(Oid database);
void return_to_database();

// Schedules that are changed by a transaction that was prepared.
void note_prepared_change();
bool have_prepared_changes();

// ---- for the scheduler

struct Notices {
  static constexpr int kMost = 64;
  Oid databases[kMost];
  int count;
  bool more;  // than fit: it may be any
  bool list;  // of databases
};

void begin_scheduler();
Notices take_notices();

// nothing: all slots are taken, or somebody wants the database for himself.
std::optional<int> take_slot(Oid database, uint32_t* generation);
void free_slot(int slot);

enum class SlotState : uint8_t { free, starting, running, finished };

// How a worker ended.
enum class Report : uint8_t {
  failed,
  failed_in_run,  // whose fault it may be
  no_extension,
  done,     // nothing is due
  blocked,  // what is due cannot run now
  again,    // there is more to do
};

struct SlotView {
  SlotState state;
  Oid database;
  Report report;
  uint64_t number;       // of the report: a later one knows more
  TimestampTz next_run;  // DT_NOEND: nothing to do
  bool wants_helper;     // reading it takes the wish away
};
SlotView look_at_slot(int slot);
// Another database waits for a worker, or there are too many.
void set_waiting(bool waiting);

// ---- for the worker

// Whether this process is one, at work.
bool is_refresh_worker();
// False if it must not begin.
bool begin_work(int slot, uint32_t generation);
Oid database_of_work();
void finish_work(Report report, TimestampTz next_run);
// `extension`: the ids of schedules begin anew when it is dropped and created.
void enter_run(int64_t schedule, Oid extension);
void leave_run();
// The schedules of this database that are being run, in the current memory context.
int64_t* running_schedules(Oid extension, int* count);
void ask_for_helper();
bool others_wait();

}  // namespace pgcache
