// What changes the content of a watched table and no trigger tells of. Each ends every entry of the database at the
// commit, because nobody can say which rows it touches.
//
//  - DDL: attaching, detaching or dropping a partition, dropping the table, a rewrite, a new column with a default, a
//    trigger that is switched off or on. PostgreSQL says it by the object access hook, but for the first of the two
//    transactions of DETACH CONCURRENTLY, after which nobody new sees the rows.
//  - A MERGE that may move rows to another partition: the transition tables of its triggers lack them.
#include "watches/table_changes.hpp"

#include "cache/own_events.hpp"
#include "cache/shared_cache.hpp"
#include "pg/compat.hpp"
#include "watches/table_tree.hpp"
#include "watches/watch_triggers.hpp"
#include "watches/watched_tables.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
}

namespace pgcache {

namespace {

object_access_hook_type previous_access = nullptr;
ProcessUtility_hook_type previous_utility = nullptr;
ExecutorFinish_hook_type previous_finish = nullptr;

void end_all_entries() {
  if (can_invalidate()) note_cleared();
}

// ---- DDL

// CLUSTER and VACUUM FULL put a new file in the place of the old one, with the same rows; they call themselves
// internal.
bool changes_table(ObjectAccessType access, Oid relation, int column, const void* argument) {
  switch (access) {
    case OAT_POST_ALTER:
      return !static_cast<const ObjectAccessPostAlter*>(argument)->is_internal && is_watched_table(relation);
    case OAT_POST_CREATE:
    case OAT_DROP:
      return column != 0 && is_watched_table(relation);  // of a table, its triggers go first
    default:
      return false;
  }
}

bool changes_inheritance(ObjectAccessType access, Oid child, const void* argument) {
  if (access != OAT_POST_ALTER) return false;
  return is_watched_table(static_cast<const ObjectAccessPostAlter*>(argument)->auxiliary_id) || is_watched_table(child);
}

// Tables that have lost what says for what they are watched, and may still be there.
constexpr int kMostBereft = 64;
Oid bereft[kMostBereft];
int bereft_count = 0;

bool changes_trigger(ObjectAccessType access, Oid trigger) {
  if (access != OAT_DROP && access != OAT_POST_ALTER) return false;
  const std::optional<WatchTrigger> found = find_watch_trigger(trigger);
  if (!found) return false;
  if (access == OAT_DROP && found->describes() && !watches_are_changing() && bereft_count < kMostBereft)
    bereft[bereft_count++] = found->relation;
  return true;
}

bool changes_watched(ObjectAccessType access, Oid class_id, Oid object, int sub_object, const void* argument) {
  switch (class_id) {
    case RelationRelationId:
      return changes_table(access, object, sub_object, argument);
    case InheritsRelationId:
      return changes_inheritance(access, object, argument);
    case TriggerRelationId:
      return changes_trigger(access, object);
    default:
      return false;
  }
}

void note_access(ObjectAccessType access, Oid class_id, Oid object, int sub_object, void* argument) {
  if (previous_access != nullptr) previous_access(access, class_id, object, sub_object, argument);
  if (changes_watched(access, class_id, object, sub_object, argument)) end_all_entries();
}

bool detaches_concurrently(const Node* statement) {
  if (!IsA(statement, AlterTableStmt)) return false;
  const auto& alter = *reinterpret_cast<const AlterTableStmt*>(statement);
  if (alter.cmds == NIL) return false;
  const auto* command = linitial_node(AlterTableCmd, alter.cmds);
  if (command->subtype != AT_DetachPartition || !castNode(PartitionCmd, command->def)->concurrent) return false;
  const Oid table = RangeVarGetRelid(alter.relation, NoLock, true);
  return OidIsValid(table) && is_watched_table(table);
}

bool drops_triggers(const Node* statement) {
  return IsA(statement, DropStmt) && reinterpret_cast<const DropStmt*>(statement)->removeType == OBJECT_TRIGGER;
}

// A column that was dropped with all that depends on it, by DROP TYPE for example, leaves the other triggers behind.
void align_bereft() {
  const int count = std::exchange(bereft_count, 0);
  for (int i = 0; i < count; ++i) align_tables(bereft[i], InvalidOid);
}

void run_utility(PlannedStmt* statement, const char* text, bool read_only, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver,
                 QueryCompletion* completion) {
  if (context == PROCESS_UTILITY_TOPLEVEL) bereft_count = 0;
  // Of the statement itself nothing may be left to look at when it has run.
  const bool aligns = !drops_triggers(statement->utilityStmt) && !IsA(statement->utilityStmt, TransactionStmt);
  if (detaches_concurrently(statement->utilityStmt)) end_all_entries();
  if (previous_utility != nullptr)
    previous_utility(statement, text, read_only, context, parameters, environment, receiver, completion);
  else
    standard_ProcessUtility(statement, text, read_only, context, parameters, environment, receiver, completion);
  if (unlikely(bereft_count > 0) && aligns) align_bereft();
}

// ---- MERGE

bool is_merge(const Plan* plan) {
  return plan != nullptr && IsA(plan, ModifyTable) &&
         reinterpret_cast<const ModifyTable*>(plan)->operation == CMD_MERGE;
}

bool has_merge(const PlannedStmt& statement) {
  if (is_merge(statement.planTree)) return true;
  ListCell* cell;
  foreach (cell, statement.subplans)
    if (is_merge(static_cast<const Plan*>(lfirst(cell)))) return true;
  return false;
}

bool has_partitions_with_partitions(Oid table) {
  TableSet below;
  add_below(below, table);
  ListCell* cell;
  foreach (cell, below.list())
    if (lfirst_oid(cell) != table && get_rel_relkind(lfirst_oid(cell)) == RELKIND_PARTITIONED_TABLE) return true;
  return false;
}

// The executor has locked it.
bool rows_may_move(Oid table, Bitmapset* updated) {
  if (bms_is_empty(updated) || get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE || !is_watched_table(table))
    return false;
  Relation relation = table_open(table, NoLock);
  const bool by_key = has_partition_attrs(relation, updated, nullptr);
  table_close(relation, NoLock);
  return by_key || has_partitions_with_partitions(table);
}

bool moves_rows_unseen(PlannedStmt& statement) {
  if (!has_merge(statement)) return false;
  ListCell* cell;
  foreach (cell, statement.rtable) {
    auto* entry = lfirst_node(RangeTblEntry, cell);
    if (entry->rtekind == RTE_RELATION && rows_may_move(entry->relid, pg::updated_columns(statement, *entry)))
      return true;
  }
  return false;
}

void finish_query(QueryDesc* query) {
  if (moves_rows_unseen(*query->plannedstmt)) end_all_entries();
  if (previous_finish != nullptr)
    previous_finish(query);
  else
    standard_ExecutorFinish(query);
}

}  // namespace

void install_table_changes() {
  previous_access = object_access_hook;
  object_access_hook = note_access;
  previous_utility = ProcessUtility_hook;
  ProcessUtility_hook = run_utility;
  previous_finish = ExecutorFinish_hook;
  ExecutorFinish_hook = finish_query;
}

}  // namespace pgcache
