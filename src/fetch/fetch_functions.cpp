// cache_fetch: a hit, or one run of the query for all who miss the key at once.
//
// How a value stays exact: the number of the cache's sequence is read, then a new snapshot is taken, then the query
// runs under it, and then the value is stored if nothing that it depends on was invalidated after that number, and the
// snapshot has seen what was before. What the params were made of does not matter: the key names it.
#include "cache/entries.hpp"
#include "cache/fetched_value.hpp"
#include "cache/misses.hpp"
#include "cache/own_events.hpp"
#include "cache/reading.hpp"
#include "cache/settings.hpp"
#include "cache/storing.hpp"
#include "cache/visibility.hpp"
#include "fetch/early_refresh.hpp"
#include "fetch/fetch_query.hpp"
#include "fetch/fetch_settings.hpp"
#include "fetch/flights.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/xact.h"
#include "common/pg_prng.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
}

namespace pgcache {

namespace {

struct Request {
  engine::Key key{};
  FetchQuery query{};
  engine::Milliseconds ttl = 0;  // 0: no end
  engine::Milliseconds stale_for = 0;
  engine::TagSlots tags;
  Oid role = InvalidOid;

  [[nodiscard]] FlightName flight() const { return {key.hash, query.shared ? InvalidOid : role}; }
};

// ---- what is there

// Entries of cache_set are everybody's; a fetched one belongs to the role that ran the query.
bool may_use(const Request& request, const EntryValue& found) {
  return found.value != nullptr &&
         (!found.fetched || found.fetched.owner == request.role || (found.fetched.shared() && request.query.shared));
}

// Until its value is old; nothing if it never is.
std::optional<engine::Milliseconds> left(const EntryValue& found) {
  if (!found.fetched || found.entry.expires_at == 0) return std::nullopt;
  return found.entry.expires_at - found.fetched.stale_for() - pg::now_for_reading();
}

bool wants_refresh(const EntryValue& found) {
  const std::optional<engine::Milliseconds> time = left(found);
  return time && (*time <= 0 || refreshes_early(*time, found.fetched.cost, pg_prng_double(&pg_global_prng_state)));
}

// ---- running

bool has_written() {
  return have_own_events() || TransactionIdIsValid(GetTopTransactionIdIfAny()) || pg::statement_writes();
}

// Whether what it computes is what others would: each statement of it sees what is committed, and nothing of its own.
bool may_share() { return !IsolationUsesXactSnapshot() && !has_written(); }

struct Run {
  Jsonb* value;
  engine::Milliseconds cost;
};

Run run_timed(const Request& request) {
  instr_time start;
  instr_time end;
  INSTR_TIME_SET_CURRENT(start);
  count(&Counts::fetch_runs);
  Jsonb* value = run_query(request.query);
  INSTR_TIME_SET_CURRENT(end);
  INSTR_TIME_SUBTRACT(end, start);
  return {value, static_cast<engine::Milliseconds>(INSTR_TIME_GET_MILLISEC(end))};
}

engine::Bytes with_header(const Request& request, const Run& run) {
  const engine::Bytes json = pg::bytes_of(reinterpret_cast<const struct varlena*>(run.value));
  const FetchedHeader header = FetchedHeader::of(request.role, request.query.shared, run.cost, request.stale_for);
  auto* bytes = static_cast<std::byte*>(palloc(sizeof header + json.size()));
  memcpy(bytes, &header, sizeof header);
  memcpy(bytes + sizeof header, json.data(), json.size());
  return {bytes, sizeof header + json.size()};
}

Landing store(const Request& request, const Run& run, std::optional<engine::Version> number) {
  // What the query has done itself and nobody else sees, it may have read.
  if (has_written() || VARSIZE(run.value) - VARHDRSZ + sizeof(FetchedHeader) > max_value_size_setting())
    return Landing::not_cached;
  const TimestampTz now = pg::clock_now();
  engine::KnownStamps known;
  engine::WriteRequest write;
  write.kind = engine::Kind::json;
  write.value = with_header(request, run);
  write.expiry = request.ttl == 0 ? engine::Expiry::never()
                                  : engine::Expiry::when(pg::for_expiry(now) + request.ttl + request.stale_for);
  write.tags = request.tags.span();
  write.known = &known;
  if (!may_store(request.key, request.tags, number, known, ValueOf::active_snapshot) ||
      write_at_once(request.key, write, now) != engine::Status::ok) {
    count(&Counts::refused);
    return Landing::not_stored;
  }
  take_miss(request.key);
  return Landing::stored;
}

// A query of its own, and its result for nobody else unless `stores`.
Datum run_alone(const Request& request, bool stores) {
  const engine::Version number = cache.sequence();
  PushActiveSnapshot(GetTransactionSnapshot());
  const Run run = run_timed(request);
  // A transaction's snapshot is older than the number; it is judged by what it has seen.
  if (stores) store(request, run, IsolationUsesXactSnapshot() ? std::nullopt : std::optional(number));
  PopActiveSnapshot();
  return JsonbPGetDatum(run.value);
}

// In the air, and lands as the last thing that can go wrong: with the number and the snapshot taken anew, nobody else
// running the query. `old` is the version of the entry that is to be refreshed, or 0.
Datum run_for_all(const Request& request, Ticket& ticket, engine::Version old) {
  const engine::Version number = cache.sequence();
  PushActiveSnapshot(GetTransactionSnapshot());
  const EntryValue found = look_up(request.key, kJsonKinds);
  if (may_use(request, found) && found.entry.version != old) {
    const Datum value = datum_of(found);
    PopActiveSnapshot();
    land(ticket, Landing::stored);
    return value;
  }
  const Run run = run_timed(request);
  const Landing landing = store(request, run, number);
  PopActiveSnapshot();
  land(ticket, landing);
  return JsonbPGetDatum(run.value);
}

// Lands by itself if the process ends.
Datum fly(const Request& request, Ticket& ticket, engine::Version old) {
  volatile Datum result = 0;
  PG_TRY();
  { result = run_for_all(request, ticket, old); }
  PG_CATCH();
  {
    land(ticket, Landing::not_stored);
    PG_RE_THROW();
  }
  PG_END_TRY();
  return result;
}

// ---- waiting

// Counts down over all the waits of a call.
class Patience {
 public:
  Patience() { INSTR_TIME_SET_CURRENT(start_); }
  [[nodiscard]] long left() const {
    instr_time now;
    INSTR_TIME_SET_CURRENT(now);
    INSTR_TIME_SUBTRACT(now, start_);
    return fetch_wait_setting() - static_cast<long>(INSTR_TIME_GET_MILLISEC(now));
  }

 private:
  instr_time start_;
};

EntryValue look_again(const engine::Key& key) {
  PushActiveSnapshot(GetTransactionSnapshot());
  const EntryValue found = look_up(key, kJsonKinds);
  PopActiveSnapshot();
  return found;
}

Datum miss(const Request& request) {
  const Patience patience;
  bool has_waited = false;
  for (;;) {
    Ticket ticket;
    const Boarding boarding = board(request.flight(), ticket);
    if (boarding == Boarding::takes_off) return fly(request, ticket, 0);
    if (boarding == Boarding::alone || patience.left() <= 0) return run_alone(request, true);
    if (!has_waited) count(&Counts::fetch_waits);
    has_waited = true;
    const std::optional<Landing> landing = await_landing(ticket, patience.left());
    const EntryValue found = look_again(request.key);
    if (may_use(request, found)) return datum_of(found);
    if (found.value != nullptr || landing == Landing::not_cached) return run_alone(request, false);
  }
}

Datum refresh(const Request& request, const EntryValue& found) {
  Ticket ticket;
  if (!may_share() || board(request.flight(), ticket) != Boarding::takes_off) return datum_of(found);
  return fly(request, ticket, found.entry.version);
}

Datum fetch(const Request& request) {
  const EntryValue found = read_entry(request.key, kJsonKinds);
  if (may_use(request, found)) return wants_refresh(found) ? refresh(request, found) : datum_of(found);
  if (found.value != nullptr) return run_alone(request, false);
  return may_share() ? miss(request) : run_alone(request, !has_written());
}

// ---- arguments

Jsonb* params_argument(FunctionCallInfo fcinfo, int number) {
  if (PG_ARGISNULL(number)) return nullptr;
  Jsonb* params = PG_GETARG_JSONB_P(number);
  if (!JB_ROOT_IS_ARRAY(params) || JB_ROOT_IS_SCALAR(params))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("params must be a JSON array"),
                    errhint("For example: params => jsonb_build_array(7, 'x')")));
  return params;
}

// (key, query, ttl, params, tags, stale_for, shared)
Request request_of(FunctionCallInfo fcinfo) {
  Request request;
  request.key = required_key(fcinfo, 0);
  request.query.text = text_to_cstring(reinterpret_cast<text*>(pg::required_varlena(fcinfo, 1, "query")));
  request.ttl = PG_ARGISNULL(2) ? default_ttl_setting() : pg::ttl_milliseconds(PG_GETARG_INTERVAL_P(2));
  request.query.params = params_argument(fcinfo, 3);
  request.tags = tags_argument(fcinfo, 4);
  // As a ttl it would mean no end, which is no time at all here.
  if (!PG_ARGISNULL(5) && pg::infinity_of(PG_GETARG_INTERVAL_P(5)) > 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("stale_for must not be infinite"),
                    errhint("For a value that is never too old, use a ttl of interval '0'.")));
  if (!PG_ARGISNULL(5)) request.stale_for = pg::ttl_milliseconds(PG_GETARG_INTERVAL_P(5), "stale_for");
  request.query.shared = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6);
  request.role = GetUserId();
  if (request.ttl + request.stale_for > engine::kMaxTtl)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("ttl and stale_for together must not be over 10000 days")));
  return request;
}

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_fetch) {
  using namespace pgcache;
  require_cache();
  require_writer();
  return fetch(request_of(fcinfo));
}
