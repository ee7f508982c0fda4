#include "matviews/schedules.hpp"

#include "pg/sql.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
}

namespace pgcache {

namespace {

pg::Argument of_optional(std::optional<bool> value) { return value ? pg::of_bool(*value) : pg::null_of(BOOLOID); }

}  // namespace

// A lock that nobody else knows: the view itself may be locked by its refresh.
void lock_schedule_changes(Oid view) { LockDatabaseObject(ExtensionRelationId, view, 2, ExclusiveLock); }

TimestampTz first_run(const Timing& timing, TimestampTz now) {
  return timing.every != nullptr ? now : with_jitter(timing, next_due(timing, now).value_or(now));
}

int64_t find_schedule(Oid view) {
  // As pgcache.matview_targets finds its view, the other way round.
  if (pg::run_sql(
          "SELECT t.id FROM pgcache.matview_states t WHERE t.view = $1 UNION ALL"
          " SELECT s.id FROM pgcache.matview_schedules s"
          " JOIN pg_catalog.pg_class c ON c.relname = s.view_name JOIN pg_catalog.pg_namespace n"
          " ON n.oid = c.relnamespace AND n.nspname = s.view_schema WHERE c.oid = $1 AND NOT EXISTS ("
          "SELECT FROM pgcache.matview_states t JOIN pg_catalog.pg_class k ON k.oid = t.view AND k.relkind = 'm'"
          " WHERE t.id = s.id) LIMIT 1",
          {pg::of_oid(view)}) == 0)
    return 0;
  return pg::bigint_at(0, 0);
}

int64_t put_schedule(const Schedule& schedule, TimestampTz now) {
  const Timing& timing = schedule.timing;
  const char* schema = get_namespace_name(get_rel_namespace(schedule.view));
  const pg::Argument id = schedule.id == 0 ? pg::null_of(INT8OID) : pg::of_bigint(schedule.id);
  pg::run_sql(
      "INSERT INTO pgcache.matview_schedules AS s (id, view_schema, view_name, every, cron, timezone, is_concurrent,"
      " only_if_changed, timeout, jitter)"
      " VALUES (coalesce($1, nextval('pgcache.matview_schedule_id')), $2, $3, $4, $5, $6, $7, $8, $9, $10)"
      " ON CONFLICT (id) DO UPDATE SET (view_schema, view_name, every, cron, timezone, is_concurrent, only_if_changed,"
      " timeout, jitter) = ROW (excluded.view_schema, excluded.view_name, excluded.every, excluded.cron,"
      " excluded.timezone, excluded.is_concurrent, excluded.only_if_changed, excluded.timeout, excluded.jitter)"
      " RETURNING s.id",
      {id, pg::of_text(schema), pg::of_text(get_rel_name(schedule.view)), pg::of_interval(timing.every),
       pg::of_text(timing.cron), pg::of_text(timing.timezone), of_optional(schedule.concurrently),
       pg::of_bool(schedule.only_if_changed), pg::of_interval(schedule.timeout), pg::of_interval(timing.jitter)});
  const int64_t put = pg::bigint_at(0, 0);
  const TimestampTz first = first_run(timing, now);
  pg::run_sql(
      "INSERT INTO pgcache.matview_states AS t (id, view, due, next_run) VALUES ($1, $2, $3, $3)"
      " ON CONFLICT (id) DO UPDATE SET view = excluded.view, due = excluded.due, next_run = excluded.next_run,"
      " failures = 0",
      {pg::of_bigint(put), pg::of_oid(schedule.view), pg::of_time(first)});
  return put;
}

void remove_schedule(int64_t id) {
  pg::run_sql("DELETE FROM pgcache.matview_schedules WHERE id = $1", {pg::of_bigint(id)});
}

void add_run_by_hand(Oid view, TimestampTz started, const Interval& duration, const Refreshed& done) {
  const int64_t schedule = find_schedule(view);
  pg::run_sql(
      "INSERT INTO pgcache.matview_runs (schedule, view, view_schema, view_name, owner, started_at, duration, outcome,"
      " by_hand, is_concurrent, rows, bytes, note)"
      " SELECT nullif($8, 0), c.oid, n.nspname, c.relname, c.relowner, $2, $3, 'refreshed', true, $4, $5, $6, $7"
      " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
      {pg::of_oid(view), pg::of_time(started), pg::of_interval(&duration), pg::of_bool(done.concurrently),
       pg::of_bigint(done.rows), pg::of_bigint(done.bytes), pg::of_text(done.note), pg::of_bigint(schedule)});
}

}  // namespace pgcache
