#include "matviews/unique_index.hpp"

#include "matviews/inputs.hpp"
#include "pg/names.hpp"
#include "pg/sql.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

// Names of columns of the view; NIL: cannot be told.
List* columns_of(const List* clauses, const Query& query) {
  List* columns = NIL;
  ListCell* cell;
  foreach (cell, clauses) {
    const auto* entry = get_sortgroupclause_tle(lfirst_node(SortGroupClause, cell), query.targetList);
    if (entry->resjunk) return NIL;
    columns = lappend_int(columns, entry->resno);
  }
  return columns;
}

// The column of the view that shows a column of its only table; 0: none does.
int shown_as(const Query& query, int table_number, AttrNumber column) {
  ListCell* cell;
  foreach (cell, query.targetList) {
    const auto* entry = lfirst_node(TargetEntry, cell);
    if (!IsA(entry->expr, Var) || entry->resjunk) continue;
    const auto* var = reinterpret_cast<const Var*>(entry->expr);
    if (var->varno == table_number && var->varattno == column && var->varlevelsup == 0) return entry->resno;
  }
  return 0;
}

// Where the view shows rows of one table, each once.
List* primary_key_columns(const Query& query) {
  if (list_length(query.jointree->fromlist) != 1 || !IsA(linitial(query.jointree->fromlist), RangeTblRef)) return NIL;
  const int number = linitial_node(RangeTblRef, query.jointree->fromlist)->rtindex;
  const auto* table = rt_fetch(number, query.rtable);
  // Of a table that others inherit from, theirs may be the same.
  if (table->rtekind != RTE_RELATION || (table->relkind == RELKIND_RELATION && has_subclass(table->relid))) return NIL;
  Oid constraint = InvalidOid;
  Bitmapset* key = get_primary_key_attnos(table->relid, false, &constraint);
  List* columns = NIL;
  for (int i = -1; (i = bms_next_member(key, i)) >= 0;) {
    const int column = shown_as(query, number, static_cast<AttrNumber>(i + FirstLowInvalidHeapAttributeNumber));
    if (column == 0) return NIL;
    columns = lappend_int(columns, column);
  }
  return columns;
}

List* identifying_columns(const Query& query) {
  if (query.groupingSets != NIL || query.setOperations != nullptr || query.hasTargetSRFs) return NIL;
  if (query.distinctClause != NIL) return columns_of(query.distinctClause, query);
  if (query.groupClause != NIL) return columns_of(query.groupClause, query);
  if (query.hasAggs) return list_make1_int(1);  // one row
  return primary_key_columns(query);
}

bool can_be_indexed(Oid view, int column) {
  const Oid type = get_atttype(view, static_cast<AttrNumber>(column));
  return OidIsValid(type) && OidIsValid(GetDefaultOpClass(type, BTREE_AM_OID));
}

List* indexable(Oid view, List* columns) {
  ListCell* cell;
  foreach (cell, columns)
    if (!can_be_indexed(view, lfirst_int(cell))) return NIL;
  return columns;
}

List* all_indexable_columns(Oid view) {
  List* columns = NIL;
  for (int column = 1;
       get_attname(view, static_cast<AttrNumber>(column), true) != nullptr && list_length(columns) < INDEX_MAX_KEYS;
       ++column)
    if (can_be_indexed(view, column)) columns = lappend_int(columns, column);
  return columns;
}

}  // namespace

bool has_usable_unique_index(Oid view) {
  return pg::run_sql(
             "SELECT FROM pg_catalog.pg_index i"
             " WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique AND i.indimmediate AND i.indisvalid"
             " AND i.indpred IS NULL AND i.indexprs IS NULL",
             {pg::of_oid(view)}) > 0;
}

char* unique_index_statement(Oid view) {
  const Query* query = definition_of(view);
  List* columns = query == nullptr ? NIL : indexable(view, identifying_columns(*query));
  if (columns == NIL) columns = all_indexable_columns(view);
  if (columns == NIL) return nullptr;
  StringInfoData statement;
  initStringInfo(&statement);
  appendStringInfo(&statement, "CREATE UNIQUE INDEX ON %s (", pg::qualified_name(view));
  ListCell* cell;
  foreach (cell, columns)
    appendStringInfo(&statement, "%s%s", cell == list_head(columns) ? "" : ", ",
                     quote_identifier(get_attname(view, static_cast<AttrNumber>(lfirst_int(cell)), false)));
  appendStringInfoString(&statement, ");");
  return statement.data;
}

}  // namespace pgcache
