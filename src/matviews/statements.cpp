// Statements that this room has to know of: REFRESH, however it comes, ends cache entries; what wants a database for
// itself makes the workers leave it; new databases may have schedules; COMMIT PREPARED runs no callback.
#include "matviews/statements.hpp"

#include "matviews/notifications.hpp"
#include "matviews/refresh.hpp"
#include "matviews/refresh_slots.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
}

namespace pgcache {

namespace {

ProcessUtility_hook_type previous_hook = nullptr;

struct Arguments {
  PlannedStmt* statement;
  const char* text;
  bool read_only;
  ProcessUtilityContext context;
  ParamListInfo parameters;
  QueryEnvironment* environment;
  DestReceiver* receiver;
  QueryCompletion* completion;
};

void run_next(const Arguments& a) {
  (previous_hook != nullptr ? previous_hook : standard_ProcessUtility)(
      a.statement, a.text, a.read_only, a.context, a.parameters, a.environment, a.receiver, a.completion);
}

void run_refresh(const Arguments& a) {
  const auto& refresh = *reinterpret_cast<const RefreshMatViewStmt*>(a.statement->utilityStmt);
  QueryCompletion own{};
  Arguments arguments = a;
  if (arguments.completion == nullptr) arguments.completion = &own;
  run_next(arguments);
  // The statement has locked it.
  const Oid view = RangeVarGetRelid(refresh.relation, NoLock, true);
  if (OidIsValid(view)) refreshed(view, arguments.completion->nprocessed);
}

// ---- a database for oneself

const char* template_of(const CreatedbStmt& create) {
  ListCell* cell;
  foreach (cell, create.options) {
    auto* option = lfirst_node(DefElem, cell);
    if (strcmp(option->defname, "template") == 0 && option->arg != nullptr) return defGetString(option);
  }
  return "template1";
}

bool sets_tablespace(const AlterDatabaseStmt& alter) {
  ListCell* cell;
  foreach (cell, alter.options)
    if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0) return true;
  return false;
}

// The database that no other session may be connected to while this runs; nullptr: none.
const char* wanted_alone(const Node* statement) {
  switch (nodeTag(statement)) {
    case T_DropdbStmt:
      return reinterpret_cast<const DropdbStmt*>(statement)->dbname;
    case T_CreatedbStmt:
      return template_of(*reinterpret_cast<const CreatedbStmt*>(statement));
    case T_RenameStmt: {
      const auto& rename = *reinterpret_cast<const RenameStmt*>(statement);
      return rename.renameType == OBJECT_DATABASE ? rename.subname : nullptr;
    }
    case T_AlterDatabaseStmt: {
      const auto& alter = *reinterpret_cast<const AlterDatabaseStmt*>(statement);
      return sets_tablespace(alter) ? alter.dbname : nullptr;
    }
    default:
      return nullptr;
  }
}

void return_at_error(int, Datum) { return_to_database(); }

void run_alone(const Arguments& a, Oid database) {
  PG_ENSURE_ERROR_CLEANUP(return_at_error, Datum{0});
  {
    leave_database(database);
    run_next(a);
  }
  PG_END_ENSURE_ERROR_CLEANUP(return_at_error, Datum{0});
  return_to_database();
}

bool changes_databases(const Node* statement) {
  return IsA(statement, CreatedbStmt) || IsA(statement, DropdbStmt) || IsA(statement, AlterDatabaseStmt);
}

void run_database_statement(const Arguments& a) {
  const char* name = wanted_alone(a.statement->utilityStmt);
  const Oid database = name == nullptr ? InvalidOid : get_database_oid(name, true);
  // Nobody else may stop refreshes by trying.
  if (OidIsValid(database) && pg::owns_database(database))
    run_alone(a, database);
  else
    run_next(a);
  if (changes_databases(a.statement->utilityStmt)) notify_of_databases_at_commit();
}

bool commits_prepared(const Node* statement) {
  return IsA(statement, TransactionStmt) &&
         reinterpret_cast<const TransactionStmt*>(statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

void run(PlannedStmt* statement, const char* text, bool read_only, ProcessUtilityContext context,
         ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver, QueryCompletion* completion) {
  const Arguments arguments{statement, text, read_only, context, parameters, environment, receiver, completion};
  const Node* node = statement->utilityStmt;
  switch (nodeTag(node)) {
    case T_RefreshMatViewStmt:
      return run_refresh(arguments);
    case T_DropdbStmt:
    case T_CreatedbStmt:
    case T_RenameStmt:
    case T_AlterDatabaseStmt:
      return run_database_statement(arguments);
    default:
      // Parse trees may be gone after it.
      if (commits_prepared(node)) prepared_has_committed();
      run_next(arguments);
  }
}

}  // namespace

void install_matview_statements() {
  previous_hook = ProcessUtility_hook;
  ProcessUtility_hook = run;
}

}  // namespace pgcache
