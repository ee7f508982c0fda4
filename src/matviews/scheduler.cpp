// The scheduler: knows of each database when its next refresh is due, and starts a worker there then.
//
// Contract
//  - It is connected to no database, so it is in nobody's way; it reads pg_database alone.
//  - A database is looked at, by a worker that tells what is due there, once after the start, when a commit has changed
//    its schedules or created the extension, and when something is due. Once an hour too, for changes that no commit of
//    this server told of.
//  - A database where no worker can run is tried again after a second, then ever later, up to a minute.
//  - It runs on a primary only: on a standby it starts with the promotion.
#include "matviews/scheduler.hpp"

#include "matviews/matview_settings.hpp"
#include "matviews/refresh_slots.hpp"
#include "matviews/write_counts.hpp"
#include "pg/clock.hpp"
#include "pg/function.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

extern "C" PGCACHE_EXPORT void pgcache_scheduler_main(Datum);

namespace pgcache {

namespace {

constexpr int64_t kLongestNap = 60 * USECS_PER_SEC;
constexpr int64_t kShortestPause = USECS_PER_SEC;
constexpr int64_t kLongestPause = 60 * USECS_PER_SEC;
constexpr int64_t kLookAgain = USECS_PER_HOUR;

struct Database {
  Oid oid;
  bool exists;   // at the last look at pg_database
  bool noticed;  // look at it, whatever is due
  bool wants_helper;
  uint64_t last_report;
  uint64_t served;      // the number of its last worker
  TimestampTz due;      // by the schedules' clock
  TimestampTz look_at;  // by the real one; DT_NOEND: it has no extension
  TimestampTz not_before;
  int failures;
  int workers;
};

struct Worker {
  Oid database;                    // InvalidOid: none
  BackgroundWorkerHandle* handle;  // nullptr: an earlier scheduler's
};

Database* databases = nullptr;
int database_count = 0;
int database_room = 0;
Worker workers[kRefreshSlots];
int worker_count = 0;
uint64_t workers_started = 0;

Database* find_database(Oid oid) {
  Database* const end = databases + database_count;
  Database* const found = std::find_if(databases, end, [oid](const Database& one) { return one.oid == oid; });
  return found == end ? nullptr : found;
}

Database& add_database(Oid oid) {
  if (database_count == database_room) {
    database_room = std::max(2 * database_room, 16);
    const Size bytes = sizeof(Database) * static_cast<Size>(database_room);
    databases = static_cast<Database*>(databases == nullptr ? MemoryContextAlloc(TopMemoryContext, bytes)
                                                            : repalloc(databases, bytes));
  }
  Database& added = databases[database_count++];
  added = {};
  added.oid = oid;
  added.exists = true;
  added.noticed = true;
  added.due = added.look_at = DT_NOEND;
  added.not_before = 0;
  return added;
}

// ---- the list

void note_row(const FormData_pg_database& row) {
  if (row.datistemplate || !row.datallowconn || row.datconnlimit == -2) return;  // -2: being dropped
  Database* known = find_database(row.oid);
  if (known == nullptr) known = &add_database(row.oid);
  known->exists = true;
}

void read_databases() {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  Relation relation = table_open(DatabaseRelationId, AccessShareLock);
  TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
  for (HeapTuple tuple; HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection));)
    note_row(*reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple)));
  table_endscan(scan);
  table_close(relation, AccessShareLock);
  CommitTransactionCommand();
}

void update_databases() {
  for (int i = 0; i < database_count; ++i) databases[i].exists = false;
  read_databases();
  // One with workers goes later.
  Database* const end = std::remove_if(databases, databases + database_count,
                                       [](const Database& one) { return !one.exists && one.workers == 0; });
  database_count = static_cast<int>(end - databases);
}

// Transactions that were prepared before may have changed schedules.
void look_for_prepared() {
  engine::Transaction transaction = 0;
  if (std::any_of(databases, databases + database_count,
                  [&](const Database& one) { return pg::prepared_transactions(one.oid, &transaction, 1) > 0; }))
    note_prepared_change();
}

void take_notice() {
  const Notices notices = take_notices();
  if (notices.list || std::any_of(notices.databases, notices.databases + notices.count,
                                  [](Oid database) { return find_database(database) == nullptr; }))
    update_databases();
  for (int i = 0; notices.more && i < database_count; ++i) databases[i].noticed = true;
  for (int i = 0; i < notices.count; ++i)
    if (Database* known = find_database(notices.databases[i]); known != nullptr) known->noticed = true;
}

// ---- workers

void pause(Database& database, TimestampTz real_now) {
  const int64_t wait = std::min(kShortestPause << std::min(database.failures, 10), kLongestPause);
  database.not_before = real_now + wait;
}

void take_next_run(Database& database, const SlotView& slot, TimestampTz real_now) {
  database.failures = 0;
  if (slot.number < database.last_report) return;
  database.wants_helper = false;
  database.last_report = slot.number;
  database.due = slot.next_run;
  database.look_at = real_now + kLookAgain;
  if (slot.report == Report::blocked) pause(database, real_now);
}

void take_report(Database& database, const SlotView& slot, TimestampTz real_now) {
  switch (slot.report) {
    case Report::no_extension:
      database.failures = 0;
      database.due = database.look_at = DT_NOEND;
      break;
    case Report::done:
    case Report::blocked:
      take_next_run(database, slot, real_now);
      break;
    case Report::again:
    case Report::failed_in_run:
      database.noticed = true;
      break;
    case Report::failed:
      database.noticed = true;
      pause(database, real_now);
      ++database.failures;
      break;
  }
}

bool has_ended(const Worker& worker, const SlotView& slot) {
  if (slot.state == SlotState::finished) return true;
  pid_t pid = 0;
  return worker.handle != nullptr && slot.state == SlotState::starting &&
         GetBackgroundWorkerPid(worker.handle, &pid) == BGWH_STOPPED;
}

void collect(int number, TimestampTz real_now) {
  Worker& worker = workers[number];
  if (worker.database == InvalidOid) return;
  const SlotView slot = look_at_slot(number);
  Database* database = find_database(worker.database);
  if (!has_ended(worker, slot)) {
    if (slot.wants_helper && database != nullptr) database->wants_helper = true;
    return;
  }
  if (database != nullptr) {
    --database->workers;
    take_report(*database, slot, real_now);
    if (slot.report == Report::failed) notify_scheduler_of_list();  // it may be gone
  }
  if (worker.handle != nullptr) pfree(worker.handle);
  worker = {};
  --worker_count;
  free_slot(number);
}

// Those that an earlier scheduler has started.
void adopt_workers() {
  for (int i = 0; i < kRefreshSlots; ++i) {
    const SlotView slot = look_at_slot(i);
    if (slot.state == SlotState::free) continue;
    workers[i] = {slot.database, nullptr};
    ++worker_count;
    if (Database* database = find_database(slot.database); database != nullptr) ++database->workers;
  }
}

BackgroundWorkerHandle* launch(int slot, uint32_t generation) {
  BackgroundWorker worker{};
  strlcpy(worker.bgw_name, "pgcache refresh worker", sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, "pgcache refresh worker", sizeof worker.bgw_type);
  strlcpy(worker.bgw_library_name, "pgcache", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, "pgcache_refresh_worker_main", sizeof worker.bgw_function_name);
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = BGW_NEVER_RESTART;
  worker.bgw_main_arg = Int32GetDatum(slot);
  memcpy(worker.bgw_extra, &generation, sizeof generation);
  worker.bgw_notify_pid = MyProcPid;
  BackgroundWorkerHandle* handle = nullptr;
  MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
  const bool registered = RegisterDynamicBackgroundWorker(&worker, &handle);
  MemoryContextSwitchTo(before);
  return registered ? handle : nullptr;
}

// Later, if no process or slot is free.
void start_worker(Database& database, TimestampTz real_now) {
  uint32_t generation = 0;
  const std::optional<int> slot = take_slot(database.oid, &generation);
  BackgroundWorkerHandle* handle = slot ? launch(*slot, generation) : nullptr;
  if (handle == nullptr) {
    if (slot) free_slot(*slot);
    pause(database, real_now);
    ++database.failures;
    return;
  }
  workers[*slot] = {database.oid, handle};
  ++worker_count;
  ++database.workers;
  database.noticed = database.wants_helper = false;
  database.served = ++workers_started;
}

// ---- who is next

bool wants_worker(const Database& database, TimestampTz now, TimestampTz real_now) {
  if (!database.exists || database.not_before > real_now) return false;
  // Its workers find by themselves what is due, unless one asks for another.
  if (database.workers > 0) return database.noticed || database.wants_helper;
  return database.noticed || database.due <= now || database.look_at <= real_now;
}

// Who has waited longest for a worker.
Database* next_to_serve(TimestampTz now, TimestampTz real_now) {
  Database* first = nullptr;
  for (int i = 0; i < database_count; ++i)
    if (wants_worker(databases[i], now, real_now) &&
        (first == nullptr || databases[i].workers < first->workers ||
         (databases[i].workers == first->workers && databases[i].served < first->served)))
      first = &databases[i];
  return first;
}

void start_workers(TimestampTz now, TimestampTz real_now) {
  Database* next = nullptr;
  while ((next = next_to_serve(now, real_now)) != nullptr && worker_count < max_refresh_workers_setting())
    start_worker(*next, real_now);
  set_waiting((next != nullptr && next->workers == 0) || worker_count > max_refresh_workers_setting());
  // Each database with such views has said so by now.
  if (std::none_of(databases, databases + database_count,
                   [](const Database& one) { return one.exists && (one.noticed || one.workers > 0); }))
    settle_write_counts();
}

// ---- sleep

// Of who waits for a free worker nothing is said: its end wakes us.
long nap_milliseconds(TimestampTz now, TimestampTz real_now) {
  int64_t nap = kLongestNap;
  for (int i = 0; i < database_count; ++i) {
    const Database& database = databases[i];
    if (!database.exists || wants_worker(database, now, real_now)) continue;
    int64_t wait = kLongestNap;
    if (database.noticed)
      wait = database.not_before - real_now;
    else if (database.workers == 0)
      wait = std::min(std::max(database.due - now, database.not_before - real_now),
                      std::max(database.look_at - real_now, database.not_before - real_now));
    nap = std::min(nap, std::max<int64_t>(wait, 1000));
  }
  return static_cast<long>((nap + 999) / 1000);
}

void work() {
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  begin_scheduler();
  update_databases();
  adopt_workers();
  look_for_prepared();
  while (!ShutdownRequestPending) {
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
    take_notice();
    for (int i = 0; i < kRefreshSlots; ++i) collect(i, GetCurrentTimestamp());
    start_workers(pg::clock_now(), GetCurrentTimestamp());
    const long nap = nap_milliseconds(pg::clock_now(), GetCurrentTimestamp());
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, nap, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
  }
}

}  // namespace

void install_scheduler() {
  // pg_upgrade must find the old cluster as it was, and make the new one alone.
  if (IsBinaryUpgrade) return;
  BackgroundWorker worker{};
  strlcpy(worker.bgw_name, "pgcache scheduler", sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, "pgcache scheduler", sizeof worker.bgw_type);
  strlcpy(worker.bgw_library_name, "pgcache", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, "pgcache_scheduler_main", sizeof worker.bgw_function_name);
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
  worker.bgw_restart_time = 1;
  RegisterBackgroundWorker(&worker);
}

}  // namespace pgcache

void pgcache_scheduler_main(Datum) {
  pgcache::work();
  // Told to stop by an administrator, it comes back; by the postmaster, it does not.
  proc_exit(1);
}
