#include "flags/flag_changes.hpp"

#include "flags/circles.hpp"
#include "flags/flag_json.hpp"
#include "flags/flag_tables.hpp"
#include "flags/rows.hpp"
#include "flags/shared_flags.hpp"
#include "pg/arguments.hpp"
#include "pg/function.hpp"

extern "C" {
#include "access/xact.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/numeric.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

// ---- telling everybody --------------------------------------------------------------------------------------------

bool has_changed_flags = false;  // in this transaction, perhaps in a part that was rolled back
std::optional<uint32_t> announced;

void at_end(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
      if (std::exchange(has_changed_flags, false) && TransactionIdIsValid(GetTopTransactionIdIfAny()))
        announced = announce_flag_change(GetTopTransactionIdIfAny());
      break;
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_ABORT:
      has_changed_flags = false;
      break;
    default:
      break;
  }
}

// PostgreSQL sends the messages of a commit before it releases its locks, so after that they are there. A commit that
// fails after it was announced comes by here too.
void after_locks(ResourceReleasePhase phase, bool, bool is_top_level, void*) {
  if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !announced) return;
  finish_flag_change(*std::exchange(announced, std::nullopt));
}

// Whoever may call these functions may put them on tables of his own, whose rows are not what they take them for.
const TriggerData& fired(FunctionCallInfo fcinfo, std::initializer_list<FlagTable> tables) {
  const auto is_ours = [&](const TriggerData& trigger) {
    return std::any_of(tables.begin(), tables.end(),
                       [&](FlagTable it) { return RelationGetRelid(trigger.tg_relation) == flag_table(it); });
  };
  if (!CALLED_AS_TRIGGER(fcinfo) || !is_ours(*reinterpret_cast<const TriggerData*>(fcinfo->context)))
    ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                    errmsg("function \"%s\" is for triggers of pgcache", format_procedure(fcinfo->flinfo->fn_oid))));
  return *reinterpret_cast<const TriggerData*>(fcinfo->context);
}

// ---- checking -----------------------------------------------------------------------------------------------------

// The row that is about to be stored.
class NewRow {
 public:
  NewRow(FunctionCallInfo fcinfo, FlagTable table) {
    const TriggerData& trigger = fired(fcinfo, {table});
    const bool is_update = TRIGGER_FIRED_BY_UPDATE(trigger.tg_event);
    if (!TRIGGER_FIRED_BEFORE(trigger.tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger.tg_event) ||
        !(is_update || TRIGGER_FIRED_BY_INSERT(trigger.tg_event)))
      elog(ERROR, "a row of a flag is checked before it is written");
    tuple_ = is_update ? trigger.tg_newtuple : trigger.tg_trigtuple;
    descriptor_ = trigger.tg_relation->rd_att;
  }

  HeapTuple tuple() const { return tuple_; }

  // nullopt: null
  std::optional<Datum> value(int column) const {
    bool is_null = false;
    const Datum value = heap_getattr(tuple_, column + 1, descriptor_, &is_null);
    return is_null ? std::nullopt : std::optional(value);
  }

  // 22004 naming the column if it is null.
  Datum required(int column) const {
    const std::optional<Datum> found = value(column);
    if (!found)
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                      errmsg("%s must not be null", NameStr(TupleDescAttr(descriptor_, column)->attname))));
    return *found;
  }

  std::string_view text(int column) const {
    return pg::view_of(reinterpret_cast<struct varlena*>(PG_DETOAST_DATUM_PACKED(required(column))));
  }

  const Jsonb* json(int column) const { return DatumGetJsonbP(required(column)); }

 private:
  HeapTuple tuple_;
  TupleDesc descriptor_;
};

[[noreturn]] void refuse(const Complaint& complaint) {
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", complaint.message),
                  complaint.hint == nullptr ? 0 : errhint("%s", complaint.hint)));
}

void require(bool is_good, const Complaint& complaint) {
  if (!is_good) refuse(complaint);
}

void check_name_of(std::string_view name, const char* what) {
  Complaint complaint;
  require(check_name(name, what, complaint), complaint);
}

// What is read for a check goes with the current memory context, RE2's memory too.
flags::Workshop& workshop_for_check() {
  auto* workshop = static_cast<flags::Workshop*>(palloc0(sizeof(flags::Workshop)));
  workshop->memory.allocate = [](void*, size_t bytes) { return palloc_extended(bytes, MCXT_ALLOC_HUGE); };
  workshop->is_utf8 = GetDatabaseEncoding() == PG_UTF8;
  auto* callback = static_cast<MemoryContextCallback*>(palloc0(sizeof(MemoryContextCallback)));
  callback->func = [](void* it) { flags::release_all(static_cast<flags::Workshop*>(it)->expressions); };
  callback->arg = workshop;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  return *workshop;
}

void check_constraints(const Jsonb* json) {
  flags::Workshop& workshop = workshop_for_check();
  std::span<const flags::Constraint> constraints;
  Complaint complaint;
  require(read_constraints(json, workshop, constraints, complaint) && try_expressions(workshop, complaint), complaint);
}

void check_variants(const Jsonb* json) {
  flags::Workshop& workshop = workshop_for_check();
  flags::Variants variants{};
  Complaint complaint;
  require(read_variants(json, workshop, variants, complaint), complaint);
}

void check_schedule(const NewRow& row) {
  const std::optional<Datum> on_at = row.value(flag_column::on_at);
  const std::optional<Datum> off_at = row.value(flag_column::off_at);
  if (!on_at || !off_at || DatumGetTimestampTz(*off_at) > DatumGetTimestampTz(*on_at)) return;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("off_at must be after on_at"),
                  errdetail("on_at is %s, off_at is %s.", pstrdup(timestamptz_to_str(DatumGetTimestampTz(*on_at))),
                            pstrdup(timestamptz_to_str(DatumGetTimestampTz(*off_at))))));
}

Datum numeric_of(const char* text) {
  return DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

void check_rollout(Datum rollout) {
  const auto is = [](PGFunction compare, Datum one, Datum other) {
    return DatumGetBool(DirectFunctionCall2(compare, one, other));
  };
  const bool is_within = !numeric_is_nan(DatumGetNumeric(rollout)) && is(numeric_ge, rollout, numeric_of("0")) &&
                         is(numeric_le, rollout, numeric_of("100"));
  const bool is_step =
      is_within && is(numeric_eq, rollout, DirectFunctionCall2(numeric_round, rollout, Int32GetDatum(3)));
  if (is_step) return;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                  errmsg("rollout must be from 0 to 100 in steps of 0.001: %s",
                         pg::beginning_of(DatumGetCString(DirectFunctionCall1(numeric_out, rollout)))),
                  errhint("It is a percentage: 25 is a quarter of all.")));
}

// ---- circles ------------------------------------------------------------------------------------------------------

struct FlagOf {
  int64_t id;
  std::string_view environment;
};

struct Ends {
  int64_t flag;
  int64_t prerequisite;
};

void require_one_environment(const FlagOf& flag, const FlagOf& prerequisite) {
  if (flag.environment != prerequisite.environment)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("a prerequisite must be of the same environment as its flag")));
}

// Those whose ends are there: others were written with triggers switched off.
std::span<flags::Edge> edges_between(std::span<FlagOf> all, std::span<Ends> ends, const flags::Memory& memory) {
  std::sort(all.begin(), all.end(), [](const FlagOf& a, const FlagOf& b) { return a.id < b.id; });
  const auto find = [&](int64_t id) {
    const auto found =
        std::lower_bound(all.begin(), all.end(), id, [](const FlagOf& it, int64_t wanted) { return it.id < wanted; });
    return found != all.end() && found->id == id ? &*found : nullptr;
  };
  const std::span<flags::Edge> edges = memory.array<flags::Edge>(ends.size());
  size_t count = 0;
  for (const Ends& it : ends) {
    const FlagOf* flag = find(it.flag);
    const FlagOf* prerequisite = find(it.prerequisite);
    if (flag == nullptr || prerequisite == nullptr) continue;
    require_one_environment(*flag, *prerequisite);
    edges[count++] = {static_cast<uint32_t>(flag - all.data()), static_cast<uint32_t>(prerequisite - all.data())};
  }
  return edges.first(count);
}

// The latest ones, whatever this transaction's snapshot sees: circles must not come about between transactions.
void check_prerequisites() {
  CommandCounterIncrement();
  Snapshot latest = RegisterSnapshot(GetLatestSnapshot());
  Rows<Ends> ends;
  Rows<FlagOf> all;
  visit_rows(FlagTable::prerequisites, latest, [&](const TupleTableSlot* slot) {
    ends.add() = {DatumGetInt64(slot->tts_values[prerequisite_column::flag]),
                  DatumGetInt64(slot->tts_values[prerequisite_column::prerequisite])};
  });
  visit_rows(FlagTable::flags, latest, [&](const TupleTableSlot* slot) {
    all.add() = {DatumGetInt64(slot->tts_values[flag_column::id]),
                 pg::view_of(DatumGetTextPCopy(slot->tts_values[flag_column::environment]))};
  });
  UnregisterSnapshot(latest);

  const flags::Memory& memory = workshop_for_check().memory;
  const std::span<flags::Edge> edges = edges_between(all.span(), ends.span(), memory);
  const auto circling = flags::standing_on_circles(edges, static_cast<uint32_t>(all.count), memory);
  if (std::find(circling.begin(), circling.end(), true) != circling.end())
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("prerequisites must not go round in a circle"),
                    errhint("A flag cannot stand on itself, not even through others.")));
}

}  // namespace

void install_flag_changes() {
  RegisterXactCallback(at_end, nullptr);
  RegisterResourceReleaseCallback(after_locks, nullptr);
}

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_flags_changed) {
  using namespace pgcache;
  const TriggerData& trigger = fired(fcinfo, {FlagTable::flags, FlagTable::strategies, FlagTable::segments,
                                              FlagTable::strategy_segments, FlagTable::prerequisites});
  CacheInvalidateRelcache(trigger.tg_relation);
  has_changed_flags = true;
  const bool is_update = TRIGGER_FIRED_BY_UPDATE(trigger.tg_event);
  return PointerGetDatum(TRIGGER_FIRED_FOR_STATEMENT(trigger.tg_event) ? nullptr
                         : is_update                                   ? trigger.tg_newtuple
                                                                       : trigger.tg_trigtuple);
}

PGCACHE_FUNCTION(pgcache_check_flag) {
  using namespace pgcache;
  const NewRow row(fcinfo, FlagTable::flags);
  check_name_of(row.text(flag_column::name), "the name of a flag");
  check_name_of(row.text(flag_column::environment), "the name of an environment");
  check_schedule(row);
  check_variants(row.json(flag_column::variants));
  return PointerGetDatum(row.tuple());
}

PGCACHE_FUNCTION(pgcache_check_flag_strategy) {
  using namespace pgcache;
  const NewRow row(fcinfo, FlagTable::strategies);
  check_rollout(row.required(strategy_column::rollout));
  Complaint complaint;
  flags::Stickiness stickiness;
  require(read_stickiness(row.text(strategy_column::stickiness), stickiness, complaint), complaint);
  // An empty one is a group too.
  if (row.value(strategy_column::group_id) && !row.text(strategy_column::group_id).empty())
    check_name_of(row.text(strategy_column::group_id), "group_id");
  check_constraints(row.json(strategy_column::constraints));
  check_variants(row.json(strategy_column::variants));
  return PointerGetDatum(row.tuple());
}

PGCACHE_FUNCTION(pgcache_check_flag_segment) {
  using namespace pgcache;
  const NewRow row(fcinfo, FlagTable::segments);
  check_name_of(row.text(segment_column::name), "the name of a segment");
  check_constraints(row.json(segment_column::constraints));
  return PointerGetDatum(row.tuple());
}

// Whoever writes prerequisites goes one after the other from here to the end of the transaction. Not by a lock on the
// table: two that have written already would wait for each other.
PGCACHE_FUNCTION(pgcache_check_flag_prerequisites) {
  using namespace pgcache;
  constexpr uint16 kLockOfChecks = 1;
  fired(fcinfo, {FlagTable::prerequisites, FlagTable::flags});
  LockDatabaseObject(RelationRelationId, flag_table(FlagTable::prerequisites), kLockOfChecks, ExclusiveLock);
  check_prerequisites();
  return PointerGetDatum(nullptr);
}
