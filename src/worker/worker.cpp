#include "worker/worker.hpp"

#include "cache/saved_cache.hpp"
#include "cache/shared_cache.hpp"
#include "pg/clock.hpp"
#include "pg/function.hpp"

extern "C" {
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/guc.h"
}

extern "C" PGCACHE_EXPORT void pgcache_worker_main(Datum);

namespace pgcache {

namespace {

constexpr long kNapMilliseconds = 1000;

// DROP DATABASE waits for the load, which an error may have ended.
void say_goodbye(int, Datum) {
  engine::store_relaxed(worker_state().pid, 0);
  engine::store_relaxed(saved_cache_state().loading, false);
}

// What was swept so far: entries that nobody has swept who ended them (a commit, a cancelled cache_clear, a promotion)
// are dropped here.
struct Swept {
  engine::Version floor;
  engine::Version gap_to;
} swept[engine::kMaxDatabases];

bool sweep(uint16_t number) {
  uint64_t dropped = 0;
  for (engine::ScanCursor cursor; cache.sweep_database(cursor, number, pg::now_for_reading(), dropped);)
    if (ShutdownRequestPending) return false;
  return true;
}

void sweep_invalidated() {
  for (uint16_t number = 0; number < engine::kMaxDatabases; ++number) {
    const engine::Database& database = cache.database(number);
    const Swept now{engine::load_relaxed(database.slot.floor), engine::load_acquire(database.gap_to)};
    if (now.floor == swept[number].floor && now.gap_to == swept[number].gap_to) continue;
    if (engine::load_relaxed(database.clearing) != 0) continue;
    if (!sweep(number)) return;
    if (now.gap_to != 0) cache.close_gap(number, now.gap_to);
    swept[number] = {now.floor, engine::load_acquire(database.gap_to)};
  }
}

void give_expired_back() {
  engine::ExpiryCursor cursor;
  while (!ShutdownRequestPending && !cache.expire(cursor, pg::now_for_reading()).wrapped) {
  }
}

void take_signals() {
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
  pqsignal(SIGUSR1, procsignal_sigusr1_handler);
  BackgroundWorkerUnblockSignals();
}

void work() {
  take_signals();
  engine::store_relaxed(worker_state().pid, MyProcPid);
  before_shmem_exit(say_goodbye, Datum{0});
  require_cache_of_worker();
  load_cache(saved_cache_state());
  while (!ShutdownRequestPending) {
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
    if (ProcSignalBarrierPending) ProcessProcSignalBarrier();
    require_cache_of_worker();
    give_expired_back();
    sweep_invalidated();
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kNapMilliseconds, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
  }
  save_cache(saved_cache_state());
}

}  // namespace

void install_worker() {
  BackgroundWorker worker{};
  strlcpy(worker.bgw_name, "pgcache", sizeof worker.bgw_name);
  strlcpy(worker.bgw_type, "pgcache", sizeof worker.bgw_type);
  strlcpy(worker.bgw_library_name, "pgcache", sizeof worker.bgw_library_name);
  strlcpy(worker.bgw_function_name, "pgcache_worker_main", sizeof worker.bgw_function_name);
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
  // On a standby too.
  worker.bgw_start_time = BgWorkerStart_ConsistentState;
  worker.bgw_restart_time = 1;
  RegisterBackgroundWorker(&worker);
}

}  // namespace pgcache

void pgcache_worker_main(Datum) {
  pgcache::work();
  // Told to stop by an administrator, it comes back; by the postmaster, it does not.
  proc_exit(1);
}

PGCACHE_FUNCTION(pgcache_worker_pid) {
  using namespace pgcache;
  const int pid = cache_is_shared() ? engine::load_relaxed(worker_state().pid) : 0;
  if (pid == 0) PG_RETURN_NULL();
  PG_RETURN_INT32(pid);
}
