// Puts a watch's triggers on its table and on all tables below it, and takes them away.
//
// Who calls has shown that he may; the triggers are made with the rights of the extension's owner, because tables below
// may be somebody else's, and nobody else may use our trigger function.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/pg_list.h"
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

// The id: a new one, or that of the same watch if there is one. The caller holds ShareRowExclusiveLock on the relation.
// 0A000 if a table below can't be watched.
int64_t add_watch(Oid relation, List* templates, List* columns);

// The caller holds AccessExclusiveLock on the relation.
void remove_watch(int64_t id);

// Triggers for tables that have come to be below a watched one; those of others are removed. With `repair` those that
// were disabled or dropped come back too.
void align_watched_tables(bool repair);

// 0A000 or 42809 naming what it is, unless its rows can be watched.
void require_watchable(Oid relation);

// "schema"."table", for statements.
char* quoted_relation(Oid relation);

}  // namespace pgcache
