// The one place that knows PostgreSQL versions. Each function has the shape of the newest version.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "access/transam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "parser/parse_relation.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/pgstat_internal.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
}

#if PG_VERSION_NUM < 150000
#error "pgcache needs PostgreSQL 15 or later"
#endif

namespace pgcache::pg {

// A number below MaxBackends that no other running backend has.
inline uint32_t backend_number() {
#if PG_VERSION_NUM >= 170000
  return static_cast<uint32_t>(MyProcNumber);
#else
  return static_cast<uint32_t>(MyProc->pgprocno);
#endif
}

inline uint32_t number_of(const PGPROC* backend) {
#if PG_VERSION_NUM >= 170000
  return static_cast<uint32_t>(GetNumberFromPGProc(backend));
#else
  return static_cast<uint32_t>(backend->pgprocno);
#endif
}

// Whether the current user owns it, or is a member of the role that does.
inline bool owns_relation(Oid relation) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(RelationRelationId, relation, GetUserId());
#else
  return pg_class_ownercheck(relation, GetUserId());
#endif
}

inline bool owns_database(Oid database) {
#if PG_VERSION_NUM >= 160000
  return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
  return pg_database_ownercheck(database, GetUserId());
#endif
}

// Whether the current user may refresh it.
inline bool maintains_relation(Oid relation) {
#if PG_VERSION_NUM >= 170000
  return pg_class_aclcheck(relation, GetUserId(), ACL_MAINTAIN) == ACLCHECK_OK;
#else
  return owns_relation(relation);
#endif
}

#if PG_VERSION_NUM >= 180000
constexpr bool kHasVirtualColumns = true;
#else
constexpr bool kHasVirtualColumns = false;
#endif

// Computed when it is read, and so in no row that a trigger gets.
inline bool is_virtual([[maybe_unused]] const FormData_pg_attribute& column) {
#if PG_VERSION_NUM >= 180000
  return column.attgenerated == ATTRIBUTE_GENERATED_VIRTUAL;
#else
  return false;
#endif
}

// Columns that a statement may update of one of its tables.
inline Bitmapset* updated_columns([[maybe_unused]] PlannedStmt& statement, RangeTblEntry& table) {
#if PG_VERSION_NUM >= 160000
  return table.perminfoindex == 0 ? nullptr : getRTEPermissionInfo(statement.permInfos, &table)->updatedCols;
#else
  return table.updatedCols;
#endif
}

// The role whose privileges count for a table of a statement; InvalidOid: the current one.
inline Oid checked_as([[maybe_unused]] PlannedStmt& statement, RangeTblEntry& table) {
#if PG_VERSION_NUM >= 160000
  return table.perminfoindex == 0 ? InvalidOid : getRTEPermissionInfo(statement.permInfos, &table)->checkAsUser;
#else
  return table.checkAsUser;
#endif
}

// Calls the walker for what is below a node of a query tree.
inline bool walk_query(Query* query, bool (*walker)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
  return query_tree_walker(query, walker, context, 0);
#else
  return query_tree_walker(query, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context, 0);
#endif
}

inline bool walk_expression(Node* node, bool (*walker)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
  return expression_tree_walker(node, walker, context);
#else
  return expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context);
#endif
}

// Calls visit(relation) for each that this transaction has written, as the statistics have it; at its end, when all
// subtransactions are part of it. The first call may allocate.
template <typename Visit>
void visit_written_relations(Visit visit) {
  for (const PgStat_TableXactStatus* written = pgstat_get_xact_stack_level(1)->first; written != nullptr;
       written = written->next)
#if PG_VERSION_NUM >= 160000
    visit(written->parent->id);
#else
    visit(written->parent->t_id);
#endif
}

// Of the transaction that this backend is in; no other of its transactions has it for a long time.
inline LocalTransactionId my_local_transaction() {
#if PG_VERSION_NUM >= 170000
  return MyProc->vxid.lxid;
#else
  return MyProc->lxid;
#endif
}

// What PostgreSQL shares about transaction ids.
inline auto* shared_transaction_ids() {
#if PG_VERSION_NUM >= 170000
  return TransamVariables;
#else
  return ShmemVariableCache;
#endif
}

// An ExecutorRun_hook: its arguments, and what hands them on.
#if PG_VERSION_NUM >= 180000
#define PGCACHE_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define PGCACHE_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define PGCACHE_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define PGCACHE_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

// +1 or -1 for an infinite interval, which PostgreSQL 17 introduced; else 0.
inline int infinity_of([[maybe_unused]] const Interval* interval) {
#if PG_VERSION_NUM >= 170000
  if (INTERVAL_IS_NOEND(interval)) return 1;
  if (INTERVAL_IS_NOBEGIN(interval)) return -1;
#endif
  return 0;
}

// Memory for a setting's `extra`, which the settings' own code frees; nullptr if there is none.
inline void* allocate_setting_extra(size_t size) {
#if PG_VERSION_NUM >= 160000
  return guc_malloc(LOG, size);
#else
  return malloc(size);
#endif
}

}  // namespace pgcache::pg

#if PG_VERSION_NUM >= 180000
#define PGCACHE_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "pgcache", .version = PGCACHE_VERSION)
#else
#define PGCACHE_MODULE_MAGIC PG_MODULE_MAGIC
#endif
