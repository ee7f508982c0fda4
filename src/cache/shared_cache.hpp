// The one cache of the server, in PostgreSQL's shared memory, and this process's way to it.
//
// A crash of any process makes the postmaster start shared memory afresh: the cache is empty then, and works.
// On a standby everything works; its promotion empties the cache, because what the primary invalidated never came here.
#pragma once

#include "cache/statistics.hpp"
#include "engine/cache.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

// Valid once require_cache has returned.
extern engine::Cache cache;
extern uint16_t my_database;

void install_shared_cache();

// False where the module is not preloaded.
bool cache_is_shared();

namespace internal {
extern bool joined;
extern bool ready;
extern bool* standby;  // from the first use during recovery until someone has seen its end
bool join();
void get_ready();
void after_promotion();
}  // namespace internal

// A pause that lets a query be cancelled, for callers that the engine told to come back.
void wait_a_little();

// Makes sure that this backend can use the cache; 55000 with what to do if not. In a backend that has used it already
// it costs a comparison or two.
inline void require_cache() {
  if (unlikely(!internal::ready)) internal::get_ready();
  if (unlikely(engine::atomic(*internal::standby).load(std::memory_order_acquire))) internal::after_promotion();
}

// For what must not fail: whether there is a cache, so that invalidations have something to end. They count whatever
// version the SQL objects have.
inline bool can_invalidate() {
  if (unlikely(!internal::joined) && !internal::join()) return false;
  if (unlikely(engine::atomic(*internal::standby).load(std::memory_order_acquire))) internal::after_promotion();
  return true;
}

// The database's number for keys; a new one begins closed to what was before. None if too many others have one.
std::optional<uint16_t> register_database(Oid database);

// For the worker, which belongs to no database.
void require_cache_of_worker();

Statistics& shared_statistics();

// The postmaster's and the worker's parts of a warm restart.
struct SavedCacheState;
SavedCacheState& saved_cache_state();

struct WorkerState {
  int pid;  // 0: not running. Relaxed
};
WorkerState& worker_state();

}  // namespace pgcache
