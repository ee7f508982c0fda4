// A refresh worker: belongs to one database as long as something is due there, and runs one refresh after the other.
//
// Contract
//  - Each refresh is three steps with a transaction each: claimed, run together with its outcome, or else, after a
//    failure, its outcome alone. Whatever ends the worker in between leaves a claim, which the next one finds and
//    writes down as interrupted.
//  - Between transactions it holds no lock, and while it refreshes none on the extension: dropping it waits for nobody.
//  - It is a superuser's session, so no code of users runs in it but inside a refresh, as the view's owner; what such
//    code may leave in the session is taken away after each.
//  - SIGTERM ends it at the next interrupt, SIGINT the refresh only.
#include "matviews/due_times.hpp"
#include "matviews/matview_settings.hpp"
#include "matviews/refresh.hpp"
#include "matviews/refresh_slots.hpp"
#include "matviews/schedules.hpp"
#include "pg/clock.hpp"
#include "pg/function.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
}

extern "C" PGCACHE_EXPORT void pgcache_refresh_worker_main(Datum);

namespace pgcache {

namespace {

// Of what one run needs from one transaction to the next.
MemoryContext run_context = nullptr;

template <typename Work>
void in_transaction(Work work) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  SPI_connect();
  PushActiveSnapshot(GetTransactionSnapshot());
  work();
  PopActiveSnapshot();
  SPI_finish();
  CommitTransactionCommand();
  // For who looks next, in whatever process.
  pgstat_report_stat(true);
}

// Whatever the settings of the database, of the role or of a user's code say.
void settle_session() {
  constexpr const char* kSettings[][2] = {{"search_path", "pg_catalog, pg_temp"},
                                          {"default_transaction_read_only", "off"},
                                          {"default_transaction_isolation", "read committed"},
                                          {"default_transaction_deferrable", "off"},
                                          {"statement_timeout", "0"},
                                          {"idle_in_transaction_session_timeout", "0"},
                                          {"session_replication_role", "origin"},
                                          {"row_security", "on"},
                                          {"check_function_bodies", "on"}};
  for (const auto& [name, value] : kSettings) SetConfigOption(name, value, PGC_SUSET, PGC_S_SESSION);
  if (GetConfigOption("transaction_timeout", true, false) != nullptr)
    SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_SESSION);
  SetConfigOption("lock_timeout", psprintf("%d", refresh_lock_timeout_setting()), PGC_SUSET, PGC_S_SESSION);
}

void take_reload() {
  if (!ConfigReloadPending) return;
  ConfigReloadPending = false;
  ProcessConfigFile(PGC_SIGHUP);
  settle_session();
}

// ---- what failed

int64_t timeout_of(const Run& run) {
  return run.schedule.timeout == nullptr ? refresh_timeout_setting()
                                         : positive_milliseconds(run.schedule.timeout, "timeout");
}

struct Failure {
  const char* code;
  const char* message;
};

// The message is for the view's owner, who finds it in matview_status; it may tell of values, so the log does not get
// it.
Failure failure_of(const ErrorData* error, const Run& run, TimestampTz begin) {
  const char* code = pstrdup(unpack_sql_state(error->sqlerrcode));
  const int64_t timeout = timeout_of(run);
  const bool timed_out =
      error->sqlerrcode == ERRCODE_QUERY_CANCELED && timeout > 0 && GetCurrentTimestamp() - begin >= timeout * 1000;
  if (!timed_out) return {code, pstrdup(error->message == nullptr ? "" : error->message)};
  const char* limit = run.schedule.timeout == nullptr ? "pgcache.refresh_timeout" : "its timeout";
  return {code, psprintf("it did not end within %s", limit)};
}

void log_failure(const Run& run, const char* code) {
  ereport(LOG, (errmsg("pgcache could not refresh a materialized view, schedule %lld: SQLSTATE %s",
                       static_cast<long long>(run.schedule.id), code),
                errhint("The view matview_history tells more."), errhidestmt(true), errhidecontext(true)));
}

// ---- one run

Interval since(TimestampTz begin) {
  Interval interval{};
  interval.time = std::max<int64_t>(GetCurrentTimestamp() - begin, 0);
  return interval;
}

void show(const Run& run) {
  const char* name = view_name(run.schedule.view);
  pgstat_report_appname(psprintf("pgcache: %s", name));
  pgstat_report_activity(STATE_RUNNING, psprintf("refresh of materialized view %s", name));
}

void show_idle() {
  pgstat_report_appname("pgcache");
  pgstat_report_activity(STATE_IDLE, nullptr);
}

void refresh_and_record(const Run& run, TimestampTz begin) {
  in_transaction([&] {
    show(run);
    if (const int64_t timeout = timeout_of(run); timeout > 0)
      enable_timeout_after(STATEMENT_TIMEOUT, static_cast<int>(std::min<int64_t>(timeout, INT_MAX)));
    const Refreshed done = refresh_view(run.schedule.view, run.schedule.concurrently);
    disable_timeout(STATEMENT_TIMEOUT, false);
    record_success(run, pg::clock_now(), since(begin), done);
  });
}

// What its code may have left for the next owner's.
void tidy_session() {
  disable_timeout(STATEMENT_TIMEOUT, false);
  LockReleaseSession(USER_LOCKMETHOD);
  settle_session();
  show_idle();
}

// nullptr: it went well.
const Failure* try_to_refresh(const Run& run, TimestampTz begin) {
  Failure* volatile failure = nullptr;
  PG_TRY();
  { refresh_and_record(run, begin); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(run_context);
    ErrorData* error = CopyErrorData();
    FlushErrorState();
    AbortCurrentTransaction();
    MemoryContextSwitchTo(run_context);
    failure = static_cast<Failure*>(palloc(sizeof(Failure)));
    *failure = failure_of(error, run, begin);
  }
  PG_END_TRY();
  tidy_session();
  return failure;
}

void carry_out(const Run& run) {
  const TimestampTz begin = GetCurrentTimestamp();
  const Failure* failure = try_to_refresh(run, begin);
  if (failure != nullptr) {
    in_transaction([&] { record_failure(run, pg::clock_now(), since(begin), failure->code, failure->message); });
    log_failure(run, failure->code);
  }
  leave_run();
}

// ---- the database

// With the tables that this library knows.
bool has_extension() {
  bool found = false;
  in_transaction([&] {
    found = OidIsValid(get_extension_oid("pgcache", true)) &&
            OidIsValid(get_relname_relid("matview_schedules", get_namespace_oid("pgcache", true)));
  });
  return found;
}

Planned plan_next(Run& run) {
  Planned planned = Planned::nothing;
  in_transaction([&] {
    lock_plan();
    MemoryContext before = MemoryContextSwitchTo(run_context);
    planned = plan_run(pg::clock_now(), run);
    MemoryContextSwitchTo(before);
    if (planned == Planned::run && could_run(pg::clock_now())) ask_for_helper();
  });
  return planned;
}

void work_through() {
  in_transaction([] {
    lock_plan();
    put_in_order(pg::clock_now());
  });
  for (;;) {
    CHECK_FOR_INTERRUPTS();
    take_reload();
    MemoryContextReset(run_context);
    Run run{};
    const Planned planned = plan_next(run);
    if (planned == Planned::nothing) return;
    if (planned == Planned::run) carry_out(run);
    if (others_wait()) return;
  }
}

TimestampTz next_run_here() {
  TimestampTz next = DT_NOEND;
  in_transaction([&] { next = next_planned_run(); });
  return next;
}

void work() {
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnectionByOid(database_of_work(), InvalidOid, 0);
  run_context = AllocSetContextCreate(TopMemoryContext, "pgcache run", ALLOCSET_DEFAULT_SIZES);
  settle_session();
  show_idle();
  if (!has_extension()) return finish_work(Report::no_extension, DT_NOEND);
  work_through();
  finish_work(Report::done, next_run_here());
}

}  // namespace

}  // namespace pgcache

void pgcache_refresh_worker_main(Datum argument) {
  uint32_t generation = 0;
  memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof generation);
  if (pgcache::begin_work(DatumGetInt32(argument), generation)) pgcache::work();
  proc_exit(0);
}
