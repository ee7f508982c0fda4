// cache_watch and its kin: arguments checked, templates made ready for the triggers, privileges, and what the catalog
// says.
#include "cache/entries.hpp"
#include "cache/own_events.hpp"
#include "cache/shared_cache.hpp"
#include "pg/arguments.hpp"
#include "pg/compat.hpp"
#include "pg/function.hpp"
#include "watches/key_template.hpp"
#include "watches/watch_triggers.hpp"
#include "watches/watched_tables.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

// ---- templates: names become numbers, and names again

[[noreturn]] void raise_bad_template(const char* text, const TemplateReader& reader) {
  const char* what = reader.error() == TemplateError::unclosed_brace ? "a brace that is not closed"
                     : reader.error() == TemplateError::stray_brace  ? "a closing brace without its opening one"
                                                                     : "no column between braces";
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                  errmsg("template \"%s\" has %s at byte %zu", text, what, reader.position() + 1),
                  errhint("A column is written {column}; {{ and }} are braces that stand for themselves.")));
}

void check_column(Oid relation, const char* name) {
  HeapTuple tuple = SearchSysCacheAttName(relation, name);
  if (!HeapTupleIsValid(tuple) || reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple))->attnum < 1)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                    errmsg("column \"%s\" of relation \"%s\" does not exist", name, get_rel_name(relation)),
                    errhint("Names in templates are case-sensitive and not quoted.")));
  const bool is_virtual = pg::is_virtual(*reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple)));
  ReleaseSysCache(tuple);
  if (is_virtual)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("virtual generated column \"%s\" cannot be named in a template", name),
                    errhint("Name the columns that it is computed from, or make it STORED.")));
}

// Its number in the list, from 1; added if it is new.
int number_of(List*& columns, const char* name) {
  for (int i = 0; i < list_length(columns); ++i)
    if (strcmp(static_cast<const char*>(list_nth(columns, i)), name) == 0) return i + 1;
  columns = lappend(columns, const_cast<char*>(name));
  return list_length(columns);
}

// A brace that stands for itself is written twice.
void append_literal(StringInfo to, std::string_view text) {
  const int copies = text == "{" || text == "}" ? 2 : 1;
  for (int i = 0; i < copies; ++i) appendBinaryStringInfo(to, text.data(), static_cast<int>(text.size()));
}

// "key=user:{1}" of 'user:{id}'.
char* numbered(const char* kind, const char* text, Oid relation, List*& columns) {
  StringInfoData to;
  initStringInfo(&to);
  appendStringInfo(&to, "%s=", kind);
  TemplateReader reader(text);
  size_t own_bytes = 0;
  bool has_columns = false;
  for (TemplateReader::Piece piece; reader.next(piece);) {
    if (piece.is_column) {
      has_columns = true;
      const char* name = pnstrdup(piece.text.data(), piece.text.size());
      check_column(relation, name);
      appendStringInfo(&to, "{%d}", number_of(columns, name));
      continue;
    }
    own_bytes += piece.text.size();
    append_literal(&to, piece.text);
  }
  if (reader.error() != TemplateError::none) raise_bad_template(text, reader);
  if ((own_bytes == 0 && !has_columns) || own_bytes > engine::kMaxKeyBytes)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("template of a %s has %zu bytes beside its columns, a %s must have 1 to %zu", kind,
                           own_bytes, kind, engine::kMaxKeyBytes)));
  return to.data;
}

char* named(const char* text, const WatchTrigger& description) {
  StringInfoData to;
  initStringInfo(&to);
  TemplateReader reader(text);
  for (TemplateReader::Piece piece; reader.next(piece);) {
    if (!piece.is_column) {
      append_literal(&to, piece.text);
      continue;
    }
    const int number = atoi(pnstrdup(piece.text.data(), piece.text.size()));
    const char* name = number >= 1 && number <= description.column_count
                           ? get_attname(description.relation, description.columns[number - 1], true)
                           : nullptr;
    appendStringInfo(&to, "{%s}", name == nullptr ? "?" : name);
  }
  return to.data;
}

List* templates_argument(FunctionCallInfo fcinfo, Oid relation, List*& columns) {
  List* templates = NIL;
  if (!PG_ARGISNULL(1))
    templates = lappend(templates, numbered("key", text_to_cstring(PG_GETARG_TEXT_PP(1)), relation, columns));
  if (!PG_ARGISNULL(2)) {
    const pg::Elements tags = pg::elements_of(PG_GETARG_DATUM(2), TEXTOID, "tags", false);
    if (tags.count > static_cast<int>(engine::kMaxTags))
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                      errmsg("a watch may have %u tags, these are %d", engine::kMaxTags, tags.count)));
    for (int i = 0; i < tags.count; ++i)
      templates = lappend(templates, numbered("tag", TextDatumGetCString(tags.values[i]), relation, columns));
  }
  if (templates == NIL)
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a watch needs a key or tags"),
             errhint("For example: SELECT cache_watch('users', key => 'user:{id}', tags => ARRAY['org:{org_id}'])")));
  return templates;
}

// Of the watches with that id. There may be several if tables were restored that had some.
List* watched_relations(int64_t id) {
  List* relations = NIL;
  ListCell* cell;
  foreach (cell, read_watch_triggers(InvalidOid)) {
    const auto* trigger = static_cast<const WatchTrigger*>(lfirst(cell));
    if (trigger->id == id && trigger->describes() && trigger->is_watched)
      relations = list_append_unique_oid(relations, trigger->relation);
  }
  return relations;
}

// ---- what the catalog says

Datum array_of_tags(const WatchTrigger& trigger, bool& is_null) {
  auto* tags = static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<size_t>(trigger.template_count + 1)));
  int count = 0;
  for (int i = 0; i < trigger.template_count; ++i)
    if (strncmp(trigger.templates[i], "tag=", 4) == 0)
      tags[count++] = CStringGetTextDatum(named(trigger.templates[i] + 4, trigger));
  is_null = count == 0;
  return PointerGetDatum(construct_array(tags, count, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum text_of_key(const WatchTrigger& trigger, bool& is_null) {
  const char* const* end = trigger.templates + trigger.template_count;
  const char* const* key =
      std::find_if(trigger.templates, end, [](const char* text) { return strncmp(text, "key=", 4) == 0; });
  is_null = key == end;
  return is_null ? Datum{0} : CStringGetTextDatum(named(*key + 4, trigger));
}

// ---- DDL that may put a table below another one, or take it away

Oid table_named(const RangeVar* name) { return RangeVarGetRelid(name, NoLock, true); }

void align_link(const RangeVar* child, const RangeVar* parent) {
  const Oid table = table_named(child);
  if (OidIsValid(table)) align_tables(table, parent == nullptr ? InvalidOid : table_named(parent));
}

void align_altered(const AlterTableStmt& statement) {
  ListCell* cell;
  foreach (cell, statement.cmds) {
    const auto* command = lfirst_node(AlterTableCmd, cell);
    switch (command->subtype) {
      case AT_AttachPartition:
      case AT_DetachPartition:
      case AT_DetachPartitionFinalize:
        align_link(castNode(PartitionCmd, command->def)->name, statement.relation);
        break;
      case AT_AddInherit:
      case AT_DropInherit:
        align_link(statement.relation, castNode(RangeVar, command->def));
        break;
      case AT_DropColumn:  // CASCADE takes the trigger with it that says what is watched
        align_link(statement.relation, nullptr);
        break;
      default:
        break;
    }
  }
}

void align_created(const CreateStmt& statement, const char* schema) {
  if (statement.inhRelations == NIL) return;
  if (schema == nullptr || statement.relation->schemaname != nullptr) {
    align_link(statement.relation, nullptr);
  } else {
    const RangeVar* name = makeRangeVar(pstrdup(schema), statement.relation->relname, -1);
    align_link(name, nullptr);
  }
}

void align_after(const Node* statement) {
  switch (nodeTag(statement)) {
    case T_CreateStmt:
    case T_CreateForeignTableStmt:  // begins with a CreateStmt
      align_created(*reinterpret_cast<const CreateStmt*>(statement), nullptr);
      break;
    case T_CreateSchemaStmt: {
      const auto& schema = *reinterpret_cast<const CreateSchemaStmt*>(statement);
      ListCell* cell;
      foreach (cell, schema.schemaElts)
        if (IsA(lfirst(cell), CreateStmt)) align_created(*lfirst_node(CreateStmt, cell), schema.schemaname);
      break;
    }
    case T_AlterTableStmt:
      align_altered(*reinterpret_cast<const AlterTableStmt*>(statement));
      break;
    default:
      break;
  }
}

}  // namespace

}  // namespace pgcache

// (relation, key, tags)
PGCACHE_FUNCTION(pgcache_watch) {
  using namespace pgcache;
  require_cache();
  require_writer();
  if (PG_ARGISNULL(0)) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null")));
  const Oid relation = PG_GETARG_OID(0);
  require_owner(relation);
  require_watchable(relation);
  lock_covered_tables(relation, ShareRowExclusiveLock, true);
  List* columns = NIL;
  List* templates = templates_argument(fcinfo, relation, columns);
  const int64_t id = add_watch(relation, templates, columns);
  // What was cached before, nobody has watched over.
  note_cleared();
  PG_RETURN_INT64(id);
}

// (id)
PGCACHE_FUNCTION(pgcache_unwatch) {
  using namespace pgcache;
  require_writer();
  if (PG_ARGISNULL(0)) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id must not be null")));
  const int64_t id = PG_GETARG_INT64(0);
  ListCell* cell;
  const List* relations = watched_relations(id);
  foreach (cell, relations) lock_covered_tables(lfirst_oid(cell), AccessExclusiveLock, true);
  // Somebody else may have ended it meanwhile.
  relations = watched_relations(id);
  foreach (cell, relations) remove_watch(id, lfirst_oid(cell));
  PG_RETURN_BOOL(relations != NIL);
}

PGCACHE_FUNCTION(pgcache_watch_triggers) {
  using namespace pgcache;
  InitMaterializedSRF(fcinfo, 0);
  const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  ListCell* cell;
  foreach (cell, read_watch_triggers(InvalidOid)) {
    const auto& trigger = *static_cast<const WatchTrigger*>(lfirst(cell));
    bool nulls[7] = {};
    Datum values[7] = {Int64GetDatum(trigger.id),
                       ObjectIdGetDatum(trigger.relation),
                       CStringGetTextDatum(part_name(trigger.part)),
                       CharGetDatum(trigger.enabled),
                       BoolGetDatum(trigger.describes() && trigger.is_watched),
                       text_of_key(trigger, nulls[5]),
                       array_of_tags(trigger, nulls[6])};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  PG_RETURN_NULL();
}

// Of an event trigger, at the end of a command.
PGCACHE_FUNCTION(pgcache_watch_members) {
  using namespace pgcache;
  if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
    ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
                    errmsg("pgcache.watch_members() is for an event trigger")));
  align_after(reinterpret_cast<EventTriggerData*>(fcinfo->context)->parsetree);
  PG_RETURN_NULL();
}

PGCACHE_FUNCTION(pgcache_repair_watches) {
  pgcache::repair_watched_tables();
  PG_RETURN_VOID();
}

// (value)
PGCACHE_FUNCTION(pgcache_quote) {
  const std::string_view value = pgcache::pg::view_of(PG_GETARG_TEXT_PP(0));
  auto* quoted = static_cast<text*>(palloc(VARHDRSZ + 3 * value.size()));
  SET_VARSIZE(quoted, VARHDRSZ + pgcache::quote_value(value, VARDATA(quoted)));
  PG_RETURN_TEXT_P(quoted);
}
