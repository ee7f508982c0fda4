#include "matviews/inputs.hpp"

#include "pg/compat.hpp"
#include "pg/names.hpp"
#include "pg/sql.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "rewrite/rewriteSupport.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

// What is found on the way down.
struct Findings {
  bool through_matviews;  // for the order of refreshes; else only to the next one
  List* views = NIL;      // whose definitions were read
  List* matviews = NIL;
  List* relations = NIL;  // whose rows count
  StringInfoData definitions{};
  const char* unknowable = nullptr;
};

void note_unknowable(Findings& findings, const char* why) {
  if (findings.unknowable == nullptr) findings.unknowable = why;
}

void read_definition(Findings& findings, Oid view);

// ---- relations

void note_table(Findings& findings, Oid table, char kind) {
  if (kind == RELKIND_FOREIGN_TABLE)
    note_unknowable(findings, psprintf("it reads foreign table %s", pg::qualified_name(table)));
  else
    findings.relations = lappend_oid(findings.relations, table);
}

// What is computed when it is read changes with its expression.
bool has_virtual_columns(Oid table) {
  if (!pg::kHasVirtualColumns) return false;
  bool found = false;
  for (AttrNumber column = 1; !found; ++column) {
    HeapTuple tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(table), Int16GetDatum(column));
    if (!HeapTupleIsValid(tuple)) break;
    found = pg::is_virtual(*reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple)));
    ReleaseSysCache(tuple);
  }
  return found;
}

void note_tree(Findings& findings, Oid table) {
  if (has_virtual_columns(table)) findings.relations = lappend_oid(findings.relations, AttrDefaultRelationId);
  ListCell* cell;
  foreach (cell, find_all_inheritors(table, NoLock, nullptr))
    note_table(findings, lfirst_oid(cell), get_rel_relkind(lfirst_oid(cell)));
}

void note_matview(Findings& findings, Oid view) {
  findings.matviews = list_append_unique_oid(findings.matviews, view);
  findings.relations = lappend_oid(findings.relations, view);
  if (findings.through_matviews) read_definition(findings, view);
}

// Policies may ask for anything.
bool has_policies(Oid relation) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple)) return false;
  const bool has = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relrowsecurity;
  ReleaseSysCache(tuple);
  return has;
}

void note_relation(Findings& findings, Oid relation) {
  const char kind = get_rel_relkind(relation);
  if (relation < FirstNormalObjectId)
    return note_unknowable(findings, psprintf("it reads the system's %s", pg::qualified_name(relation)));
  if (kind == RELKIND_VIEW) return read_definition(findings, relation);
  if (kind == RELKIND_MATVIEW) return note_matview(findings, relation);
  if (kind == RELKIND_SEQUENCE)
    return note_unknowable(findings, psprintf("it reads sequence %s", pg::qualified_name(relation)));
  if (has_policies(relation))
    note_unknowable(findings, psprintf("row-level security of %s decides what it reads", pg::qualified_name(relation)));
  note_tree(findings, relation);
}

// ---- expressions

void note_one_function(Findings& findings, Oid function) {
  if (!OidIsValid(function)) return;
  if (func_volatile(function) != PROVOLATILE_IMMUTABLE)
    note_unknowable(findings, psprintf("it calls %s, which is not immutable", format_procedure(function)));
  // Which may call others: any change of a function counts.
  if (function >= FirstNormalObjectId) findings.relations = lappend_oid(findings.relations, ProcedureRelationId);
}

// An aggregate is always called immutable, whatever it is made of.
void note_aggregate(Findings& findings, Oid aggregate) {
  HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
  if (!HeapTupleIsValid(tuple)) return;
  const FormData_pg_aggregate parts = *reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(tuple));
  ReleaseSysCache(tuple);
  for (Oid part : {parts.aggtransfn, parts.aggfinalfn, parts.aggcombinefn, parts.aggserialfn, parts.aggdeserialfn,
                   parts.aggmtransfn, parts.aggminvtransfn, parts.aggmfinalfn})
    note_one_function(findings, part);
}

bool note_function(Oid function, void* findings) {
  auto& found = *static_cast<Findings*>(findings);
  note_one_function(found, function);
  if (function >= FirstNormalObjectId && get_func_prokind(function) == PROKIND_AGGREGATE)
    note_aggregate(found, function);
  return false;
}

bool visit(Node* node, void* findings);

bool visit_query(Query* query, Findings& findings, Oid itself) {
  ListCell* cell;
  foreach (cell, query->rtable) {
    const auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind != RTE_RELATION || entry->relid == itself) continue;
    if (entry->tablesample != nullptr) note_unknowable(findings, "it reads a sample of a table");
    note_relation(findings, entry->relid);
  }
  return pg::walk_query(query, visit, &findings);
}

bool visit(Node* node, void* findings) {
  if (node == nullptr) return false;
  if (IsA(node, Query))
    return visit_query(reinterpret_cast<Query*>(node), *static_cast<Findings*>(findings), InvalidOid);
  check_functions_in_node(node, note_function, findings);
  return pg::walk_expression(node, visit, findings);
}

// ---- definitions

// What the view's rule holds; nullptr if the view is gone.
char* rule_of(Oid view) {
  HeapTuple rule = SearchSysCache2(RULERELNAME, ObjectIdGetDatum(view), CStringGetDatum(ViewSelectRuleName));
  if (!HeapTupleIsValid(rule)) return nullptr;
  bool is_null = false;
  const Datum action = SysCacheGetAttr(RULERELNAME, rule, Anum_pg_rewrite_ev_action, &is_null);
  char* nodes = is_null ? nullptr : TextDatumGetCString(action);
  ReleaseSysCache(rule);
  return nodes;
}

Query* query_of(char* rule) { return linitial_node(Query, static_cast<List*>(stringToNode(rule))); }

void read_definition(Findings& findings, Oid view) {
  check_stack_depth();
  if (list_member_oid(findings.views, view)) return;
  findings.views = lappend_oid(findings.views, view);
  char* rule = rule_of(view);
  if (rule == nullptr) return note_unknowable(findings, psprintf("%s has no definition", pg::qualified_name(view)));
  appendStringInfoString(&findings.definitions, rule);
  Query* query = query_of(rule);
  visit_query(query, findings, view);
  // What is a function only in disguise: CURRENT_DATE, JSON_VALUE and their like.
  if (contain_mutable_functions(reinterpret_cast<Node*>(query)))
    note_unknowable(findings, "it computes what is not immutable");
}

Findings findings_of(Oid view, bool through_matviews) {
  Findings findings{};
  findings.through_matviews = through_matviews;
  initStringInfo(&findings.definitions);
  read_definition(findings, view);
  return findings;
}

// ---- what is compared

void append(StringInfo to, int64_t number) {
  appendBinaryStringInfo(to, reinterpret_cast<char*>(&number), sizeof number);
}

// A new file: TRUNCATE, REFRESH, a rewrite.
Oid file_of(Oid relation) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple)) return InvalidOid;
  const Oid file = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relfilenode;
  ReleaseSysCache(tuple);
  return file;
}

// A reset sets the database's time; a crash, a restore or a promotion brings other times along for what is counted for
// the whole server.
void append_reset_times(StringInfo to) {
  const PgStat_StatDBEntry* database = pgstat_fetch_stat_dbentry(MyDatabaseId);
  append(to, database == nullptr ? 0 : database->stat_reset_timestamp);
  append(to, pgstat_fetch_stat_bgwriter()->stat_reset_timestamp);
  append(to, GetWALInsertionTimeLine());  // a server that was a standby in between has its old times
}

void append_counts(StringInfo to, Oid relation) {
  for (PGFunction count : {pg_stat_get_tuples_inserted, pg_stat_get_tuples_updated, pg_stat_get_tuples_deleted})
    append(to, DatumGetInt64(DirectFunctionCall1(count, ObjectIdGetDatum(relation))));
}

List* sorted(List* oids) {
  list_sort(oids, list_oid_cmp);
  list_deduplicate_oid(oids);
  return oids;
}

void digest(const StringInfoData& content, uint64_t (&halves)[2]) {
  auto* bytes = reinterpret_cast<const unsigned char*>(content.data);
  for (uint64_t i = 0; i < 2; ++i) halves[i] = hash_bytes_extended(bytes, content.len, i + 1);
}

// What they have written nobody sees before their commit, which is another session's.
bool has_prepared_transactions() {
  return pg::run_sql("SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()") > 0;
}

constexpr size_t kStoredBytes = offsetof(Inputs, unknowable);

}  // namespace

Query* definition_of(Oid view) {
  char* rule = rule_of(view);
  return rule == nullptr ? nullptr : query_of(rule);
}

List* matviews_below(Oid view) { return findings_of(view, true).matviews; }

Inputs read_inputs(Oid view) {
  Inputs inputs{};
  count_writes();
  inputs.life = life_of_write_counts();
  for (uint64_t& writes : inputs.writes) writes = unknown_writes() + refreshes_by_hand(view);
  Findings findings = findings_of(view, false);
  StringInfoData& composition = findings.definitions;
  StringInfoData counts;
  initStringInfo(&counts);
  append_reset_times(&composition);
  append(&composition, MyDatabaseId);  // a copy of a database has its own counts
  ListCell* cell;
  foreach (cell, sorted(findings.relations)) {
    append(&composition, lfirst_oid(cell));
    append(&composition, file_of(lfirst_oid(cell)));
    append_counts(&counts, lfirst_oid(cell));
    for (int row = 0; row < kWriteRows; ++row) inputs.writes[row] += writes_of(lfirst_oid(cell), row);
  }
  digest(composition, inputs.composition);
  digest(counts, inputs.statistics);
  // After the counts: what was prepared before these are read is in them, and what is prepared later will be.
  if (has_prepared_transactions()) note_unknowable(findings, "a transaction is prepared");
  if (!pgstat_track_counts) note_unknowable(findings, "track_counts is off");
  inputs.unknowable = findings.unknowable;
  return inputs;
}

bool same_inputs(const Inputs& before, const Inputs& now) {
  const auto same = [](const auto& one, const auto& other) {
    return std::equal(std::begin(one), std::end(one), std::begin(other));
  };
  if (now.unknowable != nullptr || !same(now.composition, before.composition)) return false;
  const bool same_life = before.life == now.life;
  if (!same_life && !same(now.statistics, before.statistics)) return false;
  for (int row = 0; row < kWriteRows; ++row)
    if (now.writes[row] == (same_life ? before.writes[row] : 0)) return true;
  return false;
}

struct varlena* stored_inputs(const Inputs& inputs) {
  auto* stored = static_cast<struct varlena*>(palloc(VARHDRSZ + kStoredBytes));
  SET_VARSIZE(stored, VARHDRSZ + kStoredBytes);
  memcpy(VARDATA(stored), &inputs, kStoredBytes);
  return stored;
}

std::optional<Inputs> inputs_of_stored(const struct varlena* stored) {
  if (VARSIZE_ANY_EXHDR(stored) != kStoredBytes) return std::nullopt;
  Inputs inputs{};
  memcpy(&inputs, VARDATA_ANY(stored), kStoredBytes);
  return inputs;
}

}  // namespace pgcache
