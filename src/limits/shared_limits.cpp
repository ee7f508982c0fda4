#include "limits/shared_limits.hpp"

#include "limits/limit_settings.hpp"
#include "limits/saved_limits.hpp"
#include "pg/clock.hpp"
#include "pg/lwlocks.hpp"
#include "pg/preload.hpp"
#include "pg/shared_memory.hpp"

extern "C" {
#include "storage/ipc.h"
}

namespace pgcache {

namespace {

// The table follows.
struct alignas(64) SharedLimits {
  int64_t logged_at;  // that there was no room; relaxed
};

SharedLimits* shared = nullptr;

engine::Buffer table_memory() { return {reinterpret_cast<std::byte*>(shared + 1), rate_limit_memory_setting()}; }

// In the postmaster, after all others have ended; also of a start that failed before there were any.
void at_exit(int, Datum) {
  if (MyProcPid == PostmasterPid && shared != nullptr) save_limits(table_memory());
}

void start(void* memory, LWLockPadded* locks, bool is_new) {
  shared = reinterpret_cast<SharedLimits*>(TYPEALIGN(64, memory));
  const engine::Environment environment = pg::lwlock_environment(locks);
  limit_table = limits::LimitTable::attach(table_memory(), environment);
  if (!is_new) return;
  *shared = {.logged_at = INT64_MIN};
  const bool is_postmaster = MyProcPid == PostmasterPid;
  if (!is_postmaster || !load_limits(table_memory())) {
    limits::Secrets secrets;
    if (!pg_strong_random(&secrets, sizeof secrets)) ereport(FATAL, (errmsg("could not generate random numbers")));
    limit_table = limits::LimitTable::format(table_memory(), environment, secrets, GetCurrentTimestamp());
  }
  if (is_postmaster) on_shmem_exit(at_exit, Datum{0});
}

constexpr pg::SharedMemory kSharedMemory = {
    .name = "pgcache_limits",
    .bytes = [] { return add_size(sizeof(SharedLimits) + 64, rate_limit_memory_setting()); },
    .locks = [] { return static_cast<int>(limits::kPartitions); },
    .start = start,
};

}  // namespace

limits::LimitTable limit_table;

namespace internal {

bool limits_are_ready = false;

void get_limits_ready() {
  if (shared == nullptr) pg::raise_not_preloaded();
  pg::require_same_version();
  limits_are_ready = true;
}

}  // namespace internal

void install_shared_limits() { pg::install_shared_memory(kSharedMemory); }

void log_lack_of_room() {
  const TimestampTz now = pg::clock_now();
  int64_t last = engine::load_relaxed(shared->logged_at);
  // A clock that was set back silences nothing.
  if (last <= now && now < limits::later(last, USECS_PER_MINUTE)) return;
  if (!engine::atomic(shared->logged_at).compare_exchange_strong(last, now, std::memory_order_relaxed)) return;
  ereport(LOG, (errhidestmt(true), errhidecontext(true), errmsg("there is no room for another rate limit"),
                errdetail("pgcache.rate_limit_when_full says what the key is answered: %s.",
                          allow_when_full_setting() ? "allow" : "deny"),
                errhint("Raise pgcache.rate_limit_memory, which is %llu MB, or limit by shorter periods or fewer keys.",
                        static_cast<unsigned long long>(rate_limit_memory_setting() / 1024 / 1024))));
}

}  // namespace pgcache
