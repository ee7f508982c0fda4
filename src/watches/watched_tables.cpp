#include "watches/watched_tables.hpp"

#include "pg/compat.hpp"
#include "pg/extension_owner.hpp"
#include "pg/names.hpp"
#include "watches/table_tree.hpp"
#include "watches/watch_triggers.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

bool changing = false;

void run(const char* statement) {
  const int result = SPI_execute(statement, false, 0);
  if (result < 0) elog(ERROR, "could not run a statement for a watch: %s", SPI_result_code_string(result));
  CommandCounterIncrement();  // for who reads the catalog next
}

int64_t next_id() {
  run("SELECT pg_catalog.nextval('pgcache.watch_id'::pg_catalog.regclass)");
  bool is_null = false;
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

template <typename Work>
void as_owner(Work work) {
  pg::as_extension_owner([&] {
    changing = true;
    PG_TRY();
    { work(); }
    PG_FINALLY();
    { changing = false; }
    PG_END_TRY();
  });
}

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

// What a table is to a watch.
enum class Role : uint8_t { none, watched, inherited, above };

bool has_columns(Oid table, const List* columns) {
  ListCell* cell;
  foreach (cell, columns)
    if (get_attnum(table, static_cast<const char*>(lfirst(cell))) == InvalidAttrNumber) return false;
  return true;
}

void append_arguments(StringInfo statement, const Watch& watch, WatchPart part, Role role, bool with_columns) {
  appendStringInfo(statement, "'%lld'", static_cast<long long>(watch.id));
  if (part != WatchPart::truncated) return;
  appendStringInfo(statement, ", '%s'",
                   role == Role::watched     ? "watched"
                   : role == Role::inherited ? "inherited"
                                             : "above");
  if (!with_columns) appendStringInfoString(statement, ", 'all'");
  ListCell* cell;
  if (with_columns)
    foreach (cell, watch.templates)
      appendStringInfo(statement, ", %s", quote_literal_cstr(static_cast<const char*>(lfirst(cell))));
}

void create_trigger(const Watch& watch, Oid table_id, Role role, WatchPart part) {
  constexpr const char* kTransitionTables[kWatchParts] = {" REFERENCING NEW TABLE AS new_rows",
                                                          " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
                                                          " REFERENCING OLD TABLE AS old_rows", "", ""};
  const char* table = pg::qualified_name(table_id);
  const bool with_columns = has_columns(table_id, watch.columns);
  const char* name = trigger_name(watch.id, part);
  const bool each_row = part == WatchPart::replicated;
  StringInfoData statement;
  initStringInfo(&statement);
  appendStringInfo(&statement, "CREATE TRIGGER %s AFTER ", name);
  append_event(&statement, part, with_columns ? watch.columns : NIL);
  appendStringInfo(&statement, " ON %s%s FOR EACH %s EXECUTE FUNCTION pgcache.watch_changed(", table,
                   kTransitionTables[static_cast<int>(part)], each_row ? "ROW" : "STATEMENT");
  append_arguments(&statement, watch, part, role, with_columns);
  appendStringInfoChar(&statement, ')');
  run(statement.data);
  run(psprintf("ALTER TABLE ONLY %s ENABLE %s TRIGGER %s", table, each_row ? "REPLICA" : "ALWAYS", name));
}

void drop_trigger(const WatchTrigger& trigger) {
  run(psprintf("DROP TRIGGER %s ON %s", quote_identifier(NameStr(trigger.name)), pg::qualified_name(trigger.relation)));
}

uint32_t wanted_parts(Oid table, Role role) {
  if (role == Role::none) return 0;
  constexpr uint32_t kAll = (1U << kWatchParts) - 1;
  if (get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE) return kAll & ~only(WatchPart::replicated);
  // What is inserted into a parent that has rows of its own stays there, and its own rows are not watched.
  return role == Role::above ? kAll & ~only(WatchPart::replicated) & ~only(WatchPart::inserted) : kAll;
}

void create_triggers(const Watch& watch, Oid table, Role role, uint32_t parts) {
  for (int i = 0; i < kWatchParts; ++i)
    if ((parts & (1U << i)) != 0) create_trigger(watch, table, role, static_cast<WatchPart>(i));
}

bool same_strings(const List* one, const List* other) {
  if (list_length(one) != list_length(other)) return false;
  for (int i = 0; i < list_length(one); ++i)
    if (strcmp(static_cast<const char*>(list_nth(one, i)), static_cast<const char*>(list_nth(other, i))) != 0)
      return false;
  return true;
}

// Without columns if the table is being dropped.
Watch watch_of(const WatchTrigger& description) {
  Watch watch{description.id, description.relation, NIL, NIL};
  for (int i = 0; i < description.template_count; ++i)
    watch.templates = lappend(watch.templates, const_cast<char*>(description.templates[i]));
  for (int i = 0; i < description.column_count; ++i)
    if (char* name = get_attname(description.relation, description.columns[i], true); name != nullptr)
      watch.columns = lappend(watch.columns, name);
  return watch;
}

// Calls visit(trigger) for each of a list of read_watch_triggers.
template <typename Visit>
void for_each_trigger(const List* triggers, Visit visit) {
  ListCell* cell;
  foreach (cell, triggers) visit(*static_cast<const WatchTrigger*>(lfirst(cell)));
}

template <typename Visit>
void for_each_table(const TableSet& tables, Visit visit) {
  ListCell* cell;
  foreach (cell, tables.list()) visit(lfirst_oid(cell));
}

// ---- which tables

// A partition has but the parent over which it was found.
void add_above_all(TableSet& to, const TableSet& tables, Oid first) {
  for_each_table(tables, [&](Oid table) {
    if (table == first || !get_rel_relispartition(table)) add_above(to, table);
  });
}

// The tables that have the triggers of a watch.
struct Coverage {
  Watch watch{};
  TableSet below;
  TableSet above;

  explicit Coverage(const Watch& of) : watch(of) {
    add_below(below, watch.relation);
    add_above_all(above, below, watch.relation);
  }
  [[nodiscard]] Role role_of(Oid table) const {
    if (table == watch.relation) return Role::watched;
    if (below.has(table)) return Role::inherited;
    return above.has(table) ? Role::above : Role::none;
  }
};

bool exists(Oid table) { return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table)); }

// False if all were locked already.
bool lock_more(TableSet& locked, const List* tables, LOCKMODE mode, bool backwards) {
  bool more = false;
  const int count = list_length(tables);
  for (int i = 0; i < count; ++i) {
    const Oid table = list_nth_oid(tables, backwards ? count - 1 - i : i);
    if (!locked.add(table)) continue;
    LockRelationOid(table, mode);
    more = true;
  }
  return more;
}

List* read_coverages(const List* triggers) {
  List* coverages = NIL;
  for_each_trigger(triggers, [&](const WatchTrigger& trigger) {
    if (trigger.describes() && trigger.is_watched && exists(trigger.relation))
      coverages = lappend(coverages, new (palloc(sizeof(Coverage))) Coverage(watch_of(trigger)));
  });
  return coverages;
}

// ---- making them so

void enable(const WatchTrigger& trigger) {
  const bool each_row = trigger.part == WatchPart::replicated;
  if (trigger.enabled == (each_row ? TRIGGER_FIRES_ON_REPLICA : TRIGGER_FIRES_ALWAYS)) return;
  run(psprintf("ALTER TABLE ONLY %s ENABLE %s TRIGGER %s", pg::qualified_name(trigger.relation),
               each_row ? "REPLICA" : "ALWAYS", quote_identifier(NameStr(trigger.name))));
}

// The parts that a table has of a watch that it should have.
uint32_t keep(const Coverage& coverage, Oid table, List*& superfluous, bool repair) {
  const uint32_t wanted = wanted_parts(table, coverage.role_of(table));
  uint32_t present = 0;
  List* others = NIL;
  for_each_trigger(superfluous, [&](const WatchTrigger& trigger) {
    if (trigger.id == coverage.watch.id && (wanted & only(trigger.part)) != 0) {
      present |= only(trigger.part);
      if (repair) enable(trigger);
    } else {
      others = lappend(others, const_cast<WatchTrigger*>(&trigger));
    }
  });
  superfluous = others;
  return present;
}

void align(Oid table, const List* coverages, bool repair) {
  if (!exists(table)) return;
  List* superfluous = read_watch_triggers(table);
  struct Missing {
    const Coverage* coverage;
    uint32_t parts;
  };
  List* incomplete = NIL;
  ListCell* cell;
  foreach (cell, coverages) {
    const auto* coverage = static_cast<const Coverage*>(lfirst(cell));
    const uint32_t present = keep(*coverage, table, superfluous, repair);
    const uint32_t parts = wanted_parts(table, coverage->role_of(table)) & ~present;
    if (parts == 0) continue;
    auto* missing = static_cast<Missing*>(palloc(sizeof(Missing)));
    *missing = {coverage, parts};
    incomplete = lappend(incomplete, missing);
  }
  for_each_trigger(superfluous, drop_trigger);
  foreach (cell, incomplete) {
    const auto& missing = *static_cast<const Missing*>(lfirst(cell));
    require_watchable(table);
    create_triggers(missing.coverage->watch, table, missing.coverage->role_of(table), missing.parts);
  }
}

// One that no watch has: a restored table may have brought some of which the sequence does not know.
int64_t new_id() {
  const List* triggers = read_watch_triggers(InvalidOid);
  for (;;) {
    const int64_t id = next_id();
    bool used = false;
    for_each_trigger(triggers, [&](const WatchTrigger& trigger) { used |= trigger.id == id; });
    if (!used) return id;
  }
}

}  // namespace

void require_owner(Oid relation) {
  const char* name = get_rel_name(relation);
  if (name == nullptr)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no relation with OID %u", relation)));
  if (!pg::owns_relation(relation))
    aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relation)), name);
}

// Until there are no others once all are locked.
void lock_covered_tables(Oid relation, LOCKMODE mode, bool owners_only) {
  TableSet locked;
  for (bool more = true; more;) {
    const Coverage coverage({0, relation, NIL, NIL});
    // Nobody else may make its writers wait.
    if (owners_only) for_each_table(coverage.above, require_owner);
    if (owners_only) require_owner(relation);
    more = lock_more(locked, coverage.above.list(), mode, true);
    more |= lock_more(locked, coverage.below.list(), mode, false);
  }
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
  const Watch wanted{0, relation, templates, columns};
  int64_t same = 0;
  for_each_trigger(read_watch_triggers(relation), [&](const WatchTrigger& trigger) {
    if (!trigger.describes() || !trigger.is_watched) return;
    const Watch other = watch_of(trigger);
    if (same_strings(other.templates, templates) && same_strings(other.columns, columns)) same = other.id;
  });
  if (same != 0) return same;
  Coverage coverage(wanted);
  for_each_table(coverage.above, require_watchable);
  for_each_table(coverage.below, require_watchable);
  as_owner([&] {
    coverage.watch.id = new_id();
    for (const TableSet* tables : {&coverage.above, &coverage.below})
      for_each_table(*tables, [&](Oid table) {
        const Role role = coverage.role_of(table);
        // What is above in one way and below in another is in both.
        if (tables == &coverage.above && role != Role::above) return;
        create_triggers(coverage.watch, table, role, wanted_parts(table, role));
      });
  });
  return coverage.watch.id;
}

void remove_watch(int64_t id, Oid relation) {
  const Coverage coverage({id, relation, NIL, NIL});
  as_owner([&] {
    for (const TableSet* tables : {&coverage.above, &coverage.below})
      for_each_table(*tables, [&](Oid table) {
        for_each_trigger(read_watch_triggers(table), [&](const WatchTrigger& trigger) {
          if (trigger.id == id) drop_trigger(trigger);
        });
      });
  });
}

bool watches_are_changing() { return changing; }

void align_tables(Oid child, Oid parent) {
  const List* triggers = read_watch_triggers(InvalidOid);
  if (triggers == NIL) return;  // or the extension goes
  const List* coverages = read_coverages(triggers);
  TableSet tables;
  add_below(tables, child);
  TableSet above;
  add_above_all(above, tables, child);
  if (OidIsValid(parent) && above.add(parent)) add_above(above, parent);
  for_each_table(above, [&](Oid table) { tables.add(table); });
  as_owner([&] { for_each_table(tables, [&](Oid table) { align(table, coverages, false); }); });
}

void repair_watched_tables() {
  TableSet tables;
  for_each_trigger(read_watch_triggers(InvalidOid), [&](const WatchTrigger& trigger) {
    if (trigger.describes() && trigger.is_watched) lock_covered_tables(trigger.relation, ShareRowExclusiveLock, false);
    tables.add(trigger.relation);
  });
  const List* coverages = read_coverages(read_watch_triggers(InvalidOid));
  ListCell* cell;
  foreach (cell, coverages) {
    const auto* coverage = static_cast<const Coverage*>(lfirst(cell));
    for_each_table(coverage->above, [&](Oid table) { tables.add(table); });
    for_each_table(coverage->below, [&](Oid table) { tables.add(table); });
  }
  as_owner([&] {
    for_each_table(tables, [&](Oid table) {
      LockRelationOid(table, ShareRowExclusiveLock);
      align(table, coverages, true);
    });
  });
}

}  // namespace pgcache
