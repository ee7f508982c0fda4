// The trigger function of all watches: what names the changed rows have given, before and after the change, is
// invalidated at the commit.
//
// Contract
//  - It never fails a write for a reason of its own. Without the module in shared memory it does nothing; where it
//    can't tell what was watched, it ends all entries of the database.
//  - A row's columns are put in as column::text gives them, in a session whose settings are those of kTextSettings,
//    whatever the writer's are. NULL is put in as the empty string.
//  - What a template names before the change and after it is invalidated, both.
#include "cache/own_events.hpp"
#include "cache/shared_cache.hpp"
#include "pg/arguments.hpp"
#include "pg/function.hpp"
#include "watches/key_template.hpp"
#include "watches/watch_triggers.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
}

namespace pgcache {

namespace {

// ---- columns as text

struct Column {
  AttrNumber number;
  int16_t length;
  bool by_value;
  Oid type;
  enum class Text : uint8_t { itself, int2, int4, int8, cast, output } text;
  FmgrInfo function;  // of cast and output
};

constexpr Oid kPlainTypes[] = {INT2OID, INT4OID, INT8OID, TEXTOID, VARCHAROID, BPCHAROID,
                               UUIDOID, BOOLOID, NAMEOID, OIDOID,  CHAROID,    NUMERICOID};

bool depends_on_settings(Oid type) {
  return std::find(std::begin(kPlainTypes), std::end(kPlainTypes), type) == std::end(kPlainTypes) &&
         !type_is_enum(type);
}

void find_text(Column& column) {
  const Oid base = getBaseType(column.type);
  switch (base) {
    case INT2OID:
      column.text = Column::Text::int2;
      return;
    case INT4OID:
      column.text = Column::Text::int4;
      return;
    case INT8OID:
      column.text = Column::Text::int8;
      return;
    default:
      break;
  }
  Oid function = InvalidOid;
  switch (find_coercion_pathway(TEXTOID, base, COERCION_EXPLICIT, &function)) {
    case COERCION_PATH_RELABELTYPE:
      column.text = Column::Text::itself;
      return;
    case COERCION_PATH_FUNC:
      column.text = Column::Text::cast;
      break;
    default:
      bool is_varlena = false;
      getTypeOutputInfo(base, &function, &is_varlena);
      column.text = Column::Text::output;
  }
  fmgr_info(function, &column.function);
}

// A cast may take the type modifier and whether it is explicit, too. NULL counts as empty.
std::string_view cast_to_text(FmgrInfo& function, Datum value) {
  LOCAL_FCINFO(call, 3);
  InitFunctionCallInfoData(*call, &function, function.fn_nargs, DEFAULT_COLLATION_OID, nullptr, nullptr);
  call->args[0] = {value, false};
  call->args[1] = {Int32GetDatum(-1), false};
  call->args[2] = {BoolGetDatum(true), false};
  const Datum result = FunctionCallInvoke(call);
  return call->isnull ? std::string_view() : pg::view_of(DatumGetTextPP(result));
}

std::string_view text_of(Column& column, Datum value, char (&digits)[MAXINT8LEN + 1]) {
  switch (column.text) {
    case Column::Text::int2:
      return {digits, static_cast<size_t>(pg_ltoa(DatumGetInt16(value), digits))};
    case Column::Text::int4:
      return {digits, static_cast<size_t>(pg_ltoa(DatumGetInt32(value), digits))};
    case Column::Text::int8:
      return {digits, static_cast<size_t>(pg_lltoa(DatumGetInt64(value), digits))};
    case Column::Text::cast:
      return cast_to_text(column.function, value);
    case Column::Text::itself:
      return pg::view_of(DatumGetTextPP(value));
    case Column::Text::output:
      break;
  }
  return OutputFunctionCall(&column.function, value);
}

// ---- a watch, ready to be applied to rows

struct Piece {
  int column;  // in Applied::columns; -1: text
  std::string_view text;
};

struct Template {
  bool is_tag;
  Piece* pieces;
  int count;
};

constexpr uint32_t kNotedTags = 256;
constexpr engine::SlotNumber kNoSlot = UINT32_MAX;

struct Applied {
  Column* columns;
  int column_count;
  Template* templates;
  int template_count;
  bool depends_on_settings;
  RenderedKey key;
  engine::SlotNumber noted_tags[kNotedTags];  // of the last ones, each at one place: rows often share a few
  MemoryContext row;                          // what a row's values need as text
};

template <typename T>
T* make_array(int count) {
  return static_cast<T*>(palloc0(sizeof(T) * static_cast<size_t>(count + 1)));
}

// Its number in the list of columns; -1 if it is none.
int column_index(std::string_view number, int count) {
  int index = 0;
  for (const char digit : number) {
    if (digit < '0' || digit > '9' || index > count) return -1;
    index = index * 10 + (digit - '0');
  }
  return index >= 1 && index <= count ? index - 1 : -1;
}

bool read_template(std::string_view text, int columns, Template& to) {
  if (text == "all") return false;
  to.is_tag = text.starts_with("tag=");
  text.remove_prefix(4);
  to.pieces = make_array<Piece>(static_cast<int>(text.size()));
  TemplateReader reader(text);
  for (TemplateReader::Piece piece; reader.next(piece);) {
    const int column = piece.is_column ? column_index(piece.text, columns) : -1;
    if (piece.is_column && column < 0) return false;
    to.pieces[to.count++] = {column, piece.text};
  }
  return reader.error() == TemplateError::none;
}

bool read_columns(const WatchTrigger& description, TupleDesc descriptor, Applied& applied) {
  applied.column_count = description.column_count;
  applied.columns = make_array<Column>(applied.column_count);
  for (int i = 0; i < applied.column_count; ++i) {
    const int16_t number = description.columns[i];
    if (number < 1 || number > descriptor->natts) return false;
    const FormData_pg_attribute& attribute = *TupleDescAttr(descriptor, number - 1);
    if (attribute.attisdropped) return false;
    Column& column = applied.columns[i];
    column.number = number;
    column.length = attribute.attlen;
    column.by_value = attribute.attbyval;
    column.type = attribute.atttypid;
    find_text(column);
    applied.depends_on_settings |= depends_on_settings(getBaseType(column.type));
  }
  return true;
}

// The watch whose trigger fires; nullptr if its description is gone or nothing can be made of it.
Applied* read_watch(const TriggerData& fired) {
  WatchTrigger own;
  if (!describe_watch_trigger(*fired.tg_trigger, InvalidOid, own)) return nullptr;
  const TriggerDesc& triggers = *fired.tg_relation->trigdesc;
  WatchTrigger description;
  const struct Trigger* end = triggers.triggers + triggers.numtriggers;
  const struct Trigger* found = std::find_if(triggers.triggers, const_cast<struct Trigger*>(end), [&](const auto& it) {
    return it.tgfoid == fired.tg_trigger->tgfoid && describe_watch_trigger(it, InvalidOid, description) &&
           description.describes() && description.id == own.id;
  });
  if (found == end) return nullptr;
  auto* applied = static_cast<Applied*>(palloc0(sizeof(Applied)));
  applied->template_count = description.template_count;
  applied->templates = make_array<Template>(applied->template_count);
  for (int i = 0; i < applied->template_count; ++i)
    if (!read_template(description.templates[i], description.column_count, applied->templates[i])) return nullptr;
  if (!read_columns(description, RelationGetDescr(fired.tg_relation), *applied)) return nullptr;
  std::fill_n(applied->noted_tags, kNotedTags, kNoSlot);
  applied->row = AllocSetContextCreate(CurrentMemoryContext, "pgcache watched row", ALLOCSET_SMALL_SIZES);
  return applied;
}

// ---- rows

void append_column(Applied& applied, Column& column, TupleTableSlot* slot) {
  bool is_null = false;
  const Datum value = slot_getattr(slot, column.number, &is_null);
  if (is_null) return;
  char digits[MAXINT8LEN + 1];
  applied.key.append_quoted(text_of(column, value, digits));
}

void invalidate_tag(Applied& applied, engine::SlotNumber slot) {
  engine::SlotNumber& noted = applied.noted_tags[slot % kNotedTags];
  if (noted == slot) return;
  note_invalidated(slot);
  noted = slot;
}

void invalidate(Applied& applied, bool is_tag) {
  if (!applied.key.is_valid()) return;
  if (is_tag)
    invalidate_tag(applied, cache.tag_slot_number(cache.tag(my_database, applied.key.text())));
  else
    note_outdated(cache.key(my_database, applied.key.text()));
}

// What the row in the slot gives.
void invalidate_row(Applied& applied, TupleTableSlot* slot) {
  MemoryContext old = MemoryContextSwitchTo(applied.row);
  for (int i = 0; i < applied.template_count; ++i) {
    const Template& it = applied.templates[i];
    applied.key.clear();
    for (int j = 0; j < it.count; ++j) {
      if (it.pieces[j].column < 0)
        applied.key.append(it.pieces[j].text);
      else
        append_column(applied, applied.columns[it.pieces[j].column], slot);
    }
    invalidate(applied, it.is_tag);
  }
  MemoryContextSwitchTo(old);
  MemoryContextReset(applied.row);
}

bool same_value(const Column& column, TupleTableSlot* one, TupleTableSlot* other) {
  bool null_one = false;
  bool null_other = false;
  const Datum value_one = slot_getattr(one, column.number, &null_one);
  const Datum value_other = slot_getattr(other, column.number, &null_other);
  if (null_one || null_other) return null_one == null_other;
  return datum_image_eq(value_one, value_other, column.by_value, column.length);
}

// Whether all templates give the same for both.
bool same_names(const Applied& applied, TupleTableSlot* one, TupleTableSlot* other) {
  return std::all_of(applied.columns, applied.columns + applied.column_count,
                     [&](const Column& column) { return same_value(column, one, other); });
}

bool next_row(Tuplestorestate* rows, TupleTableSlot* slot) {
  CHECK_FOR_INTERRUPTS();
  return rows != nullptr && tuplestore_gettupleslot(rows, true, false, slot);
}

TupleTableSlot* begin_rows(Tuplestorestate* rows, TupleDesc descriptor) {
  if (rows != nullptr) {
    tuplestore_select_read_pointer(rows, 0);
    tuplestore_rescan(rows);
  }
  return MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
}

// An UPDATE's rows stand at the same places of both tables. This only saves work: each row is looked at, wherever it
// is.
void invalidate_tables(Applied& applied, const TriggerData& fired) {
  TupleTableSlot* before = begin_rows(fired.tg_oldtable, RelationGetDescr(fired.tg_relation));
  TupleTableSlot* after = begin_rows(fired.tg_newtable, RelationGetDescr(fired.tg_relation));
  // Where nothing depends on the row, one stands for all.
  const bool one_row = applied.column_count == 0;
  for (bool more = true; more && !everything_is_invalidated();) {
    const bool has_before = next_row(fired.tg_oldtable, before);
    const bool has_after = next_row(fired.tg_newtable, after);
    if (has_before) invalidate_row(applied, before);
    if (has_after && !(has_before && same_names(applied, before, after))) invalidate_row(applied, after);
    more = (has_before || has_after) && !one_row;
  }
  ExecDropSingleTupleTableSlot(before);
  ExecDropSingleTupleTableSlot(after);
}

void invalidate_tuple(Applied& applied, const TriggerData& fired) {
  for (TupleTableSlot* slot : {fired.tg_trigslot, fired.tg_newslot})
    if (slot != nullptr && !TTS_EMPTY(slot)) invalidate_row(applied, slot);
}

struct TextSetting {
  const char* name;
  const char* value;
};
constexpr TextSetting kTextSettings[] = {{"datestyle", "ISO, YMD"}, {"intervalstyle", "postgres"},
                                         {"timezone", "UTC"},       {"extra_float_digits", "1"},
                                         {"bytea_output", "hex"},   {"lc_monetary", "C"}};

// Until AtEOXact_GUC.
int set_text_settings() {
  const int level = NewGUCNestLevel();
  for (const TextSetting& setting : kTextSettings)
    set_config_option(setting.name, setting.value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
  return level;
}

bool has_changed_rows(const TriggerData& fired) {
  if (TRIGGER_FIRED_FOR_ROW(fired.tg_event)) return true;
  return (fired.tg_oldtable != nullptr && tuplestore_tuple_count(fired.tg_oldtable) > 0) ||
         (fired.tg_newtable != nullptr && tuplestore_tuple_count(fired.tg_newtable) > 0);
}

void invalidate_changed(const TriggerData& fired) {
  if (TRIGGER_FIRED_BY_TRUNCATE(fired.tg_event)) {
    note_cleared();
    return;
  }
  if (!has_changed_rows(fired)) return;
  Applied* applied = read_watch(fired);
  if (applied == nullptr) {
    note_cleared();
    return;
  }
  const int level = applied->depends_on_settings ? set_text_settings() : 0;
  if (TRIGGER_FIRED_FOR_ROW(fired.tg_event))
    invalidate_tuple(*applied, fired);
  else
    invalidate_tables(*applied, fired);
  if (level != 0) AtEOXact_GUC(true, level);
  MemoryContextDelete(applied->row);
}

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_watch_changed) {
  using namespace pgcache;
  if (!CALLED_AS_TRIGGER(fcinfo))
    ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                    errmsg("pgcache.watch_changed() is for the triggers that cache_watch makes")));
  const auto& fired = *reinterpret_cast<TriggerData*>(fcinfo->context);
  // One before a row, which somebody has made by hand, lets the row through.
  if (TRIGGER_FIRED_BEFORE(fired.tg_event))
    return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(fired.tg_event) ? fired.tg_newtuple : fired.tg_trigtuple);
  if (TRIGGER_FIRED_AFTER(fired.tg_event) && can_invalidate()) invalidate_changed(fired);
  return PointerGetDatum(nullptr);
}
