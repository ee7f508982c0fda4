#include "cache/shared_cache.hpp"

#include "cache/saved_cache.hpp"
#include "cache/settings.hpp"
#include "pg/clock.hpp"
#include "pg/lwlocks.hpp"
#include "pg/preload.hpp"
#include "pg/shared_memory.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/xlog.h"
#include "storage/ipc.h"
#include "storage/latch.h"
}

namespace pgcache {

// All but the cache itself, which follows at the next multiple of 64 bytes.
struct SharedState {
  LWLockPadded* locks;
  bool standby;
  SavedCacheState saved;
  WorkerState worker;
  Statistics statistics;  // ends in an array
};

engine::Cache cache;
uint16_t my_database = 0;

namespace internal {
bool joined = false;
bool ready = false;
bool* standby = nullptr;
}  // namespace internal

namespace {

SharedState* shared_state = nullptr;

size_t state_bytes() {
  return TYPEALIGN(64, offsetof(SharedState, statistics) + Statistics::size(static_cast<uint32_t>(MaxBackends)));
}

engine::Buffer cache_memory() { return {reinterpret_cast<std::byte*>(shared_state) + state_bytes(), memory_setting()}; }

int lock_count() { return static_cast<int>(engine::Cache::lock_count(memory_setting())); }

// What the postmaster remembers of the cache that a crash has ended.
engine::Version crashed_at = 0;

// Runs in the postmaster, after the shutdown checkpoint if there was one.
void at_exit(int code, Datum) {
  if (MyProcPid != PostmasterPid || shared_state == nullptr) return;
  if (code != 0)
    crashed_at = engine::Cache::attach(cache_memory(), pg::lockless_environment()).sequence();
  else if (shared_state->saved.written)
    seal_saved_cache(shared_state->saved, engine::Cache::attach(cache_memory(), pg::lockless_environment()));
}

// Versions handed out before a crash must not fit anything after it: each life starts above what the last has reached.
// Where nobody knows that, because the postmaster itself is new, above what it can have reached at fewer than 65,536
// writes a second on average.
engine::Version sequence_floor() {
  constexpr int64_t kFirst = int64_t{788'918'400} * 1000;  // 2025-01-01, in milliseconds from PostgreSQL's epoch
  const auto age = static_cast<engine::Version>(std::max<int64_t>(GetCurrentTimestamp() / 1000 - kFirst, 1));
  return std::max((age << 16) / 1000, crashed_at);
}

void start(void* memory, LWLockPadded* locks, bool is_new) {
  shared_state = static_cast<SharedState*>(memory);
  internal::standby = &shared_state->standby;
  if (is_new) {
    memset(static_cast<void*>(shared_state), 0, offsetof(SharedState, statistics));
    shared_state->locks = locks;
    statistics_format(shared_state->statistics, static_cast<uint32_t>(MaxBackends), &locks[lock_count()].lock);
    uint64_t secret = 0;
    if (!pg_strong_random(&secret, sizeof secret)) ereport(FATAL, (errmsg("could not generate random numbers")));
    const std::optional<SavedLife> saved = believable_saved_cache();
    cache = engine::Cache::format(cache_memory(), pg::lwlock_environment(locks), saved ? saved->secret : secret,
                                  std::max(sequence_floor(), saved ? saved->sequence : 0));
    shared_state->saved.loadable = saved.has_value();
    if (!IsUnderPostmaster) on_shmem_exit(at_exit, Datum{0});
  }
  cache = engine::Cache::attach(cache_memory(), pg::lwlock_environment(locks));
}

constexpr pg::SharedMemory kSharedMemory = {
    .name = "pgcache",
    .bytes = [] { return add_size(state_bytes(), memory_setting()); },
    .locks = [] { return lock_count() + 1; },  // the last guards the statistics
    .start = start,
};

}  // namespace

void install_shared_cache() { pg::install_shared_memory(kSharedMemory); }

bool cache_is_shared() { return shared_state != nullptr; }

namespace {

struct Prepared {
  engine::Transaction* transactions;
  uint32_t count;
};

// Of transactions that were prepared before the cache began nobody knows any more what they invalidate.
Prepared prepared_transactions(Oid database) {
  const uint32_t most = pg::most_prepared_transactions();
  Prepared prepared{};
  prepared.transactions = static_cast<engine::Transaction*>(palloc(sizeof(engine::Transaction) * std::max(most, 1U)));
  if (engine::holds(engine::Rule::prepared_at_start))
    prepared.count = std::min(pg::prepared_transactions(database, prepared.transactions, most), most);
  return prepared;
}

}  // namespace

std::optional<uint16_t> register_database(Oid database) {
  const Prepared prepared = prepared_transactions(database);
  const std::optional<uint16_t> number =
      cache.register_database(database, pg::first_not_completed(), {prepared.transactions, prepared.count});
  pfree(prepared.transactions);
  return number;
}

// False where the module is not preloaded, and where too many other databases have a number.
bool internal::join() {
  if (!cache_is_shared()) return false;
  const std::optional<uint16_t> number = register_database(MyDatabaseId);
  if (!number) return false;
  my_database = *number;
  statistics_join(shared_state->statistics, my_database);
  if (RecoveryInProgress()) engine::store_relaxed(shared_state->standby, true);
  joined = true;
  return true;
}

void internal::get_ready() {
  if (!cache_is_shared()) pg::raise_not_preloaded();
  pg::require_same_version();
  if (!joined && !join())
    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                    errmsg("the cache serves at most %u databases", engine::kMaxDatabases),
                    errhint("Drop databases that are not needed, or restart the server: the count begins anew.")));
  ready = true;
}

void require_cache_of_worker() {
  if (RecoveryInProgress()) engine::store_relaxed(shared_state->standby, true);
  if (engine::load_relaxed(shared_state->standby)) internal::after_promotion();
}

void internal::after_promotion() {
  if (RecoveryInProgress()) return;
  // Several may meet here and do the same. All entries end before the flag does, so whoever finds it down finds none.
  for (uint16_t number = 0; number < engine::kMaxDatabases; ++number) {
    const Oid database = engine::load_relaxed(cache.database(number).oid);
    if (database == InvalidOid) continue;
    const Prepared prepared = prepared_transactions(database);
    for (uint32_t i = 0; i < prepared.count; ++i)
      cache.announce(cache.database_slot(number), prepared.transactions[i] | engine::kPrepared);
    pfree(prepared.transactions);
    cache.invalidate_database(number, pg::first_not_completed());
  }
  engine::atomic(shared_state->standby).store(false, std::memory_order_release);
}

void wait_a_little() {
  CHECK_FOR_INTERRUPTS();
  pg_usleep(1000);
}

Statistics& shared_statistics() { return shared_state->statistics; }

SavedCacheState& saved_cache_state() { return shared_state->saved; }

WorkerState& worker_state() { return shared_state->worker; }

}  // namespace pgcache
