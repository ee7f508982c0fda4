#include "watches/watch_triggers.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/reltrigger.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

constexpr const char* kPartNames[kWatchParts] = {"insert", "update", "delete", "truncate", "replicated"};

WatchPart part_of(int16_t type) {
  if (TRIGGER_FOR_TRUNCATE(type)) return WatchPart::truncated;
  if (TRIGGER_FOR_ROW(type)) return WatchPart::replicated;
  if (TRIGGER_FOR_INSERT(type)) return WatchPart::inserted;
  return TRIGGER_FOR_UPDATE(type) ? WatchPart::updated : WatchPart::deleted;
}

// Positive, and nothing but digits.
std::optional<int64_t> id_of(const char* text) {
  int64_t id = 0;
  for (const char* at = text; *at != '\0'; ++at) {
    if (*at < '0' || *at > '9' || __builtin_mul_overflow(id, 10, &id) || __builtin_add_overflow(id, *at - '0', &id))
      return std::nullopt;
  }
  return id > 0 ? std::optional(id) : std::nullopt;
}

// From its type and arguments; false if no watch has made them.
bool describe(WatchTrigger& trigger, int16_t type, const char* const* arguments, int count) {
  trigger.part = part_of(type);
  if (count < 1 || (trigger.describes() ? count < 3 : count != 1)) return false;
  const std::optional<int64_t> id = id_of(arguments[0]);
  if (!id) return false;
  trigger.id = *id;
  if (!trigger.describes()) return true;
  trigger.is_watched = strcmp(arguments[1], "watched") == 0;
  trigger.templates = arguments + 2;
  trigger.template_count = count - 2;
  return std::all_of(trigger.templates, trigger.templates + trigger.template_count, [](const char* text) {
    return strncmp(text, "key=", 4) == 0 || strncmp(text, "tag=", 4) == 0 || strcmp(text, "all") == 0;
  });
}

// tgargs: so many strings, each with its zero byte.
const char* const* arguments_of(HeapTuple tuple, TupleDesc descriptor, int count) {
  bool is_null = false;
  const Datum datum = heap_getattr(tuple, Anum_pg_trigger_tgargs, descriptor, &is_null);
  auto** arguments = static_cast<const char**>(palloc0(sizeof(char*) * static_cast<size_t>(count + 1)));
  const char* at = is_null ? "" : VARDATA_ANY(PG_DETOAST_DATUM_COPY(datum));
  for (int i = 0; i < count; ++i) {
    arguments[i] = at;
    at += strlen(at) + 1;
  }
  return arguments;
}

// nullptr if no watch has made it.
WatchTrigger* read_trigger(HeapTuple tuple, TupleDesc descriptor) {
  const auto* row = reinterpret_cast<Form_pg_trigger>(GETSTRUCT(tuple));
  auto* trigger = static_cast<WatchTrigger*>(palloc0(sizeof(WatchTrigger)));
  trigger->trigger = row->oid;
  trigger->relation = row->tgrelid;
  trigger->name = row->tgname;
  trigger->enabled = row->tgenabled;
  trigger->column_count = row->tgattr.dim1;
  auto* columns = static_cast<int16_t*>(palloc(sizeof(int16_t) * static_cast<size_t>(trigger->column_count + 1)));
  std::copy_n(row->tgattr.values, trigger->column_count, columns);
  trigger->columns = columns;
  return describe(*trigger, row->tgtype, arguments_of(tuple, descriptor, row->tgnargs), row->tgnargs) ? trigger
                                                                                                      : nullptr;
}

// Calls visit(tuple, descriptor) for the triggers with our function that have the value in the column, the relation or
// the id, until it returns false.
template <typename Visit>
void for_each_trigger(AttrNumber column, Oid value, Visit visit) {
  const Oid function = watch_function();
  if (!OidIsValid(function)) return;
  Relation triggers = table_open(TriggerRelationId, AccessShareLock);
  ScanKeyData by_value;
  ScanKeyInit(&by_value, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
  const Oid index = column == Anum_pg_trigger_oid ? TriggerOidIndexId : TriggerRelidNameIndexId;
  SysScanDesc scan = systable_beginscan(triggers, index, true, nullptr, 1, &by_value);
  for (HeapTuple tuple; HeapTupleIsValid(tuple = systable_getnext(scan));)
    if (reinterpret_cast<Form_pg_trigger>(GETSTRUCT(tuple))->tgfoid == function &&
        !visit(tuple, RelationGetDescr(triggers)))
      break;
  systable_endscan(scan);
  table_close(triggers, AccessShareLock);
}

// The ids of all triggers with our function. They depend on it, and that has an index.
List* all_triggers() {
  const Oid function = watch_function();
  if (!OidIsValid(function)) return NIL;
  Relation depends = table_open(DependRelationId, AccessShareLock);
  ScanKeyData by_function[2];
  ScanKeyInit(&by_function[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
              ObjectIdGetDatum(ProcedureRelationId));
  ScanKeyInit(&by_function[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(function));
  SysScanDesc scan = systable_beginscan(depends, DependReferenceIndexId, true, nullptr, 2, by_function);
  List* triggers = NIL;
  for (HeapTuple tuple; HeapTupleIsValid(tuple = systable_getnext(scan));)
    if (const auto* row = reinterpret_cast<Form_pg_depend>(GETSTRUCT(tuple)); row->classid == TriggerRelationId)
      triggers = lappend_oid(triggers, row->objid);
  systable_endscan(scan);
  table_close(depends, AccessShareLock);
  return triggers;
}

const WatchTrigger* find_first(AttrNumber column, Oid value) {
  const WatchTrigger* found = nullptr;
  for_each_trigger(column, value, [&](HeapTuple tuple, TupleDesc descriptor) {
    found = read_trigger(tuple, descriptor);
    return found == nullptr;
  });
  return found;
}

}  // namespace

const char* part_name(WatchPart part) { return kPartNames[static_cast<int>(part)]; }

Oid watch_function() {
  const Oid home = get_namespace_oid("pgcache", true);
  if (!OidIsValid(home)) return InvalidOid;
  const oidvector* no_arguments = buildoidvector(nullptr, 0);
  return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("watch_changed"),
                         PointerGetDatum(no_arguments), ObjectIdGetDatum(home));
}

List* read_watch_triggers(Oid relation) {
  List* list = NIL;
  const auto read = [&](HeapTuple tuple, TupleDesc descriptor) {
    if (WatchTrigger* trigger = read_trigger(tuple, descriptor); trigger != nullptr) list = lappend(list, trigger);
    return true;
  };
  if (OidIsValid(relation)) {
    for_each_trigger(Anum_pg_trigger_tgrelid, relation, read);
  } else {
    ListCell* cell;
    foreach (cell, all_triggers()) for_each_trigger(Anum_pg_trigger_oid, lfirst_oid(cell), read);
  }
  return list;
}

bool is_watched_table(Oid relation) {
  return OidIsValid(relation) && find_first(Anum_pg_trigger_tgrelid, relation) != nullptr;
}

std::optional<WatchTrigger> find_watch_trigger(Oid trigger) {
  const WatchTrigger* found = find_first(Anum_pg_trigger_oid, trigger);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

bool describe_watch_trigger(const struct Trigger& from, Oid relation, WatchTrigger& trigger) {
  trigger = WatchTrigger{};
  trigger.trigger = from.tgoid;
  trigger.relation = relation;
  trigger.enabled = from.tgenabled;
  trigger.column_count = from.tgnattr;
  trigger.columns = from.tgattr;
  return describe(trigger, from.tgtype, from.tgargs, from.tgnargs);
}

}  // namespace pgcache
