// matview_schedule and its kin.
#include "matviews/due_times.hpp"
#include "matviews/notifications.hpp"
#include "matviews/refresh.hpp"
#include "matviews/refresh_slots.hpp"
#include "matviews/schedules.hpp"
#include "matviews/unique_index.hpp"
#include "matviews/write_counts.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/extension_owner.hpp"
#include "pg/function.hpp"
#include "pg/preload.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace pgcache {

namespace {

void require_scheduler() {
  if (!scheduler_is_shared()) pg::raise_not_preloaded();
  pg::require_same_version();
}

Oid matview_argument(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0)) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("view must not be null")));
  const Oid view = PG_GETARG_OID(0);
  const char* name = get_rel_name(view);
  if (name == nullptr)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no relation with OID %u", view)));
  if (get_rel_relkind(view) != RELKIND_MATVIEW)
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a materialized view", name),
             get_rel_relkind(view) == RELKIND_VIEW ? errhint("A view is computed anew whenever it is read.") : 0));
  return view;
}

void require_owner_of(Oid view) {
  if (!pg::owns_relation(view)) aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view));
}

void require_maintainer_of(Oid view) {
  if (!pg::maintains_relation(view)) aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view));
}

const Interval* interval_argument(FunctionCallInfo fcinfo, int number) {
  return PG_ARGISNULL(number) ? nullptr : PG_GETARG_INTERVAL_P(number);
}

const char* text_argument(FunctionCallInfo fcinfo, int number, const char* if_null) {
  return PG_ARGISNULL(number) ? if_null : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

// (view, every, cron, timezone, concurrently, only_if_changed, timeout, jitter)
Schedule schedule_argument(FunctionCallInfo fcinfo) {
  Schedule schedule{};
  schedule.view = matview_argument(fcinfo);
  schedule.timing = {interval_argument(fcinfo, 1), text_argument(fcinfo, 2, nullptr), text_argument(fcinfo, 3, "UTC"),
                     interval_argument(fcinfo, 7)};
  if (!PG_ARGISNULL(4)) schedule.concurrently = PG_GETARG_BOOL(4);
  schedule.only_if_changed = PG_ARGISNULL(5) || PG_GETARG_BOOL(5);
  schedule.timeout = interval_argument(fcinfo, 6);
  require_owner_of(schedule.view);
  check_timing(schedule.timing);
  if (schedule.timeout != nullptr) check_timeout(schedule.timeout);
  return schedule;
}

void check_concurrently(const Schedule& schedule) {
  if (schedule.concurrently == false || has_usable_unique_index(schedule.view)) return;
  const char* statement = unique_index_statement(schedule.view);
  const char* hint = statement == nullptr ? "No column can have a unique index." : statement;
  const char* name = get_rel_name(schedule.view);
  if (schedule.concurrently == true)
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("\"%s\" cannot be refreshed concurrently: it has no unique index", name), errhint("%s", hint)));
  ereport(NOTICE,
          (errmsg("\"%s\" will be refreshed without CONCURRENTLY, so that its readers wait for each refresh", name),
           errdetail("It has no unique index."), errhint("%s", hint)));
}

int64_t schedule_view(Schedule& schedule) {
  int64_t id = 0;
  pg::as_extension_owner([&] {
    check_concurrently(schedule);
    lock_schedule_changes(schedule.view);
    schedule.id = find_schedule(schedule.view);
    id = put_schedule(schedule, pg::clock_now());
  });
  // From now on, so that the first refresh can tell what has been written since.
  if (schedule.only_if_changed) count_writes();
  return id;
}

bool unschedule_view(Oid view) {
  bool found = false;
  pg::as_extension_owner([&] {
    lock_schedule_changes(view);
    while (const int64_t id = find_schedule(view)) {
      remove_schedule(id);
      found = true;
    }
  });
  return found;
}

void refresh_by_hand(Oid view) {
  const TimestampTz started = pg::clock_now();
  const TimestampTz begin = GetCurrentTimestamp();
  // The note outlives SPI's memory.
  MemoryContext caller = CurrentMemoryContext;
  SPI_connect();
  MemoryContextSwitchTo(caller);
  const Refreshed done = refresh_view(view, std::nullopt, InvalidOid);
  SPI_finish();
  Interval duration{};
  duration.time = GetCurrentTimestamp() - begin;
  pg::as_extension_owner([&] { add_run_by_hand(view, started, duration, done); });
}

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_matview_schedule) {
  using namespace pgcache;
  require_scheduler();
  Schedule schedule = schedule_argument(fcinfo);
  PG_RETURN_INT64(schedule_view(schedule));
}

// (view)
PGCACHE_FUNCTION(pgcache_matview_unschedule) {
  using namespace pgcache;
  require_scheduler();
  const Oid view = matview_argument(fcinfo);
  require_owner_of(view);
  PG_RETURN_BOOL(unschedule_view(view));
}

// (view)
PGCACHE_FUNCTION(pgcache_matview_refresh) {
  using namespace pgcache;
  require_scheduler();
  const Oid view = matview_argument(fcinfo);
  require_maintainer_of(view);
  refresh_by_hand(view);
  PG_RETURN_VOID();
}

PGCACHE_FUNCTION(pgcache_matview_schedules_changed) {
  using namespace pgcache;
  if (!CALLED_AS_TRIGGER(fcinfo))
    ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                    errmsg("pgcache.matview_schedules_changed() is for a trigger")));
  if (scheduler_is_shared()) notify_at_commit();
  return PointerGetDatum(nullptr);
}

PGCACHE_FUNCTION(pgcache_notify_scheduler) {
  using namespace pgcache;
  if (scheduler_is_shared()) notify_at_commit();
  PG_RETURN_VOID();
}

PGCACHE_FUNCTION(pgcache_scheduler_pid) {
  const int pid = pgcache::scheduler_process();
  if (pid == 0) PG_RETURN_NULL();
  PG_RETURN_INT32(pid);
}

PGCACHE_FUNCTION(pgcache_clock) { PG_RETURN_TIMESTAMPTZ(pgcache::pg::clock_now()); }
