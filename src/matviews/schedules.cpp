#include "matviews/schedules.hpp"

#include "matviews/inputs.hpp"
#include "matviews/matview_settings.hpp"
#include "matviews/refresh_slots.hpp"
#include "pg/sql.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
}

namespace pgcache {

namespace {

// Locks on the extension that nobody else knows: DDL locks it as a whole.
enum class Lock : uint16_t { plan = 1, changes = 2 };

void lock_extension(Lock which) {
  LockDatabaseObject(ExtensionRelationId, get_extension_oid("pgcache", false), static_cast<uint16_t>(which),
                     ExclusiveLock);
}

// ---- rows to values

int64_t bigint_at(uint64_t row, int column) { return DatumGetInt64(pg::value_at(row, column).datum); }
Oid oid_at(uint64_t row, int column) {
  const pg::Value value = pg::value_at(row, column);
  return value.is_null ? InvalidOid : DatumGetObjectId(value.datum);
}

const Interval* interval_at(uint64_t row, int column) {
  const pg::Value value = pg::value_at(row, column);
  if (value.is_null) return nullptr;
  auto* copy = static_cast<Interval*>(palloc(sizeof(Interval)));
  *copy = *DatumGetIntervalP(value.datum);
  return copy;
}

struct varlena* bytes_at(uint64_t row, int column) {
  const pg::Value value = pg::value_at(row, column);
  return value.is_null ? nullptr : PG_DETOAST_DATUM_COPY(value.datum);
}

pg::Argument of_bytes(struct varlena* bytes) {
  return bytes == nullptr ? pg::null_of(BYTEAOID) : pg::Argument{BYTEAOID, PointerGetDatum(bytes), false};
}

pg::Argument of_optional(std::optional<bool> value) { return value ? pg::of_bool(*value) : pg::null_of(BOOLOID); }

pg::Argument of_oids(const List* oids) {
  auto* values = static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<size_t>(list_length(oids) + 1)));
  for (int i = 0; i < list_length(oids); ++i) values[i] = ObjectIdGetDatum(list_nth_oid(oids, i));
  return {OIDARRAYOID,
          PointerGetDatum(construct_array(values, list_length(oids), OIDOID, sizeof(Oid), true, TYPALIGN_INT)), false};
}

pg::Argument of_bigints(const int64_t* numbers, int count) {
  auto* values = static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<size_t>(count + 1)));
  for (int i = 0; i < count; ++i) values[i] = Int64GetDatum(numbers[i]);
  return {INT8ARRAYOID,
          PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64_t), true, TYPALIGN_DOUBLE)), false};
}

pg::Argument of_running() {
  int count = 0;
  const int64_t* schedules = running_schedules(&count);
  return of_bigints(schedules, count);
}

constexpr int kTimingColumns = 4;
#define PGCACHE_TIMING "s.every, s.cron, s.timezone, s.jitter"

Timing timing_at(uint64_t row, int column) {
  return {interval_at(row, column), pg::text_at(row, column + 1), pg::text_at(row, column + 2),
          interval_at(row, column + 3)};
}

// Nothing if it has gone.
std::optional<Timing> timing_of(int64_t id) {
  if (pg::run_sql("SELECT " PGCACHE_TIMING " FROM pgcache.matview_schedules s WHERE s.id = $1", {pg::of_bigint(id)}) ==
      0)
    return std::nullopt;
  return timing_at(0, 0);
}

// ---- where a schedule stands

void set_next_run(int64_t id, const Timing& timing, TimestampTz now, int failures) {
  const TimestampTz due = next_due(timing, now);
  const TimestampTz next =
      failures == 0 ? with_jitter(timing, due) : retry_time(now, failures, with_jitter(timing, due));
  pg::run_sql("UPDATE pgcache.matview_states SET due = $2, next_run = $3, failures = $4, run = NULL WHERE id = $1",
              {pg::of_bigint(id), pg::of_time(due), pg::of_time(next), pg::of_integer(failures)});
}

// A view without content gets some at once, as does one that is to be refreshed every so often.
TimestampTz first_run(const Timing& timing, TimestampTz now) {
  return timing.every != nullptr ? now : with_jitter(timing, next_due(timing, now));
}

void add_state(int64_t id, Oid view, const Timing& timing, TimestampTz now) {
  pg::run_sql(
      "INSERT INTO pgcache.matview_states (id, view, due, next_run) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING",
      {pg::of_bigint(id), pg::of_oid(view), pg::of_time(first_run(timing, now))});
}

// Rows of a restored dump.
void adopt_schedules(TimestampTz now) {
  const uint64_t count = pg::run_sql("SELECT s.id, g.view, " PGCACHE_TIMING
                                     " FROM pgcache.matview_schedules s JOIN pgcache.matview_targets g USING (id)"
                                     " WHERE NOT EXISTS (SELECT FROM pgcache.matview_states t WHERE t.id = s.id)");
  SPITupleTable* rows = SPI_tuptable;
  for (uint64_t i = 0; i < count; ++i) {
    SPI_tuptable = rows;
    add_state(bigint_at(i, 0), oid_at(i, 1), timing_at(i, 2), now);
  }
}

void end_interrupted_runs(TimestampTz now) {
  const uint64_t count = pg::run_sql("SELECT t.id, t.run, t.failures, " PGCACHE_TIMING
                                     " FROM pgcache.matview_states t JOIN pgcache.matview_schedules s USING (id)"
                                     " WHERE t.run IS NOT NULL AND t.id <> ALL ($1) FOR UPDATE OF t SKIP LOCKED",
                                     {of_running()});
  SPITupleTable* rows = SPI_tuptable;
  for (uint64_t i = 0; i < count; ++i) {
    SPI_tuptable = rows;
    const int64_t id = bigint_at(i, 0);
    const int64_t run = bigint_at(i, 1);
    const int failures = DatumGetInt32(pg::value_at(i, 2).datum) + 1;
    set_next_run(id, timing_at(i, 3), now, failures);
    pg::run_sql(
        "UPDATE pgcache.matview_runs SET outcome = 'interrupted', duration = greatest($2 - started_at, '0'),"
        " error = 'the worker or the server ended' WHERE id = $1",
        {pg::of_bigint(run), pg::of_time(now)});
  }
}

void forget_old_runs(TimestampTz now) {
  pg::run_sql(
      "DELETE FROM pgcache.matview_runs r WHERE r.started_at < $1 AND r.outcome <> 'running' AND (r.schedule IS NULL"
      " OR NOT EXISTS (SELECT FROM pgcache.matview_schedules s WHERE s.id = r.schedule)"
      " OR EXISTS (SELECT FROM pgcache.matview_runs later WHERE later.schedule = r.schedule AND later.id > r.id))",
      {pg::of_time(now - history_retention_setting())});
}

// ---- runs

struct Target {
  Oid view;
  const char* schema;
  const char* name;
  Oid owner;
};

int64_t add_run(int64_t schedule, const Target& target, TimestampTz started, const char* outcome, const char* note) {
  pg::run_sql(
      "INSERT INTO pgcache.matview_runs (schedule, view, view_schema, view_name, owner, started_at, outcome, note)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
      {pg::of_bigint(schedule), pg::of_oid(target.view), pg::of_text(target.schema), pg::of_text(target.name),
       pg::of_oid(target.owner), pg::of_time(started), pg::of_text(outcome), pg::of_text(note)});
  return bigint_at(0, 0);
}

void end_run(int64_t run, const char* outcome, const Interval& duration, const char* error_code, const char* error) {
  pg::run_sql("UPDATE pgcache.matview_runs SET outcome = $2, duration = $3, error_code = $4, error = $5 WHERE id = $1",
              {pg::of_bigint(run), pg::of_text(outcome), pg::of_interval(&duration), pg::of_text(error_code),
               pg::of_text(error)});
}

// ---- planning

struct Candidate {
  int64_t id;
  Oid view;
};

Candidate candidate_at(uint64_t row) { return {bigint_at(row, 0), oid_at(row, 1)}; }

enum class Below : uint8_t { none_due, one_due, one_running };

// The schedules of views below; one that is due takes the candidate's place.
Below look_below(Candidate& candidate, TimestampTz now) {
  const List* views = OidIsValid(candidate.view) ? matviews_below(candidate.view) : NIL;
  if (views == NIL) return Below::none_due;
  const uint64_t count = pg::run_sql(
      "SELECT t.id, t.view, t.run IS NOT NULL OR t.id = ANY ($3) FROM pgcache.matview_states t"
      " WHERE t.view = ANY ($1) AND (t.run IS NOT NULL OR t.id = ANY ($3) OR t.next_run <= $2)"
      " ORDER BY 3 DESC, t.next_run, t.id LIMIT 1",
      {of_oids(views), pg::of_time(now), of_running()});
  if (count == 0) return Below::none_due;
  if (DatumGetBool(pg::value_at(0, 2).datum)) return Below::one_running;
  candidate = candidate_at(0);
  return Below::one_due;
}

// Schedules that somebody else is changing.
struct PassedOver {
  static constexpr int kMost = 64;
  int64_t ids[kMost];
  int count;
  [[nodiscard]] bool has(int64_t id) const { return std::find(ids, ids + count, id) != ids + count; }
};

// What is due and has nothing below it that is due or being refreshed: of what is below, the lowest first.
bool find_candidate(TimestampTz now, const PassedOver& passed_over, Candidate& found) {
  constexpr uint64_t kMost = 256;
  const uint64_t count = pg::run_sql(
      "SELECT t.id, t.view FROM pgcache.matview_states t"
      " WHERE t.run IS NULL AND t.next_run <= $1 AND t.id <> ALL ($2) ORDER BY t.next_run, t.id LIMIT 256",
      {pg::of_time(now), of_running()});
  Candidate candidates[kMost];
  for (uint64_t i = 0; i < count; ++i) candidates[i] = candidate_at(i);
  for (uint64_t i = 0; i < count; ++i) {
    Candidate candidate = candidates[i];
    Below below = Below::none_due;
    while ((below = look_below(candidate, now)) == Below::one_due) CHECK_FOR_INTERRUPTS();
    if (below == Below::one_running || passed_over.has(candidate.id)) continue;
    found = candidate;
    return true;
  }
  return false;
}

struct Standing {
  Schedule schedule;
  int failures;
  struct varlena* inputs;
  Oid known_view;
  Target target;  // view InvalidOid: missing; then under its last name
  bool is_renamed;
  const char* old_name;
};

// Nothing if somebody is changing it, or has removed it.
std::optional<Standing> read_standing(int64_t id) {
  if (pg::run_sql(
          "SELECT " PGCACHE_TIMING
          ", s.is_concurrent, s.only_if_changed, s.timeout, t.failures, t.inputs, t.view, g.view,"
          " coalesce(g.view_schema, s.view_schema), coalesce(g.view_name, s.view_name), g.owner,"
          " (g.view_schema, g.view_name) <> (s.view_schema, s.view_name), format('%I.%I', s.view_schema, s.view_name),"
          " (SELECT r.owner FROM pgcache.matview_runs r WHERE r.schedule = s.id ORDER BY r.id DESC LIMIT 1)"
          " FROM pgcache.matview_schedules s JOIN pgcache.matview_states t USING (id)"
          " JOIN pgcache.matview_targets g USING (id) WHERE s.id = $1 FOR UPDATE OF t SKIP LOCKED",
          {pg::of_bigint(id)}) == 0)
    return std::nullopt;
  Standing found{};
  int column = kTimingColumns;
  found.schedule.id = id;
  found.schedule.timing = timing_at(0, 0);
  const pg::Value concurrently = pg::value_at(0, column++);
  if (!concurrently.is_null) found.schedule.concurrently = DatumGetBool(concurrently.datum);
  found.schedule.only_if_changed = DatumGetBool(pg::value_at(0, column++).datum);
  found.schedule.timeout = interval_at(0, column++);
  found.failures = DatumGetInt32(pg::value_at(0, column++).datum);
  found.inputs = bytes_at(0, column++);
  found.known_view = oid_at(0, column++);
  found.target.view = oid_at(0, column++);
  found.target.schema = pg::text_at(0, column++);
  found.target.name = pg::text_at(0, column++);
  found.target.owner = oid_at(0, column++);
  const pg::Value is_renamed = pg::value_at(0, column++);
  found.is_renamed = !is_renamed.is_null && DatumGetBool(is_renamed.datum);
  found.old_name = pg::text_at(0, column++);
  if (!OidIsValid(found.target.owner)) found.target.owner = oid_at(0, column);
  found.schedule.view = found.target.view;
  return found;
}

Planned record_missing(const Standing& standing, TimestampTz now) {
  const int64_t run = add_run(standing.schedule.id, standing.target, now, "failed", nullptr);
  const Interval no_time{};
  end_run(run, "failed", no_time, "42P01", psprintf("materialized view %s does not exist", standing.old_name));
  set_next_run(standing.schedule.id, standing.schedule.timing, now, standing.failures + 1);
  return Planned::recorded;
}

// Under its new name, and the view that has taken its place.
const char* follow_view(Standing& standing) {
  const Target& target = standing.target;
  const char* note = nullptr;
  if (standing.is_renamed) {
    pg::run_sql("UPDATE pgcache.matview_schedules SET view_schema = $2, view_name = $3 WHERE id = $1",
                {pg::of_bigint(standing.schedule.id), pg::of_text(target.schema), pg::of_text(target.name)});
    note = psprintf("renamed, from %s", standing.old_name);
  }
  if (standing.known_view != target.view) {
    pg::run_sql("UPDATE pgcache.matview_states SET view = $2 WHERE id = $1",
                {pg::of_bigint(standing.schedule.id), pg::of_oid(target.view)});
    standing.inputs = nullptr;
    if (note == nullptr) note = "created anew";
  }
  return note;
}

bool is_populated(Oid view) {
  return pg::run_sql("SELECT FROM pg_catalog.pg_class WHERE oid = $1 AND relispopulated", {pg::of_oid(view)}) > 0;
}

bool same_bytes(const struct varlena* one, const struct varlena* other) {
  return VARSIZE_ANY_EXHDR(one) == VARSIZE_ANY_EXHDR(other) &&
         memcmp(VARDATA_ANY(one), VARDATA_ANY(other), VARSIZE_ANY_EXHDR(one)) == 0;
}

bool is_unchanged(const Standing& standing, const Inputs& inputs) {
  return standing.inputs != nullptr && inputs.unknowable == nullptr && same_bytes(standing.inputs, inputs.digest) &&
         is_populated(standing.target.view);
}

Planned record_unchanged(const Standing& standing, TimestampTz now, const char* note) {
  const int64_t run = add_run(standing.schedule.id, standing.target, now, "unchanged", note);
  const Interval no_time{};
  end_run(run, "unchanged", no_time, nullptr, nullptr);
  pg::run_sql("UPDATE pgcache.matview_states SET verified_at = $2 WHERE id = $1",
              {pg::of_bigint(standing.schedule.id), pg::of_time(now)});
  set_next_run(standing.schedule.id, standing.schedule.timing, now, 0);
  return Planned::recorded;
}

Planned plan(Standing& standing, TimestampTz now, Run& run) {
  if (!OidIsValid(standing.target.view)) return record_missing(standing, now);
  const char* note = follow_view(standing);
  Inputs inputs{};
  if (standing.schedule.only_if_changed) {
    inputs = read_inputs(standing.target.view);
    if (is_unchanged(standing, inputs)) return record_unchanged(standing, now, note);
    if (note == nullptr && inputs.unknowable != nullptr)
      note = psprintf("refreshed in any case: %s", inputs.unknowable);
  }
  run.schedule = standing.schedule;
  run.started = now;
  run.inputs = inputs.unknowable == nullptr ? inputs.digest : nullptr;
  run.note = note;
  run.id = add_run(standing.schedule.id, standing.target, now, "running", note);
  pg::run_sql("UPDATE pgcache.matview_states SET run = $2 WHERE id = $1",
              {pg::of_bigint(standing.schedule.id), pg::of_bigint(run.id)});
  enter_run(standing.schedule.id);
  return Planned::run;
}

char* joined(const char* one, const char* other) {
  if (one == nullptr || other == nullptr) return const_cast<char*>(one == nullptr ? other : one);
  return psprintf("%s; %s", one, other);
}

}  // namespace

// ---- for users

void lock_schedule_changes() { lock_extension(Lock::changes); }

int64_t find_schedule(Oid view) {
  if (pg::run_sql("SELECT g.id FROM pgcache.matview_targets g WHERE g.view = $1 ORDER BY g.id LIMIT 1",
                  {pg::of_oid(view)}) == 0)
    return 0;
  return bigint_at(0, 0);
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
  const int64_t put = bigint_at(0, 0);
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
  pg::run_sql(
      "INSERT INTO pgcache.matview_runs (schedule, view, view_schema, view_name, owner, started_at, duration, outcome,"
      " by_hand, is_concurrent, rows, bytes, note)"
      " SELECT (SELECT g.id FROM pgcache.matview_targets g WHERE g.view = c.oid ORDER BY g.id LIMIT 1), c.oid,"
      " n.nspname, c.relname, c.relowner, $2, $3, 'refreshed', true, $4, $5, $6, $7"
      " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
      {pg::of_oid(view), pg::of_time(started), pg::of_interval(&duration), pg::of_bool(done.concurrently),
       pg::of_bigint(done.rows), pg::of_bigint(done.bytes), pg::of_text(done.note)});
}

// ---- for the worker

void lock_plan() { lock_extension(Lock::plan); }

void put_in_order(TimestampTz now) {
  adopt_schedules(now);
  end_interrupted_runs(now);
  forget_old_runs(now);
  if (pg::run_sql("SELECT FROM pgcache.matview_schedules WHERE only_if_changed LIMIT 1") > 0) count_writes();
}

Planned plan_run(TimestampTz now, Run& run) {
  PassedOver passed_over{};
  Candidate candidate{};
  while (passed_over.count < PassedOver::kMost && find_candidate(now, passed_over, candidate)) {
    std::optional<Standing> standing = read_standing(candidate.id);
    if (standing) return plan(*standing, now, run);
    passed_over.ids[passed_over.count++] = candidate.id;
  }
  return Planned::nothing;
}

bool could_run(TimestampTz now) {
  Candidate candidate{};
  return find_candidate(now, PassedOver{}, candidate);
}

void record_success(const Run& run, TimestampTz now, const Interval& duration, const Refreshed& done) {
  const char* note = joined(run.note, done.note);
  end_run(run.id, "refreshed", duration, nullptr, nullptr);
  pg::run_sql("UPDATE pgcache.matview_runs SET is_concurrent = $2, rows = $3, bytes = $4, note = $5 WHERE id = $1",
              {pg::of_bigint(run.id), pg::of_bool(done.concurrently), pg::of_bigint(done.rows),
               pg::of_bigint(done.bytes), pg::of_text(note)});
  const std::optional<Timing> timing = timing_of(run.schedule.id);
  if (!timing) return;
  pg::run_sql(
      "UPDATE pgcache.matview_states SET inputs = $2, refreshed_at = $3, verified_at = $3, rows = $4, bytes = $5,"
      " note = $6 WHERE id = $1",
      {pg::of_bigint(run.schedule.id), of_bytes(run.inputs), pg::of_time(run.started), pg::of_bigint(done.rows),
       pg::of_bigint(done.bytes), pg::of_text(note)});
  set_next_run(run.schedule.id, *timing, now, 0);
}

void record_failure(const Run& run, TimestampTz now, const Interval& duration, const char* error_code,
                    const char* error) {
  end_run(run.id, "failed", duration, error_code, error);
  const std::optional<Timing> timing = timing_of(run.schedule.id);
  if (!timing) return;
  pg::run_sql("SELECT t.failures FROM pgcache.matview_states t WHERE t.id = $1", {pg::of_bigint(run.schedule.id)});
  const int failures = SPI_processed == 0 ? 0 : DatumGetInt32(pg::value_at(0, 0).datum);
  set_next_run(run.schedule.id, *timing, now, failures + 1);
}

TimestampTz next_planned_run() {
  pg::run_sql("SELECT min(t.next_run) FROM pgcache.matview_states t WHERE t.run IS NULL AND t.id <> ALL ($1)",
              {of_running()});
  const pg::Value next = pg::value_at(0, 0);
  return next.is_null ? DT_NOEND : DatumGetTimestampTz(next.datum);
}

}  // namespace pgcache
