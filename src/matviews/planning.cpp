#include "matviews/planning.hpp"

#include "matviews/inputs.hpp"
#include "matviews/matview_settings.hpp"
#include "matviews/refresh_slots.hpp"
#include "matviews/write_counts.hpp"
#include "pg/sql.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/array.h"
}

namespace pgcache {

namespace {

// ---- rows to values

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
  const int64_t* schedules = running_schedules(get_extension_oid("pgcache", false), &count);
  return of_bigints(schedules, count);
}

// What this worker cannot even write a failure down of, because a user's transaction holds it.
constexpr int kMostSkipped = 256;
int64_t skipped[kMostSkipped];
int skipped_count = 0;

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

void set_next_run(int64_t id, TimestampTz due, TimestampTz next, int failures) {
  pg::run_sql("UPDATE pgcache.matview_states SET due = $2, next_run = $3, failures = $4, run = NULL WHERE id = $1",
              {pg::of_bigint(id), pg::of_time(due), pg::of_time(next), pg::of_integer(failures)});
}

void set_regular_run(int64_t id, const Timing& timing, TimestampTz now) {
  const TimestampTz due = next_due(timing, now).value_or(now + USECS_PER_HOUR);
  set_next_run(id, due, with_jitter(timing, due), 0);
}

void set_run_after_failure(int64_t id, const Timing& timing, TimestampTz now, int failures) {
  const TimestampTz due = next_due(timing, now).value_or(DT_NOEND);
  set_next_run(id, due, retry_time(now, failures, with_jitter(timing, due)), failures);
}

// Rows of a restored dump.
void adopt_schedules(TimestampTz now) {
  const uint64_t count = pg::run_sql("SELECT s.id, g.view, " PGCACHE_TIMING
                                     " FROM pgcache.matview_schedules s JOIN pgcache.matview_targets g USING (id)"
                                     " WHERE NOT EXISTS (SELECT FROM pgcache.matview_states t WHERE t.id = s.id)");
  SPITupleTable* rows = SPI_tuptable;
  for (uint64_t i = 0; i < count; ++i) {
    SPI_tuptable = rows;
    pg::run_sql(
        "INSERT INTO pgcache.matview_states (id, view, due, next_run) VALUES ($1, $2, $3, $3) ON CONFLICT DO NOTHING",
        {pg::of_bigint(pg::bigint_at(i, 0)), pg::of_oid(oid_at(i, 1)), pg::of_time(first_run(timing_at(i, 2), now))});
  }
}

// Views that were created anew, under their names.
void find_views_again() {
  pg::run_sql(
      "UPDATE pgcache.matview_states t SET view = g.view, inputs = NULL FROM pgcache.matview_targets g"
      " WHERE g.id = t.id AND t.id IN (SELECT l.id FROM pgcache.matview_states l JOIN pgcache.matview_targets m"
      " USING (id) WHERE m.view <> l.view FOR UPDATE OF l SKIP LOCKED)");
}

void end_interrupted_runs(TimestampTz now) {
  const uint64_t count = pg::run_sql("SELECT t.id, t.run, t.failures, " PGCACHE_TIMING
                                     " FROM pgcache.matview_states t JOIN pgcache.matview_schedules s USING (id)"
                                     " WHERE t.run IS NOT NULL AND t.id <> ALL ($1) FOR UPDATE OF t SKIP LOCKED",
                                     {of_running()});
  SPITupleTable* rows = SPI_tuptable;
  for (uint64_t i = 0; i < count; ++i) {
    SPI_tuptable = rows;
    const int64_t id = pg::bigint_at(i, 0);
    const int64_t run = pg::bigint_at(i, 1);
    const int failures = DatumGetInt32(pg::value_at(i, 2).datum) + 1;
    set_run_after_failure(id, timing_at(i, 3), now, failures);
    pg::run_sql(
        "UPDATE pgcache.matview_runs SET outcome = 'interrupted', duration = greatest($2 - started_at, '0'),"
        " error = 'the worker or the server ended' WHERE id = $1",
        {pg::of_bigint(run), pg::of_time(now)});
  }
}

// Their schedules have gone meanwhile.
void end_orphaned_runs() {
  pg::run_sql(
      "UPDATE pgcache.matview_runs r SET outcome = 'interrupted', error = 'the schedule was ended meanwhile'"
      " WHERE r.outcome = 'running' AND r.schedule <> ALL ($1)"
      " AND NOT EXISTS (SELECT FROM pgcache.matview_states t WHERE t.run = r.id)",
      {of_running()});
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
  return pg::bigint_at(0, 0);
}

void end_run(int64_t run, const char* outcome, const Interval& duration, const char* error_code, const char* error) {
  pg::run_sql("UPDATE pgcache.matview_runs SET outcome = $2, duration = $3, error_code = $4, error = $5 WHERE id = $1",
              {pg::of_bigint(run), pg::of_text(outcome), pg::of_interval(&duration), pg::of_text(error_code),
               pg::of_text(error)});
}

// ---- which one

struct Candidate {
  int64_t id;
  Oid view;
};

int64_t candidate_looked_at = 0;

// Of views that read each other in a circle, which PostgreSQL allows, each is below all.
struct Path {
  int64_t* ids;
  int count;
};

void add_step(Path& path, int64_t id) {
  path.ids = static_cast<int64_t*>(path.ids == nullptr ? palloc(sizeof(int64_t))
                                                       : repalloc(path.ids, sizeof(int64_t) * (path.count + 1)));
  path.ids[path.count++] = id;
}

enum class Below : uint8_t { none_due, one_due, one_running };

// The schedules of views below; one that is due takes the candidate's place.
Below look_below(Candidate& candidate, const Path& path, TimestampTz now) {
  const List* views = OidIsValid(candidate.view) ? matviews_below(candidate.view) : NIL;
  if (views == NIL) return Below::none_due;
  const uint64_t count = pg::run_sql(
      "SELECT t.id, t.view, t.run IS NOT NULL OR t.id = ANY ($3) FROM pgcache.matview_states t"
      " WHERE t.view = ANY ($1) AND (t.run IS NOT NULL OR t.id = ANY ($3) OR t.next_run <= $2) AND t.id <> ALL ($4)"
      " ORDER BY 3 DESC, t.next_run, t.id LIMIT 1",
      {of_oids(views), pg::of_time(now), of_running(), of_bigints(path.ids, path.count)});
  if (count == 0) return Below::none_due;
  if (DatumGetBool(pg::value_at(0, 2).datum)) return Below::one_running;
  candidate = {pg::bigint_at(0, 0), oid_at(0, 1)};
  return Below::one_due;
}

// Of what is below the candidate and due, the lowest takes its place. False: something there is being refreshed.
bool find_lowest(Candidate& candidate, TimestampTz now) {
  Path path{};
  Below below = Below::one_due;
  while (below == Below::one_due) {
    CHECK_FOR_INTERRUPTS();
    candidate_looked_at = candidate.id;
    add_step(path, candidate.id);
    below = look_below(candidate, path, now);
  }
  return below == Below::none_due;
}

// Calls visit(candidate) for what is due, until it returns true.
template <typename Visit>
bool find_due(TimestampTz now, Visit visit) {
  constexpr uint64_t kPage = 64;
  Candidate candidates[kPage];
  TimestampTz last_time = DT_NOBEGIN;
  int64_t last_id = 0;
  for (uint64_t count = kPage; count == kPage;) {
    count = pg::run_sql(
        "SELECT t.id, t.view, t.next_run FROM pgcache.matview_states t"
        " WHERE t.run IS NULL AND t.next_run <= $1 AND t.id <> ALL ($2) AND t.id <> ALL ($5)"
        " AND (t.next_run, t.id) > ($3, $4) ORDER BY t.next_run, t.id LIMIT 64",
        {pg::of_time(now), of_running(), pg::of_time(last_time), pg::of_bigint(last_id),
         of_bigints(skipped, skipped_count)});
    for (uint64_t i = 0; i < count; ++i) {
      candidates[i] = {pg::bigint_at(i, 0), oid_at(i, 1)};
      last_time = DatumGetTimestampTz(pg::value_at(i, 2).datum);
      last_id = candidates[i].id;
    }
    for (uint64_t i = 0; i < count; ++i)
      if (find_lowest(candidates[i], now) && visit(candidates[i])) return true;
  }
  return false;
}

// ---- what becomes of it

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

void add_ended_run(const Standing& standing, TimestampTz now, const char* outcome, const char* note,
                   const char* error_code, const char* error) {
  const Interval no_time{};
  end_run(add_run(standing.schedule.id, standing.target, now, outcome, note), outcome, no_time, error_code, error);
}

Planned record_missing(const Standing& standing, TimestampTz now) {
  add_ended_run(standing, now, "failed", nullptr, "42P01",
                psprintf("materialized view %s does not exist", standing.old_name));
  // It is looked for when it is due.
  const TimestampTz due = next_due(standing.schedule.timing, now).value_or(now + USECS_PER_HOUR);
  set_next_run(standing.schedule.id, due, with_jitter(standing.schedule.timing, due), standing.failures + 1);
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

bool is_unchanged(const Standing& standing, const Inputs& inputs) {
  const std::optional<Inputs> before = standing.inputs == nullptr ? std::nullopt : inputs_of_stored(standing.inputs);
  return before && same_inputs(*before, inputs) && is_populated(standing.target.view);
}

Planned record_unchanged(const Standing& standing, TimestampTz now, const char* note) {
  add_ended_run(standing, now, "unchanged", note, nullptr, nullptr);
  pg::run_sql("UPDATE pgcache.matview_states SET verified_at = $2 WHERE id = $1",
              {pg::of_bigint(standing.schedule.id), pg::of_time(now)});
  set_regular_run(standing.schedule.id, standing.schedule.timing, now);
  return Planned::recorded;
}

void begin_run(const Standing& standing, TimestampTz now, Run& run) {
  run.extension = get_extension_oid("pgcache", false);
  run.schedule = standing.schedule;
  run.owner = standing.target.owner;
  run.started = now;
  run.id = add_run(standing.schedule.id, standing.target, now, "running", run.note);
  pg::run_sql("UPDATE pgcache.matview_states SET run = $2 WHERE id = $1",
              {pg::of_bigint(standing.schedule.id), pg::of_bigint(run.id)});
  enter_run(standing.schedule.id, run.extension);
}

Planned plan(Standing& standing, TimestampTz now, Oid session_owner, Run& run) {
  if (!OidIsValid(standing.target.view)) return record_missing(standing, now);
  run.note = follow_view(standing);
  if (standing.schedule.only_if_changed) {
    const Inputs inputs = read_inputs(standing.target.view);
    if (is_unchanged(standing, inputs)) return record_unchanged(standing, now, run.note);
    if (run.note == nullptr && inputs.unknowable != nullptr)
      run.note = psprintf("refreshed in any case: %s", inputs.unknowable);
    if (inputs.unknowable == nullptr) run.inputs = stored_inputs(inputs);
  }
  if (OidIsValid(session_owner) && session_owner != standing.target.owner) return Planned::elsewhere;
  begin_run(standing, now, run);
  return Planned::run;
}

int failures_of(int64_t id) {
  return pg::run_sql("SELECT failures FROM pgcache.matview_states WHERE id = $1", {pg::of_bigint(id)}) == 0
             ? 0
             : DatumGetInt32(pg::value_at(0, 0).datum);
}

char* joined(const char* one, const char* other) {
  if (one == nullptr || other == nullptr) return const_cast<char*>(one == nullptr ? other : one);
  return psprintf("%s; %s", one, other);
}

}  // namespace

void lock_plan() { LockDatabaseObject(ExtensionRelationId, get_extension_oid("pgcache", false), 1, ExclusiveLock); }

void put_in_order(TimestampTz now) {
  adopt_schedules(now);
  find_views_again();
  end_interrupted_runs(now);
  end_orphaned_runs();
  forget_old_runs(now);
  if (pg::run_sql("SELECT FROM pgcache.matview_schedules WHERE only_if_changed LIMIT 1") > 0) count_writes();
}

void begin_planning() { candidate_looked_at = 0; }

Planned plan_run(TimestampTz now, Oid session_owner, Run& run) {
  Planned planned = Planned::nothing;
  find_due(now, [&](const Candidate& candidate) {
    std::optional<Standing> standing = read_standing(candidate.id);
    if (!standing) return false;
    planned = plan(*standing, now, session_owner, run);
    return true;
  });
  return planned;
}

bool could_run(TimestampTz now) {
  return find_due(now, [](const Candidate&) { return true; });
}

int64_t looked_at() { return candidate_looked_at; }

bool is_known(const Run& run) { return get_extension_oid("pgcache", true) == run.extension; }

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
  set_regular_run(run.schedule.id, *timing, now);
}

void record_failure(const Run& run, TimestampTz now, const Interval& duration, const char* error_code,
                    const char* error) {
  end_run(run.id, "failed", duration, error_code, error);
  const std::optional<Timing> timing = timing_of(run.schedule.id);
  if (!timing) return;
  const int failures = failures_of(run.schedule.id);
  set_run_after_failure(run.schedule.id, *timing, now, failures + 1);
}

bool record_unplannable(int64_t schedule, TimestampTz now, const char* error_code, const char* error) {
  lock_plan();
  if (pg::run_sql("SELECT FROM pgcache.matview_states t WHERE t.id = $1 AND t.run IS NULL AND t.id <> ALL ($2)"
                  " FOR UPDATE SKIP LOCKED",
                  {pg::of_bigint(schedule), of_running()}) == 0)
    return false;
  const Interval no_time{};
  pg::run_sql(
      "INSERT INTO pgcache.matview_runs (schedule, view, view_schema, view_name, owner, started_at, duration, outcome,"
      " error_code, error) SELECT s.id, coalesce(g.view, 0), s.view_schema, s.view_name, coalesce(g.owner, 0), $2, $3,"
      " 'failed', $4, $5 FROM pgcache.matview_schedules s JOIN pgcache.matview_targets g USING (id) WHERE s.id = $1",
      {pg::of_bigint(schedule), pg::of_time(now), pg::of_interval(&no_time), pg::of_text(error_code),
       pg::of_text(error)});
  const int failures = failures_of(schedule) + 1;
  set_next_run(schedule, DT_NOEND, retry_time(now, failures, DT_NOEND), failures);
  return true;
}

bool skip(int64_t schedule) {
  if (skipped_count == kMostSkipped) return false;
  skipped[skipped_count++] = schedule;
  return true;
}

// What was interrupted is due too: nobody else will find it.
TimestampTz next_planned_run() {
  pg::run_sql("SELECT min(t.next_run) FROM pgcache.matview_states t WHERE t.id <> ALL ($1)", {of_running()});
  const pg::Value next = pg::value_at(0, 0);
  return next.is_null ? DT_NOEND : DatumGetTimestampTz(next.datum);
}

}  // namespace pgcache
