// How often each relation has been written: what tells whether a view has to be refreshed.
//
// Contract
//  - A transaction that wrote rows of a relation, in whatever way PostgreSQL's statistics notice, counts it once, when
//    it has become visible and before its client learns of the commit. So what is counted before a snapshot is taken is
//    seen by it, and what is acknowledged is counted. PostgreSQL's own counts come late, when a session has been idle.
//  - One that is prepared counts then. Until it ends, a reader has to take into account that it will become visible.
//  - Relations share places by their hash, so a count can only be too high. There are two rows of places, by different
//    hashes: if one of them says that nothing was written, then nothing was.
//  - The counts are of one life of shared memory. What earlier lives have written is in PostgreSQL's counts, which a
//    shutdown completes.
//  - Databases count that have views which ask for it, and until it is known which these are, all.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache {

void install_write_counts();

constexpr int kWriteRows = 2;

// Of this database's relation.
uint64_t writes_of(Oid relation, int row);
// In this database, by transactions of which nobody knows what they wrote.
uint64_t unknown_writes();
// Of a materialized view, by others than the workers: with a snapshot that may be older than a worker's.
uint64_t refreshes_by_hand(Oid view);
// Never the same after a restart or a crash.
uint64_t life_of_write_counts();

// This database, from now on; if it is done before the commit, then the commit counts.
void count_writes();
// All databases have been looked at.
void settle_write_counts();
// In a transaction that refreshes a view by hand.
void count_refresh_at_commit(Oid view);

}  // namespace pgcache
