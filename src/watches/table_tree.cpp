#include "watches/table_tree.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"
}

namespace pgcache {

namespace {

// The other ends of its links: its parents, or its children.
List* linked(Oid table, bool parents) {
  Relation inherits = table_open(InheritsRelationId, AccessShareLock);
  ScanKeyData by_end;
  ScanKeyInit(&by_end, parents ? Anum_pg_inherits_inhrelid : Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ,
              ObjectIdGetDatum(table));
  SysScanDesc scan = systable_beginscan(inherits, parents ? InheritsRelidSeqnoIndexId : InheritsParentIndexId, true,
                                        nullptr, 1, &by_end);
  List* others = NIL;
  for (HeapTuple tuple; HeapTupleIsValid(tuple = systable_getnext(scan));) {
    const auto* link = reinterpret_cast<Form_pg_inherits>(GETSTRUCT(tuple));
    others = lappend_oid(others, parents ? link->inhparent : link->inhrelid);
  }
  systable_endscan(scan);
  table_close(inherits, AccessShareLock);
  return others;
}

void add_linked(TableSet& to, Oid table, bool parents) {
  List* waiting = list_make1_oid(table);
  // The list grows while it is walked over.
  for (int i = 0; i < list_length(waiting); ++i) {
    ListCell* cell;
    foreach (cell, linked(list_nth_oid(waiting, i), parents))
      if (to.add(lfirst_oid(cell))) waiting = lappend_oid(waiting, lfirst_oid(cell));
  }
}

}  // namespace

TableSet::TableSet() {
  HASHCTL control{};
  control.keysize = sizeof(Oid);
  control.entrysize = sizeof(Oid);
  control.hcxt = CurrentMemoryContext;
  known_ = hash_create("pgcache tables", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

bool TableSet::add(Oid table) {
  bool found = false;
  hash_search(known_, &table, HASH_ENTER, &found);
  if (!found) in_order_ = lappend_oid(in_order_, table);
  return !found;
}

bool TableSet::has(Oid table) const { return hash_search(known_, &table, HASH_FIND, nullptr) != nullptr; }

void add_below(TableSet& to, Oid table) {
  to.add(table);
  add_linked(to, table, false);
}

void add_above(TableSet& to, Oid table) { add_linked(to, table, true); }

}  // namespace pgcache
