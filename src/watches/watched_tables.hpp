// Puts a watch's triggers on the tables that they must be on, and takes them away.
//
// A statement fires the triggers of the table that it names, and of no other. So the rows of a watched table change
// unseen unless the triggers are on
//  - the table, and all below it: its partitions and children, which may be written directly;
//  - all above any of these, through which they are written too. More than the watched rows is seen there, and more is
//    invalidated than must be. Where a column of the templates is missing there, all entries of the database end.
// Below counts what is being detached: until that is over its rows are still seen by some.
//
// Locks: who makes or ends a watch locks all these tables, those above before those below, and looks again until there
// are no others; links between locked tables stay. DDL that makes or cuts a link has locked both of its ends.
//
// The triggers are made with the rights of the extension's owner, because nobody else may use our trigger function, and
// tables below may be somebody else's.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
}

namespace pgcache {

// What is watched, and for what: `templates` are "key=…" and "tag=…" with {1} for the first of `columns`, which are
// names.
struct Watch {
  int64_t id;
  Oid relation;
  List* templates;
  List* columns;
};

// All that a watch of the relation covers. With `owners_only` only if the caller owns it and what is above it: 42501.
void lock_covered_tables(Oid relation, LOCKMODE mode, bool owners_only);

// The id: a new one, or that of the same watch if there is one. The caller has locked what it covers and owns the
// relation. 0A000 and 42809 if a table below can't be watched.
int64_t add_watch(Oid relation, List* templates, List* columns);

// Of the watch with the id on this relation, likewise.
void remove_watch(int64_t id, Oid relation);

// After a link between the two was made or cut, or something else happened to `child` (then without a parent): triggers
// for the tables that are covered now, none for those that no longer are.
void align_tables(Oid child, Oid parent);
// Everywhere; triggers that were disabled or dropped come back too.
void repair_watched_tables();

// Whether one of these is at work, whose own statements are nobody's business.
bool watches_are_changing();

// 0A000 or 42809 naming what it is, unless its rows can be watched.
void require_watchable(Oid relation);
// 42501 unless the caller owns it; 42P01 if it is gone.
void require_owner(Oid relation);

}  // namespace pgcache
