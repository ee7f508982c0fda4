// What a transaction has to tell the scheduler when it has committed.
#pragma once

namespace pgcache {

void install_notifications();

// The schedules of this database have changed.
void notify_at_commit();
// The databases have: one has come, or may be connected to.
void notify_of_databases_at_commit();
// A transaction that was prepared has committed, of whose changes nobody knows any more.
void prepared_has_committed();

}  // namespace pgcache
