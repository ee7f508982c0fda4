#include "watches/watched_tables.hpp"

#include "pg/compat.hpp"
#include "watches/watch_triggers.hpp"

extern "C" {
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

Oid owner_of_extension() {
  HeapTuple function = SearchSysCache1(PROCOID, ObjectIdGetDatum(watch_function()));
  if (!HeapTupleIsValid(function))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("function pgcache.watch_changed() does not exist"),
                    errhint("Run ALTER EXTENSION pgcache UPDATE.")));
  const Oid owner = reinterpret_cast<Form_pg_proc>(GETSTRUCT(function))->proowner;
  ReleaseSysCache(function);
  return owner;
}

// Statements that run with the rights of the extension's owner. An ERROR in between gives the rights back by itself.
class OwnersStatements {
 public:
  OwnersStatements() {
    GetUserIdAndSecContext(&user_, &security_);
    SetUserIdAndSecContext(owner_of_extension(), security_ | SECURITY_LOCAL_USERID_CHANGE);
    SPI_connect();
  }
  // Not a destructor: an ERROR would skip it.
  void end() const {
    SPI_finish();
    SetUserIdAndSecContext(user_, security_);
  }
  static void run(const char* statement) {
    const int result = SPI_execute(statement, false, 0);
    if (result < 0) elog(ERROR, "could not run a statement for a watch: %s", SPI_result_code_string(result));
  }
  static int64_t new_id() {
    run("SELECT pg_catalog.nextval('pgcache.watch_id'::pg_catalog.regclass)");
    bool is_null = false;
    return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
  }

 private:
  Oid user_ = InvalidOid;
  int security_ = 0;
};

char* trigger_name(int64_t id, WatchPart part) {
  return psprintf("pgcache_watch_%lld_%s", static_cast<long long>(id), part_name(part));
}

void append_event(StringInfo statement, WatchPart part, const List* columns) {
  switch (part) {
    case WatchPart::inserted:
      appendStringInfoString(statement, "INSERT");
      break;
    case WatchPart::updated:
      appendStringInfoString(statement, "UPDATE");
      break;
    case WatchPart::deleted:
      appendStringInfoString(statement, "DELETE");
      break;
    case WatchPart::replicated:
      appendStringInfoString(statement, "INSERT OR UPDATE OR DELETE");
      break;
    case WatchPart::truncated: {
      appendStringInfoString(statement, "TRUNCATE");
      const char* before = " OR UPDATE OF ";
      ListCell* cell;
      foreach (cell, columns) {
        appendStringInfo(statement, "%s%s", before, quote_identifier(static_cast<const char*>(lfirst(cell))));
        before = ", ";
      }
      break;
    }
  }
}

void append_arguments(StringInfo statement, const Watch& watch, WatchPart part, Oid member) {
  appendStringInfo(statement, "'%lld'", static_cast<long long>(watch.id));
  if (part != WatchPart::truncated) return;
  appendStringInfo(statement, ", '%s'", member == watch.relation ? "watched" : "inherited");
  ListCell* cell;
  foreach (cell, watch.templates)
    appendStringInfo(statement, ", %s", quote_literal_cstr(static_cast<const char*>(lfirst(cell))));
}

void create_trigger(const Watch& watch, Oid member, WatchPart part) {
  constexpr const char* kTransitionTables[kWatchParts] = {" REFERENCING NEW TABLE AS new_rows",
                                                          " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
                                                          " REFERENCING OLD TABLE AS old_rows", "", ""};
  const char* table = quoted_relation(member);
  const char* name = trigger_name(watch.id, part);
  const bool each_row = part == WatchPart::replicated;
  StringInfoData statement;
  initStringInfo(&statement);
  appendStringInfo(&statement, "CREATE TRIGGER %s AFTER ", name);
  append_event(&statement, part, watch.columns);
  appendStringInfo(&statement, " ON %s%s FOR EACH %s EXECUTE FUNCTION pgcache.watch_changed(", table,
                   kTransitionTables[static_cast<int>(part)], each_row ? "ROW" : "STATEMENT");
  append_arguments(&statement, watch, part, member);
  appendStringInfoChar(&statement, ')');
  OwnersStatements::run(statement.data);
  OwnersStatements::run(
      psprintf("ALTER TABLE ONLY %s ENABLE %s TRIGGER %s", table, each_row ? "REPLICA" : "ALWAYS", name));
}

void drop_trigger(const WatchTrigger& trigger) {
  OwnersStatements::run(psprintf("DROP TRIGGER IF EXISTS %s ON %s", quote_identifier(NameStr(trigger.name)),
                                 quoted_relation(trigger.relation)));
}

bool has_rows(Oid relation) { return get_rel_relkind(relation) == RELKIND_RELATION; }

uint32_t wanted_parts(Oid member) {
  const uint32_t statements = (1U << kWatchParts) - 1 - only(WatchPart::replicated);
  return has_rows(member) ? statements | only(WatchPart::replicated) : statements;
}

void create_triggers(const Watch& watch, Oid member, uint32_t parts) {
  for (int i = 0; i < kWatchParts; ++i)
    if ((parts & (1U << i)) != 0) create_trigger(watch, member, static_cast<WatchPart>(i));
}

bool same_strings(const List* one, const List* other) {
  if (list_length(one) != list_length(other)) return false;
  for (int i = 0; i < list_length(one); ++i)
    if (strcmp(static_cast<const char*>(list_nth(one, i)), static_cast<const char*>(list_nth(other, i))) != 0)
      return false;
  return true;
}

Watch watch_of(const WatchTrigger& description) {
  Watch watch{description.id, description.relation, NIL, NIL};
  for (int i = 0; i < description.template_count; ++i)
    watch.templates = lappend(watch.templates, const_cast<char*>(description.templates[i]));
  for (int i = 0; i < description.column_count; ++i)
    watch.columns = lappend(watch.columns, get_attname(description.relation, description.columns[i], false));
  return watch;
}

// Calls visit(trigger) for each of a list of read_watch_triggers.
template <typename Visit>
void for_each(const List* triggers, Visit visit) {
  ListCell* cell;
  foreach (cell, triggers) visit(*static_cast<const WatchTrigger*>(lfirst(cell)));
}

// ---- aligning

uint32_t parts_on(const List* triggers, int64_t id, Oid relation) {
  uint32_t parts = 0;
  for_each(triggers, [&](const WatchTrigger& trigger) {
    if (trigger.id == id && trigger.relation == relation) parts |= only(trigger.part);
  });
  return parts;
}

void enable(const WatchTrigger& trigger) {
  const bool each_row = trigger.part == WatchPart::replicated;
  if (trigger.enabled == (each_row ? TRIGGER_FIRES_ON_REPLICA : TRIGGER_FIRES_ALWAYS)) return;
  OwnersStatements::run(psprintf("ALTER TABLE ONLY %s ENABLE %s TRIGGER %s", quoted_relation(trigger.relation),
                                 each_row ? "REPLICA" : "ALWAYS", quote_identifier(NameStr(trigger.name))));
}

// The tables that a watch covers now.
struct Coverage {
  Watch watch;
  List* members;
};

const Coverage* coverage_of(const List* coverages, int64_t id) {
  ListCell* cell;
  foreach (cell, coverages) {
    const auto* coverage = static_cast<const Coverage*>(lfirst(cell));
    if (coverage->watch.id == id) return coverage;
  }
  return nullptr;
}

List* read_coverages(const List* triggers) {
  List* coverages = NIL;
  for_each(triggers, [&](const WatchTrigger& trigger) {
    if (!trigger.describes() || !trigger.is_watched) return;
    auto* coverage = static_cast<Coverage*>(palloc(sizeof(Coverage)));
    *coverage = {watch_of(trigger), find_all_inheritors(trigger.relation, NoLock, nullptr)};
    coverages = lappend(coverages, coverage);
  });
  return coverages;
}

void complete(const Coverage& coverage, const List* triggers, bool repair) {
  ListCell* cell;
  foreach (cell, coverage.members) {
    const Oid member = lfirst_oid(cell);
    const uint32_t present = parts_on(triggers, coverage.watch.id, member);
    if (present != 0 && !repair) continue;
    require_watchable(member);
    create_triggers(coverage.watch, member, wanted_parts(member) & ~present);
  }
}

}  // namespace

char* quoted_relation(Oid relation) {
  return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

void require_watchable(Oid relation) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no relation with OID %u", relation)));
  const auto* row = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
  const char kind = row->relkind;
  const char persistence = row->relpersistence;
  const char* name = pstrdup(NameStr(row->relname));
  ReleaseSysCache(tuple);
  if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" cannot be watched: it is not a table", name),
             kind == RELKIND_VIEW ? errhint("Watch the tables that the view reads.")
             : kind == RELKIND_MATVIEW
                 ? errhint("It changes by REFRESH only: call cache_invalidate or cache_clear in the same transaction.")
             : kind == RELKIND_FOREIGN_TABLE ? errhint("Its rows can change where this server does not see it.")
                                             : 0));
  if (persistence == RELPERSISTENCE_TEMP)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("temporary table \"%s\" cannot be watched", name),
                    errdetail("Only its own session sees its rows; the cache is everybody's.")));
  if (IsCatalogRelationOid(relation))
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("system catalog \"%s\" cannot be watched", name)));
}

int64_t add_watch(Oid relation, List* templates, List* columns) {
  Watch watch{0, relation, templates, columns};
  for_each(read_watch_triggers(relation), [&](const WatchTrigger& trigger) {
    if (!trigger.describes() || !trigger.is_watched) return;
    const Watch other = watch_of(trigger);
    if (same_strings(other.templates, templates) && same_strings(other.columns, columns)) watch.id = other.id;
  });
  if (watch.id != 0) return watch.id;
  List* members = find_all_inheritors(relation, ShareRowExclusiveLock, nullptr);
  ListCell* cell;
  foreach (cell, members) require_watchable(lfirst_oid(cell));
  const OwnersStatements statements;
  watch.id = OwnersStatements::new_id();
  foreach (cell, members) create_triggers(watch, lfirst_oid(cell), wanted_parts(lfirst_oid(cell)));
  statements.end();
  return watch.id;
}

void remove_watch(int64_t id) {
  const List* triggers = read_watch_triggers(InvalidOid);
  const OwnersStatements statements;
  for_each(triggers, [&](const WatchTrigger& trigger) {
    if (trigger.id == id) drop_trigger(trigger);
  });
  statements.end();
}

void align_watched_tables(bool repair) {
  const List* triggers = read_watch_triggers(InvalidOid);
  if (triggers == NIL) return;
  const List* coverages = read_coverages(triggers);
  const OwnersStatements statements;
  for_each(triggers, [&](const WatchTrigger& trigger) {
    const Coverage* coverage = coverage_of(coverages, trigger.id);
    if (coverage == nullptr || !list_member_oid(coverage->members, trigger.relation))
      drop_trigger(trigger);
    else if (repair)
      enable(trigger);
  });
  ListCell* cell;
  foreach (cell, coverages) complete(*static_cast<const Coverage*>(lfirst(cell)), triggers, repair);
  statements.end();
}

}  // namespace pgcache
