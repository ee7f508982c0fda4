// What is counted where: the engine counts what changes under its locks (items, bytes, evictions, expirations); each
// backend counts its own hits, misses, sets and deletes in a cache line that nobody else writes, and leaves the sums
// with its database when it ends.
#pragma once

#include "engine/shared.hpp"
#include "engine/types.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "storage/lwlock.h"
}

namespace pgcache {

struct Counts {
  int64_t hits;
  int64_t misses;
  int64_t sets;
  int64_t deletes;
  int64_t refused;      // sets of values that may have been out of date
  int64_t dropped;      // held sets that were not published
  int64_t fetch_runs;   // queries that cache_fetch has run
  int64_t fetch_waits;  // callers of it that have waited for another's
};

constexpr int64_t Counts::*kAllCounts[] = {&Counts::hits,       &Counts::misses,     &Counts::sets,
                                           &Counts::deletes,    &Counts::refused,    &Counts::dropped,
                                           &Counts::fetch_runs, &Counts::fetch_waits};

struct alignas(64) BackendCounts {
  Counts counts;
  uint32_t database_plus_one;  // 0: the backend has not used the cache
  bool own_events;             // its transaction has done what only it sees; for its parallel workers
};
static_assert(engine::Shareable<BackendCounts>);

struct DatabaseCounts {
  Counts counts;  // of backends that have ended, less what a reset found
  int64_t evictions_at_reset;
  int64_t expirations_at_reset;
  TimestampTz since;
};
static_assert(engine::Shareable<DatabaseCounts>);

struct Statistics {
  LWLock* lock;  // guards `databases` and the moment in which a backend hands its counts over
  uint32_t backends;
  DatabaseCounts databases[engine::kMaxDatabases];
  BackendCounts of_backend[];

  static size_t size(uint32_t backends) { return sizeof(Statistics) + backends * sizeof(BackendCounts); }
};

// This backend's counts; valid once it has joined.
extern Counts* my_counts;

// A lone writer needs no atomic addition.
inline void count(int64_t Counts::*what, int64_t by = 1) {
  engine::store_relaxed(my_counts->*what, engine::load_relaxed(my_counts->*what) + by);
}

void statistics_format(Statistics& statistics, uint32_t backends, LWLock* lock);
void statistics_join(Statistics& statistics, uint16_t database);
void statistics_forget(Statistics& statistics, uint16_t database);
// Of this backend's transaction, and of that whose parallel worker this is.
void show_own_events(bool there_are);
bool leader_has_own_events();
Counts statistics_sum(Statistics& statistics, uint16_t database);
void statistics_reset(Statistics& statistics, uint16_t database, int64_t evictions, int64_t expirations);

}  // namespace pgcache
