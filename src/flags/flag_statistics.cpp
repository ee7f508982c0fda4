#include "flags/flag_statistics.hpp"

#include "flags/flag_tables.hpp"
#include "flags/generations.hpp"
#include "flags/shared_flags.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/function.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
}

namespace pgcache {

namespace {

using flags::Counts;

uint64_t fallbacks_without_flag = 0;
Oid table_without_flag = InvalidOid;

void hand_on_variants(Oid table, const flags::Flag& flag, const flags::Variants& variants, TimestampTz now) {
  for (flags::Variant& variant : variants.all)
    if (variant.evaluations > 0)
      flag_count_table.add({static_cast<uint64_t>(flag.id), MyDatabaseId, table, variant.name},
                           {.enabled = std::exchange(variant.evaluations, 0), .disabled = 0, .fallback = 0}, now);
}

void hand_on_flag(Oid table, flags::Flag& flag, TimestampTz now) {
  flag_count_table.add({static_cast<uint64_t>(flag.id), MyDatabaseId, table, {}}, std::exchange(flag.counts, {}), now);
  flag.is_counted = false;
  hand_on_variants(table, flag, flag.variants, now);
  for (const flags::Strategy& strategy : flag.strategies) hand_on_variants(table, flag, strategy.variants, now);
}

void hand_on_all() {
  if (fallbacks_without_flag > 0)
    flag_count_table.add({0, MyDatabaseId, table_without_flag, {}},
                         {.enabled = 0, .disabled = 0, .fallback = std::exchange(fallbacks_without_flag, 0)},
                         pg::clock_now());
  hand_on_counts_of_all();
}

void at_end(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_PARALLEL_COMMIT:
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PARALLEL_ABORT:
    case XACT_EVENT_PREPARE:
      hand_on_all();
      break;
    default:
      break;
  }
}

Datum number(uint64_t count) { return Int64GetDatum(static_cast<int64_t>(count)); }

}  // namespace

void count_fallback_without_flag(const FlagSet& set) {
  ++fallbacks_without_flag;
  table_without_flag = set.table;
}

void hand_on_counts(FlagSet& set) {
  if (set.counted_count == 0) return;
  const TimestampTz now = pg::clock_now();
  for (flags::Flag* flag : set.counted.first(std::exchange(set.counted_count, 0))) hand_on_flag(set.table, *flag, now);
}

void install_flag_statistics() { RegisterXactCallback(at_end, nullptr); }

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_flag_counts) {
  using namespace pgcache;
  require_flags();
  hand_on_all();
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  const Oid table = flag_table(FlagTable::flags);
  const TimestampTz since = flag_count_table.since(MyDatabaseId, table);
  flag_count_table.visit(MyDatabaseId, table, [&](const flags::Counted& it) {
    const bool is_flag = it.key.variant.empty();
    Datum values[] = {
        number(it.key.flag),
        is_flag
            ? Datum{0}
            : PointerGetDatum(cstring_to_text_with_len(it.key.variant.data(), static_cast<int>(it.key.variant.size()))),
        number(it.counts.enabled),
        number(it.counts.disabled),
        number(it.counts.fallback),
        TimestampTzGetDatum(it.last),
        TimestampTzGetDatum(since),
    };
    bool nulls[std::size(values)] = {};
    nulls[1] = is_flag;
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  });
  return Datum{0};
}

PGCACHE_FUNCTION(pgcache_flag_stats_reset) {
  using namespace pgcache;
  require_flags();
  hand_on_all();
  flag_count_table.reset(MyDatabaseId, flag_table(FlagTable::flags), pg::clock_now());
  PG_RETURN_VOID();
}
