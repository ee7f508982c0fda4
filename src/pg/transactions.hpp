// Transactions as the cache's protocol needs them: by full id, which never wraps around.
#pragma once

#include "engine/types.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace pgcache::pg {

// One above the latest transaction that has completed; takes no lock. A transaction that the caller knows to have ended
// is below it.
engine::Transaction first_not_completed();

// The full id of one that is or was in use within the last two thousand million.
engine::Transaction widened(TransactionId transaction);

// Of the top level; 0 if it has none.
engine::Transaction my_transaction();
// Gives it one.
engine::Transaction make_my_transaction();

// Whether the commit is in the transaction log, which snapshots may not show yet. One that is too old to look up counts
// as committed. These read the log, so they may ERROR.
bool has_committed(engine::Transaction transaction);
bool has_aborted(engine::Transaction transaction);
bool is_in_progress(engine::Transaction transaction);

// The transactions of the database that are prepared or about to be, at most `most`; how many there are.
uint32_t prepared_transactions(Oid database, engine::Transaction* to, uint32_t most);
uint32_t most_prepared_transactions();

// Whether a statement runs that changes rows, even if it has not come to the first yet.
bool statement_writes();

// The snapshot of the outermost statement that runs, which may be the active one; nullptr if there is none.
Snapshot outermost_snapshot();
void install_statement_watch();

}  // namespace pgcache::pg
