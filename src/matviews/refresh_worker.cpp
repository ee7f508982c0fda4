// A refresh worker: belongs to one database as long as something is due there, and runs one refresh after the other.
//
// Contract
//  - Each refresh is three steps with a transaction each: claimed, run together with its outcome, or else, after a
//    failure, its outcome alone. Whatever ends the worker in between leaves a claim, which the next one finds and
//    writes down as interrupted.
//  - Between transactions it holds no lock, and while it refreshes none on the extension: dropping it waits for nobody.
//  - It is a superuser's session, so no code of users runs in it but inside a refresh, as the view's owner. What such
//    code may leave behind meets only code of the same owner: for another one's there is another worker.
//  - SIGTERM ends it at the next interrupt, SIGINT the refresh only. So does the timeout, again and again, because
//    users' code can catch it; in the end it ends the worker, which nobody can.
#include "matviews/due_times.hpp"
#include "matviews/matview_settings.hpp"
#include "matviews/planning.hpp"
#include "matviews/refresh.hpp"
#include "matviews/refresh_slots.hpp"
#include "pg/clock.hpp"
#include "pg/function.hpp"
#include "pg/names.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "commands/prepare.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
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

// Whose code has run here; InvalidOid: nobody's yet.
Oid session_owner = InvalidOid;

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
  // Nobody else does it for a worker.
  pgstat_report_stat(true);
}

// Whatever the settings of the database, of the role or of a user's code say.
void settle_session() {
  constexpr const char* kSettings[][2] = {{"role", "none"},
                                          {"search_path", "pg_catalog, pg_temp"},
                                          {"default_transaction_read_only", "off"},
                                          {"default_transaction_isolation", "read committed"},
                                          {"default_transaction_deferrable", "off"},
                                          {"statement_timeout", "0"},
                                          {"idle_in_transaction_session_timeout", "0"},
                                          {"session_replication_role", "origin"},
                                          {"row_security", "on"},
                                          {"stats_fetch_consistency", "cache"},
                                          {"quote_all_identifiers", "off"},
                                          {"exit_on_error", "off"}};
  for (const auto& [name, value] : kSettings) SetConfigOption(name, value, PGC_SUSET, PGC_S_SESSION);
  if (GetConfigOption("transaction_timeout", true, false) != nullptr)
    SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_SESSION);
  char wait[16];
  snprintf(wait, sizeof wait, "%d", refresh_lock_timeout_setting());
  SetConfigOption("lock_timeout", wait, PGC_SUSET, PGC_S_SESSION);
}

void take_reload() {
  if (!ConfigReloadPending) return;
  ConfigReloadPending = false;
  ProcessConfigFile(PGC_SIGHUP);
  settle_session();
}

// With the tables that this library knows. Whoever drops the extension does not wait for us.
bool schedules_exist() {
  return OidIsValid(get_extension_oid("pgcache", true)) &&
         OidIsValid(get_relname_relid("matview_schedules", get_namespace_oid("pgcache", true)));
}

// ---- what failed

struct Failure {
  const char* code;
  const char* message;
};

// As the view's owner will read it, in matview_status. It may tell of values, so the log does not get it.
Failure failure_of(const ErrorData* error) {
  constexpr int kLongest = 8192;
  const char* message = error->message == nullptr ? "" : error->message;
  const auto length = static_cast<int>(strnlen(message, kLongest + MAX_MULTIBYTE_CHAR_LEN));
  return {pstrdup(unpack_sql_state(error->sqlerrcode)), pnstrdup(message, pg_mbcliplen(message, length, kLongest))};
}

// Calls work(), and if it raises an error, rolls back and gives that, in the run's memory; else nullptr.
template <typename Work>
const Failure* failure_in(Work work) {
  Failure* volatile failure = nullptr;
  PG_TRY();
  { work(); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(run_context);
    ErrorData* error = CopyErrorData();
    FlushErrorState();
    AbortCurrentTransaction();
    MemoryContextSwitchTo(run_context);
    failure = static_cast<Failure*>(palloc(sizeof(Failure)));
    *failure = failure_of(error);
  }
  PG_END_TRY();
  return failure;
}

void log_failure(int64_t schedule, const char* code) {
  ereport(LOG, (errmsg("pgcache could not refresh a materialized view, schedule %lld: SQLSTATE %s",
                       static_cast<long long>(schedule), code),
                errhint("The view matview_history tells more."), errhidestmt(true), errhidecontext(true)));
}

// ---- the timeout

constexpr int kStrikesBeforeTheEnd = 10;
TimeoutId refresh_timeout = MAX_TIMEOUTS;
volatile sig_atomic_t strikes = 0;

// In a signal handler.
void strike() {
  strikes = strikes + 1;
  if (strikes <= kStrikesBeforeTheEnd)
    QueryCancelPending = true;
  else
    ProcDiePending = true;
  InterruptPending = true;
  SetLatch(MyLatch);
}

// Milliseconds; 0: none. Whoever schedules a view can only ask for less than the administrator's.
int64_t timeout_of(const Run& run) {
  const int64_t most = refresh_timeout_setting();
  if (run.schedule.timeout == nullptr) return most;
  const int64_t wanted = milliseconds_of(*run.schedule.timeout);
  return most == 0 ? wanted : std::min(wanted, most);
}

void begin_timeout(const Run& run) {
  strikes = 0;
  const int64_t timeout = timeout_of(run);
  if (timeout > 0) enable_timeout_every(refresh_timeout, GetCurrentTimestamp() + timeout * 1000, 1000);
}

void end_timeout() {
  disable_timeout(refresh_timeout, false);
  if (strikes > 0) QueryCancelPending = false;
}

// ---- one run

Interval since(TimestampTz begin) {
  Interval interval{};
  interval.time = std::max<int64_t>(GetCurrentTimestamp() - begin, 0);
  return interval;
}

void show(const Run& run) {
  const char* name = pg::qualified_name(run.schedule.view);
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
    begin_timeout(run);
    const Refreshed done = refresh_view(run.schedule.view, run.schedule.concurrently, run.owner);
    end_timeout();
    if (is_known(run)) record_success(run, pg::clock_now(), since(begin), done);
  });
}

// What its code may have left for the next run.
void tidy_session() {
  LockReleaseSession(USER_LOCKMETHOD);
  DropAllPreparedStatements();
  settle_session();
  show_idle();
}

// What cannot be written down now, because its owner has locked it, is found later as interrupted.
void record(const Run& run, TimestampTz begin, const Failure& failure) {
  const char* message = failure.message;
  if (strikes > 0 && strcmp(failure.code, "57014") == 0)
    message = psprintf("it did not end within %lld ms", static_cast<long long>(timeout_of(run)));
  failure_in([&] {
    in_transaction([&] {
      if (is_known(run)) record_failure(run, pg::clock_now(), since(begin), failure.code, message);
    });
  });
  log_failure(run.schedule.id, failure.code);
}

void carry_out(const Run& run) {
  const TimestampTz begin = GetCurrentTimestamp();
  session_owner = run.owner;
  const Failure* failure = failure_in([&] { refresh_and_record(run, begin); });
  end_timeout();
  tidy_session();
  if (failure != nullptr) record(run, begin, *failure);
  leave_run();
}

// ---- the database

bool has_schedules() {
  bool exist = false;
  in_transaction([&] { exist = schedules_exist(); });
  return exist;
}

// If something in there has to wait for a user, it is done another time.
void put_database_in_order() {
  const Failure* failure = failure_in([] {
    in_transaction([] {
      if (!schedules_exist()) return;
      lock_plan();
      put_in_order(pg::clock_now());
    });
  });
  if (failure != nullptr)
    ereport(LOG, (errmsg("pgcache will put its schedules in order later: SQLSTATE %s", failure->code),
                  errhidestmt(true), errhidecontext(true)));
}

// When it was last looked what is due, by the schedules' clock.
TimestampTz planned_at = 0;

Planned plan_next(Run& run) {
  Planned planned = Planned::nothing;
  planned_at = pg::clock_now();
  in_transaction([&] {
    if (!schedules_exist()) return;
    lock_plan();
    MemoryContext before = MemoryContextSwitchTo(run_context);
    planned = plan_run(planned_at, session_owner, run);
    MemoryContextSwitchTo(before);
    if (planned == Planned::run && could_run(planned_at)) ask_for_helper();
  });
  return planned;
}

void fail_plan(const char* code) { ereport(ERROR, (errmsg("pgcache cannot plan its refreshes: SQLSTATE %s", code))); }

// An error is the fault of the schedule that was looked at, if it was one.
void record_failed_plan(const Failure& failure) {
  const int64_t schedule = looked_at();
  if (schedule == 0) fail_plan(failure.code);
  bool is_recorded = false;
  failure_in([&] {
    in_transaction([&] {
      is_recorded = !schedules_exist() || record_unplannable(schedule, pg::clock_now(), failure.code, failure.message);
    });
  });
  log_failure(schedule, failure.code);
  if (!is_recorded && !skip(schedule)) fail_plan(failure.code);
}

Planned try_to_plan(Run& run) {
  volatile Planned planned = Planned::nothing;
  begin_planning();
  const Failure* failure = failure_in([&] { planned = plan_next(run); });
  if (failure == nullptr) return planned;
  leave_run();
  record_failed_plan(*failure);
  return Planned::recorded;
}

// What is left to do when it ends.
Report work_through() {
  for (;;) {
    CHECK_FOR_INTERRUPTS();
    take_reload();
    MemoryContextReset(run_context);
    Run run{};
    switch (try_to_plan(run)) {
      case Planned::nothing:
        return Report::done;
      case Planned::elsewhere:
        return Report::again;
      case Planned::recorded:
        break;
      case Planned::run:
        carry_out(run);
        break;
    }
    if (others_wait()) return Report::again;
  }
}

void report(Report how) {
  TimestampTz next = DT_NOEND;
  in_transaction([&] {
    if (schedules_exist()) next = next_planned_run();
  });
  finish_work(how == Report::done && next <= planned_at ? Report::blocked : how, next);
}

void work() {
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnectionByOid(database_of_work(), InvalidOid, 0);
  run_context = AllocSetContextCreate(TopMemoryContext, "pgcache run", ALLOCSET_DEFAULT_SIZES);
  refresh_timeout = RegisterTimeout(USER_TIMEOUT, strike);
  settle_session();
  show_idle();
  if (!has_schedules()) return finish_work(Report::no_extension, DT_NOEND);
  put_database_in_order();
  report(work_through());
}

}  // namespace

}  // namespace pgcache

void pgcache_refresh_worker_main(Datum argument) {
  uint32_t generation = 0;
  memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof generation);
  if (pgcache::begin_work(DatumGetInt32(argument), generation)) pgcache::work();
  proc_exit(0);
}
