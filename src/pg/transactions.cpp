#include "pg/transactions.hpp"

#include "engine/shared.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "access/twophase.h"
#include "access/xact.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "tcop/pquery.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
}

namespace pgcache::pg {

namespace {

// PostgreSQL writes these under locks; eight aligned bytes are read whole without.
engine::Transaction load(const FullTransactionId& shared) { return engine::load_acquire(shared.value); }

// What is older ended long ago.
bool is_in_log(engine::Transaction transaction) {
  return transaction >= widened(engine::load_relaxed(shared_transaction_ids()->oldestClogXid));
}

// The snapshot of the outermost ExecutorRun, and how many of them are running.
Snapshot outermost = nullptr;
int running = 0;
int writing = 0;  // of these, that change rows
ExecutorRun_hook_type previous_run = nullptr;

void run(PGCACHE_EXECUTOR_RUN_PARAMETERS) {
  if (running == 0) outermost = query->snapshot;
  const int writes = query->operation != CMD_SELECT || query->plannedstmt->hasModifyingCTE ? 1 : 0;
  ++running;
  writing += writes;
  PG_TRY();
  {
    if (previous_run != nullptr)
      previous_run(PGCACHE_EXECUTOR_RUN_ARGUMENTS);
    else
      standard_ExecutorRun(PGCACHE_EXECUTOR_RUN_ARGUMENTS);
  }
  PG_FINALLY();
  {
    writing -= writes;
    if (--running == 0) outermost = nullptr;
  }
  PG_END_TRY();
}

}  // namespace

engine::Transaction first_not_completed() { return load(shared_transaction_ids()->latestCompletedXid) + 1; }

engine::Transaction widened(TransactionId transaction) {
  const engine::Transaction near = load(shared_transaction_ids()->nextXid);
  return near + static_cast<engine::Transaction>(
                    static_cast<int64_t>(static_cast<int32_t>(transaction - static_cast<TransactionId>(near))));
}

engine::Transaction my_transaction() { return U64FromFullTransactionId(GetTopFullTransactionIdIfAny()); }

engine::Transaction make_my_transaction() { return U64FromFullTransactionId(GetTopFullTransactionId()); }

bool has_committed(engine::Transaction transaction) {
  // Held so that the log is not cut off between the look at where it begins and the look into it.
  LWLockAcquire(XactTruncationLock, LW_SHARED);
  const bool committed = !is_in_log(transaction) || TransactionIdDidCommit(static_cast<TransactionId>(transaction));
  LWLockRelease(XactTruncationLock);
  return committed;
}

bool has_aborted(engine::Transaction transaction) {
  return is_in_log(transaction) && TransactionIdDidAbort(static_cast<TransactionId>(transaction));
}

bool is_in_progress(engine::Transaction transaction) {
  return is_in_log(transaction) && TransactionIdIsInProgress(static_cast<TransactionId>(transaction));
}

uint32_t prepared_transactions(Oid database, engine::Transaction* to, uint32_t most) {
  uint32_t count = 0;
  LWLockAcquire(ProcArrayLock, LW_SHARED);
  for (int i = 0; i < max_prepared_xacts; ++i) {
    const PGPROC& dummy = PreparedXactProcs[i];
    if (!TransactionIdIsValid(dummy.xid) || dummy.databaseId != database) continue;
    if (count < most) to[count] = dummy.xid;
    ++count;
  }
  LWLockRelease(ProcArrayLock);
  for (uint32_t i = 0; i < std::min(count, most); ++i) to[i] = widened(static_cast<TransactionId>(to[i]));
  return count;
}

uint32_t most_prepared_transactions() { return static_cast<uint32_t>(max_prepared_xacts); }

bool statement_writes() { return writing > 0; }

Snapshot outermost_snapshot() {
  // A procedure's or a DO block's statements run each for itself, under the snapshot that their portal keeps.
  if (ActivePortal != nullptr && ActivePortal->portalSnapshot != nullptr) return ActivePortal->portalSnapshot;
  return outermost;
}

void install_statement_watch() {
  previous_run = ExecutorRun_hook;
  ExecutorRun_hook = run;
}

}  // namespace pgcache::pg
