#include "cache/statistics.hpp"

#include "cache/shared_cache.hpp"
#include "cache/visibility.hpp"
#include "pg/compat.hpp"
#include "pg/function.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
}

namespace pgcache {

namespace {

// Counts of a backend that has not joined, so that `my_counts` is never null.
Counts nobodys_counts;

void add(Counts& to, const Counts& from) {
  for (auto what : kAllCounts)
    engine::store_relaxed(to.*what, engine::load_relaxed(to.*what) + engine::load_relaxed(from.*what));
}

void hand_over(int, Datum argument) {
  auto& statistics = *reinterpret_cast<Statistics*>(DatumGetPointer(argument));
  BackendCounts& mine = statistics.of_backend[pg::backend_number()];
  LWLockAcquire(statistics.lock, LW_EXCLUSIVE);
  add(statistics.databases[mine.database_plus_one - 1].counts, mine.counts);
  mine = BackendCounts{};
  LWLockRelease(statistics.lock);
  my_counts = &nobodys_counts;
}

// The caller holds the lock.
Counts sum(const Statistics& statistics, uint16_t database) {
  Counts total = statistics.databases[database].counts;
  for (uint32_t backend = 0; backend < statistics.backends; ++backend) {
    const BackendCounts& its = statistics.of_backend[backend];
    if (engine::load_relaxed(its.database_plus_one) == database + 1U) add(total, its.counts);
  }
  return total;
}

}  // namespace

Counts* my_counts = &nobodys_counts;

void statistics_format(Statistics& statistics, uint32_t backends, LWLock* lock) {
  memset(&statistics, 0, Statistics::size(backends));
  statistics.lock = lock;
  statistics.backends = backends;
}

void statistics_join(Statistics& statistics, uint16_t database) {
  if (my_counts != &nobodys_counts) return;
  BackendCounts& mine = statistics.of_backend[pg::backend_number()];
  LWLockAcquire(statistics.lock, LW_EXCLUSIVE);
  mine = BackendCounts{};
  mine.database_plus_one = database + 1U;
  if (statistics.databases[database].since == 0) statistics.databases[database].since = GetCurrentTimestamp();
  LWLockRelease(statistics.lock);
  my_counts = &mine.counts;
  before_shmem_exit(hand_over, PointerGetDatum(&statistics));
}

void statistics_forget(Statistics& statistics, uint16_t database) {
  LWLockAcquire(statistics.lock, LW_EXCLUSIVE);
  statistics.databases[database] = DatabaseCounts{};
  LWLockRelease(statistics.lock);
}

void show_own_events(bool there_are) {
  engine::store_relaxed(shared_statistics().of_backend[pg::backend_number()].own_events, there_are);
}

bool leader_has_own_events() {
  const PGPROC* leader = MyProc->lockGroupLeader;
  return leader != nullptr && leader != MyProc &&
         engine::load_relaxed(shared_statistics().of_backend[pg::number_of(leader)].own_events);
}

Counts statistics_sum(Statistics& statistics, uint16_t database) {
  LWLockAcquire(statistics.lock, LW_SHARED);
  const Counts total = sum(statistics, database);
  LWLockRelease(statistics.lock);
  return total;
}

void statistics_reset(Statistics& statistics, uint16_t database, int64_t evictions, int64_t expirations) {
  LWLockAcquire(statistics.lock, LW_EXCLUSIVE);
  const Counts total = sum(statistics, database);
  DatabaseCounts& its = statistics.databases[database];
  for (auto what : kAllCounts) its.counts.*what -= total.*what;
  its.evictions_at_reset = evictions;
  its.expirations_at_reset = expirations;
  its.since = GetCurrentTimestamp();
  LWLockRelease(statistics.lock);
}

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_statistics) {
  using namespace pgcache;
  require_cache();
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  Statistics& statistics = shared_statistics();
  for (uint16_t number = 0; number < engine::kMaxDatabases; ++number) {
    const engine::Database& database = cache.database(number);
    const uint32_t oid = engine::load_relaxed(database.oid);
    char* name = oid == 0 ? nullptr : get_database_name(oid);
    if (name == nullptr) continue;
    const Counts counts = statistics_sum(statistics, number);
    const DatabaseCounts& its = statistics.databases[number];
    const int64_t reads = counts.hits + counts.misses;
    bool nulls[17] = {};
    nulls[6] = reads == 0;
    Datum values[17] = {
        CStringGetTextDatum(name),
        Int64GetDatum(engine::load_relaxed(database.items)),
        Int64GetDatum(engine::load_relaxed(database.bytes)),
        Int64GetDatum(static_cast<int64_t>(cache.geometry().record_bytes())),
        Int64GetDatum(counts.hits),
        Int64GetDatum(counts.misses),
        Float8GetDatum(reads == 0 ? 0.0 : static_cast<double>(counts.hits) / static_cast<double>(reads)),
        Int64GetDatum(counts.sets),
        Int64GetDatum(counts.deletes),
        Int64GetDatum(static_cast<int64_t>(engine::load_relaxed(database.evictions)) - its.evictions_at_reset),
        Int64GetDatum(static_cast<int64_t>(engine::load_relaxed(database.expirations)) - its.expirations_at_reset),
        Int64GetDatum(counts.refused),
        Int64GetDatum(counts.dropped),
        Int64GetDatum(counts.fetch_runs),
        Int64GetDatum(counts.fetch_waits),
        // The worker has loaded its entries, and no session has used them yet.
        TimestampTzGetDatum(its.since != 0 ? its.since : PgStartTime),
        BoolGetDatum(cache_is_exact()),
    };
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  return Datum{0};
}

PGCACHE_FUNCTION(pgcache_statistics_reset) {
  using namespace pgcache;
  require_cache();
  const engine::Database& database = cache.database(my_database);
  statistics_reset(shared_statistics(), my_database, static_cast<int64_t>(engine::load_relaxed(database.evictions)),
                   static_cast<int64_t>(engine::load_relaxed(database.expirations)));
  PG_RETURN_VOID();
}
