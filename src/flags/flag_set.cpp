#include "flags/flag_set.hpp"

#include "flags/circles.hpp"
#include "flags/flag_json.hpp"
#include "flags/flag_tables.hpp"
#include "flags/rows.hpp"
#include "pg/arguments.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
}

namespace pgcache {

// Rows, copied. `compiled`: what they are made into is in flags::Flag.
struct StrategySource {
  int64_t flag;
  int64_t id;
  flags::Points rollout;
  std::string_view stickiness;
  std::optional<std::string_view> group_id;
  const Jsonb* constraints;
  const Jsonb* variants;
  std::span<SegmentSource*> segments;
};

struct FlagSource {
  const Jsonb* variants;
  std::span<StrategySource> strategies;
  bool is_compiled;
};

struct SegmentSource {
  flags::Segment segment;
  const Jsonb* constraints;
  Complaint complaint;
  bool is_compiled;
};

namespace {

using flags::Flag;

struct SegmentUse {
  int64_t strategy;
  std::string_view segment;
};

struct PrerequisiteRow {
  int64_t flag;
  int64_t prerequisite;
  bool is_enabled;
  std::span<std::string_view> variants;
};

// Each row's copies lie in the current memory context.
const struct varlena* copy_of(const TupleTableSlot* slot, int column) {
  return pg_detoast_datum_copy(reinterpret_cast<struct varlena*>(DatumGetPointer(slot->tts_values[column])));
}

std::string_view text_at(const TupleTableSlot* slot, int column) { return pg::view_of(copy_of(slot, column)); }

const Jsonb* json_at(const TupleTableSlot* slot, int column) {
  return reinterpret_cast<const Jsonb*>(copy_of(slot, column));
}

int64_t bigint_at(const TupleTableSlot* slot, int column) { return DatumGetInt64(slot->tts_values[column]); }
bool bool_at(const TupleTableSlot* slot, int column) { return DatumGetBool(slot->tts_values[column]); }

std::span<std::string_view> texts_at(const TupleTableSlot* slot, int column, const flags::Memory& memory) {
  const pg::Elements elements = pg::elements_of(slot->tts_values[column], TEXTOID, "variants", true);
  const std::span<std::string_view> texts = memory.array<std::string_view>(static_cast<size_t>(elements.count));
  for (int i = 0; i < elements.count; ++i)
    if (!elements.nulls[i])
      texts[static_cast<size_t>(i)] =
          pg::view_of(pg_detoast_datum_copy(reinterpret_cast<struct varlena*>(DatumGetPointer(elements.values[i]))));
  return texts;
}

// Of 0 to 100; what is no percentage is nothing.
flags::Points points_at(const TupleTableSlot* slot, int column) {
  const double percent = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, slot->tts_values[column]));
  if (!(percent > 0)) return 0;
  return percent >= 100 ? flags::kAllPoints : static_cast<flags::Points>(percent * flags::kPointsAPercent + 0.5);
}

// The row with that id, of rows sorted by it; nullptr if there is none.
template <typename Row, typename Id, typename Key>
Row* row_with(std::span<Row> sorted, const Id& id, Key key) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), id,
                                      [&](const Row& row, const Id& wanted) { return key(row) < wanted; });
  return found != sorted.end() && key(*found) == id ? &*found : nullptr;
}

struct FlagId {
  int64_t id;
  uint32_t number;
};

// nullptr: it is of another environment.
const FlagId* flag_with(std::span<FlagId> ids, int64_t id) {
  return row_with(ids, id, [](const FlagId& it) { return it.id; });
}

void read_flag(const TupleTableSlot* slot, Rows<Flag>& rows, Rows<FlagSource>& sources, const char* environment) {
  const auto* row_environment =
      reinterpret_cast<struct varlena*>(PG_DETOAST_DATUM_PACKED(slot->tts_values[flag_column::environment]));
  if (pg::view_of(row_environment) != environment) return;
  Flag& flag = rows.add();
  flag.number = static_cast<uint32_t>(rows.count - 1);
  flag.id = bigint_at(slot, flag_column::id);
  flag.name = text_at(slot, flag_column::name);
  flag.is_enabled = bool_at(slot, flag_column::enabled);
  flag.is_killed = bool_at(slot, flag_column::killed);
  flag.on_at = slot->tts_isnull[flag_column::on_at] ? flags::kNoBeginning : bigint_at(slot, flag_column::on_at);
  flag.off_at = slot->tts_isnull[flag_column::off_at] ? flags::kNoEnd : bigint_at(slot, flag_column::off_at);
  sources.add().variants = json_at(slot, flag_column::variants);
}

void read_strategy(const TupleTableSlot* slot, std::span<FlagId> ids, Rows<StrategySource>& rows) {
  if (flag_with(ids, bigint_at(slot, strategy_column::flag)) == nullptr) return;
  StrategySource& row = rows.add();
  row.id = bigint_at(slot, strategy_column::id);
  row.flag = bigint_at(slot, strategy_column::flag);
  row.rollout = points_at(slot, strategy_column::rollout);
  row.stickiness = text_at(slot, strategy_column::stickiness);
  if (!slot->tts_isnull[strategy_column::group_id]) row.group_id = text_at(slot, strategy_column::group_id);
  row.constraints = json_at(slot, strategy_column::constraints);
  row.variants = json_at(slot, strategy_column::variants);
}

void read_segment(const TupleTableSlot* slot, Rows<SegmentSource>& rows) {
  SegmentSource& row = rows.add();
  row.segment.name = text_at(slot, segment_column::name);
  row.constraints = json_at(slot, segment_column::constraints);
}

void join_segments(FlagSet& set, std::span<StrategySource> strategies, std::span<SegmentUse> uses) {
  const auto by_id = [](const StrategySource& it) { return it.id; };
  const auto by_name = [](const SegmentSource& it) { return it.segment.name; };
  std::sort(uses.begin(), uses.end(), [](const SegmentUse& a, const SegmentUse& b) {
    return a.strategy != b.strategy ? a.strategy < b.strategy : a.segment < b.segment;
  });
  for (auto first = uses.begin(); first != uses.end();) {
    const auto last =
        std::find_if(first, uses.end(), [&](const SegmentUse& it) { return it.strategy != first->strategy; });
    if (StrategySource* strategy = row_with(strategies, first->strategy, by_id)) {
      strategy->segments = set.workshop.memory.array<SegmentSource*>(static_cast<size_t>(last - first));
      for (size_t i = 0; i < strategy->segments.size(); ++i)
        strategy->segments[i] = row_with(set.segments, first[static_cast<ptrdiff_t>(i)].segment, by_name);
    }
    first = last;
  }
}

void join_strategies(FlagSet& set, std::span<StrategySource> strategies, std::span<FlagId> ids) {
  std::sort(strategies.begin(), strategies.end(), [](const StrategySource& a, const StrategySource& b) {
    return a.flag != b.flag ? a.flag < b.flag : a.id < b.id;
  });
  for (auto first = strategies.begin(); first != strategies.end();) {
    const auto last = std::find_if(first, strategies.end(), [&](const auto& it) { return it.flag != first->flag; });
    if (const FlagId* flag = flag_with(ids, first->flag)) set.sources[flag->number].strategies = {first, last};
    first = last;
  }
}

// Flags on circles can only come in with triggers switched off.
void join_prerequisites(FlagSet& set, std::span<PrerequisiteRow> rows, std::span<FlagId> ids) {
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.flag != b.flag ? a.flag < b.flag : a.prerequisite < b.prerequisite;
  });
  const auto flag_of = [&](int64_t id) {
    const FlagId* found = flag_with(ids, id);
    return found == nullptr ? nullptr : &set.flags[found->number];
  };
  const std::span<flags::Edge> edges = set.workshop.memory.array<flags::Edge>(rows.size());
  size_t edge_count = 0;
  for (auto first = rows.begin(); first != rows.end();) {
    const auto last = std::find_if(first, rows.end(), [&](const auto& it) { return it.flag != first->flag; });
    if (Flag* flag = flag_of(first->flag)) {
      const auto all = set.workshop.memory.array<flags::Prerequisite>(static_cast<size_t>(last - first));
      for (size_t i = 0; i < all.size(); ++i) {
        const PrerequisiteRow& row = first[static_cast<ptrdiff_t>(i)];
        all[i] = {flag_of(row.prerequisite), row.is_enabled, row.variants};
        if (all[i].flag == nullptr)
          flag->problem = "a prerequisite does not exist in its environment";
        else
          edges[edge_count++] = {flag->number, all[i].flag->number};
      }
      flag->prerequisites = all;
    }
    first = last;
  }
  const auto circling =
      flags::standing_on_circles(edges.first(edge_count), static_cast<uint32_t>(set.flags.size()), set.workshop.memory);
  for (Flag& flag : set.flags) {
    if (circling[flag.number]) flag.problem = "its prerequisites go round in a circle";
    if (flag.problem != nullptr) flag.prerequisites = {};
  }
}

uint32_t slot_of(std::string_view name, size_t slots) {
  flags::Murmur3 hash(0);
  hash.add(name);
  return hash.finish() & static_cast<uint32_t>(slots - 1);
}

// At most half full.
void index_names(FlagSet& set) {
  set.slots = set.workshop.memory.array<uint32_t>(std::bit_ceil(set.flags.size() * 2 + 2));
  std::fill(set.slots.begin(), set.slots.end(), kNoFlag);
  for (const Flag& flag : set.flags) {
    size_t at = slot_of(flag.name, set.slots.size());
    while (set.slots[at] != kNoFlag) at = (at + 1) & (set.slots.size() - 1);
    set.slots[at] = flag.number;
  }
}

// By name; the numbers follow.
void sort_flags(Rows<Flag>& flags, Rows<FlagSource>& sources, const flags::Memory& memory) {
  std::sort(flags.all, flags.all + flags.count, [](const Flag& a, const Flag& b) { return a.name < b.name; });
  const std::span<FlagSource> unsorted = memory.array<FlagSource>(sources.count);
  std::copy_n(sources.all, sources.count, unsorted.begin());
  for (uint32_t i = 0; i < flags.count; ++i) {
    sources.all[i] = unsorted[flags.all[i].number];
    flags.all[i].number = i;
  }
}

std::span<FlagId> ids_of(std::span<Flag> all, const flags::Memory& memory) {
  const std::span<FlagId> ids = memory.array<FlagId>(all.size());
  std::transform(all.begin(), all.end(), ids.begin(), [](const Flag& it) { return FlagId{it.id, it.number}; });
  std::sort(ids.begin(), ids.end(), [](const FlagId& a, const FlagId& b) { return a.id < b.id; });
  return ids;
}

std::span<FlagId> read_flags(FlagSet& set, Snapshot snapshot) {
  Rows<Flag> rows;
  Rows<FlagSource> sources;
  visit_rows(FlagTable::flags, snapshot,
             [&](const TupleTableSlot* slot) { read_flag(slot, rows, sources, set.environment); });
  sort_flags(rows, sources, set.workshop.memory);
  set.flags = rows.span();
  set.sources = sources.span();
  return ids_of(set.flags, set.workshop.memory);
}

void read_segments(FlagSet& set, Snapshot snapshot) {
  Rows<SegmentSource> rows;
  visit_rows(FlagTable::segments, snapshot, [&](const TupleTableSlot* slot) { read_segment(slot, rows); });
  set.segments = rows.span();
  std::sort(set.segments.begin(), set.segments.end(),
            [](const SegmentSource& a, const SegmentSource& b) { return a.segment.name < b.segment.name; });
}

void read_strategies(FlagSet& set, Snapshot snapshot, std::span<FlagId> ids) {
  Rows<StrategySource> strategies;
  visit_rows(FlagTable::strategies, snapshot,
             [&](const TupleTableSlot* slot) { read_strategy(slot, ids, strategies); });
  std::sort(strategies.all, strategies.all + strategies.count,
            [](const StrategySource& a, const StrategySource& b) { return a.id < b.id; });
  Rows<SegmentUse> uses;
  visit_rows(FlagTable::strategy_segments, snapshot, [&](const TupleTableSlot* slot) {
    uses.add() = {bigint_at(slot, strategy_segment_column::strategy), text_at(slot, strategy_segment_column::segment)};
  });
  join_segments(set, strategies.span(), uses.span());
  join_strategies(set, strategies.span(), ids);
}

void read_prerequisites(FlagSet& set, Snapshot snapshot, std::span<FlagId> ids) {
  Rows<PrerequisiteRow> rows;
  visit_rows(FlagTable::prerequisites, snapshot, [&](const TupleTableSlot* slot) {
    const int64_t flag = bigint_at(slot, prerequisite_column::flag);
    if (flag_with(ids, flag) == nullptr) return;
    rows.add() = {flag, bigint_at(slot, prerequisite_column::prerequisite), bool_at(slot, prerequisite_column::enabled),
                  texts_at(slot, prerequisite_column::variants, set.workshop.memory)};
  });
  join_prerequisites(set, rows.span(), ids);
}

void read_all(FlagSet& set, Snapshot snapshot) {
  const std::span<FlagId> ids = read_flags(set, snapshot);
  read_segments(set, snapshot);
  read_strategies(set, snapshot, ids);
  read_prerequisites(set, snapshot, ids);
}

// ---- compiling ----------------------------------------------------------------------------------------------------

void finish_variants(flags::Variants& variants, std::string_view group) {
  variants.group = flags::hash_of_group(group, flags::kVariantSeed);
}

const flags::Segment* compile_segment(FlagSet& set, SegmentSource& source, Complaint& complaint) {
  if (!source.is_compiled)
    read_constraints(source.constraints, set.workshop, source.segment.constraints, source.complaint);
  source.is_compiled = true;
  complaint = source.complaint;
  return &source.segment;
}

bool compile_strategy(FlagSet& set, const Flag& flag, const StrategySource& source, flags::Strategy& strategy,
                      Complaint& complaint) {
  strategy.id = source.id;
  strategy.rollout = source.rollout;
  strategy.group_id = source.group_id.value_or(flag.name);
  strategy.group = flags::hash_of_group(strategy.group_id, flags::kRolloutSeed);
  if (!read_stickiness(source.stickiness, strategy.stickiness, complaint)) return false;
  strategy.variants.stickiness = strategy.stickiness;
  if (!read_constraints(source.constraints, set.workshop, strategy.constraints, complaint) ||
      !read_variants(source.variants, set.workshop, strategy.variants, complaint))
    return false;
  finish_variants(strategy.variants, strategy.group_id);
  const auto segments = set.workshop.memory.array<const flags::Segment*>(source.segments.size());
  for (size_t i = 0; i < segments.size() && complaint.message == nullptr; ++i)
    if (source.segments[i] != nullptr) segments[i] = compile_segment(set, *source.segments[i], complaint);
  strategy.segments = segments;
  return complaint.message == nullptr;
}

void compile_one(FlagSet& set, Flag& flag, FlagSource& source) {
  Complaint complaint{};
  const auto strategies = set.workshop.memory.array<flags::Strategy>(source.strategies.size());
  bool is_good = read_variants(source.variants, set.workshop, flag.variants, complaint);
  finish_variants(flag.variants, flag.name);
  for (size_t i = 0; is_good && i < strategies.size(); ++i)
    is_good = compile_strategy(set, flag, source.strategies[i], strategies[i], complaint);
  flag.strategies = strategies;
  if (!is_good) flag.problem = complaint.message;
}

void* allocate_in(void* context, size_t bytes) {
  return MemoryContextAllocExtended(static_cast<MemoryContext>(context), bytes, MCXT_ALLOC_HUGE);
}

void release_expressions(void* set) { flags::release_all(static_cast<FlagSet*>(set)->workshop.expressions); }

FlagSet* make_set(MemoryContext context, const char* environment) {
  auto* set = static_cast<FlagSet*>(MemoryContextAllocZero(context, sizeof(FlagSet)));
  set->context = context;
  set->environment = MemoryContextStrdup(context, environment);
  set->workshop.memory = {context, allocate_in};
  set->table = flag_table(FlagTable::flags);
  set->workshop.is_utf8 = GetDatabaseEncoding() == PG_UTF8;
  auto* callback = static_cast<MemoryContextCallback*>(MemoryContextAllocZero(context, sizeof(MemoryContextCallback)));
  callback->func = release_expressions;
  callback->arg = set;
  MemoryContextRegisterResetCallback(context, callback);
  return set;
}

}  // namespace

FlagSet* load_flags(Snapshot snapshot, const char* environment) {
  MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pgcache flags", ALLOCSET_DEFAULT_SIZES);
  FlagSet* set = make_set(context, environment);
  MemoryContext caller = MemoryContextSwitchTo(context);
  read_all(*set, snapshot);
  index_names(*set);
  set->workspace.remembered = set->workshop.memory.array<flags::Remembered>(set->flags.size());
  set->workspace.pending = set->workshop.memory.array<flags::Pending>(set->flags.size());
  set->counted = set->workshop.memory.array<Flag*>(set->flags.size());
  MemoryContextSwitchTo(caller);
  return set;
}

// Prerequisites wait in a list of their own, so that their depth costs no stack.
void compile_flag(FlagSet& set, Flag& flag) {
  if (likely(set.sources[flag.number].is_compiled)) return;
  MemoryContext caller = MemoryContextSwitchTo(set.context);
  Rows<Flag*> waiting;
  waiting.add() = &flag;
  while (waiting.count > 0) {
    Flag& next = *waiting.all[--waiting.count];
    FlagSource& source = set.sources[next.number];
    if (source.is_compiled) continue;
    compile_one(set, next, source);
    source.is_compiled = true;
    for (const flags::Prerequisite& prerequisite : next.prerequisites) waiting.add() = prerequisite.flag;
  }
  pfree(waiting.all);
  MemoryContextSwitchTo(caller);
}

void require_memory(flags::Workshop& workshop) {
  if (likely(!std::exchange(workshop.lacks_memory, false))) return;
  ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
                  errdetail("A regular expression of a feature flag needs more than there is.")));
}

flags::Flag* find_flag(FlagSet& set, std::string_view name) {
  for (size_t at = slot_of(name, set.slots.size()); set.slots[at] != kNoFlag; at = (at + 1) & (set.slots.size() - 1)) {
    Flag& flag = set.flags[set.slots[at]];
    if (flag.name != name) continue;
    compile_flag(set, flag);
    return &flag;
  }
  return nullptr;
}

}  // namespace pgcache
