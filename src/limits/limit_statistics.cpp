// rate_limit_stats, rate_limit_top.
#include <cmath>

#include "limits/shared_limits.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/function.hpp"

extern "C" {
#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
}

namespace pgcache {

namespace {

using limits::DeniedKey;
using limits::DeniedKeys;

constexpr int kMostDenied = static_cast<int>(limits::kPartitions * DeniedKeys::kEntries);

// This database's, the one denied most first; the number of them.
int denied_keys(DeniedKey* keys) {
  auto* copy = static_cast<DeniedKeys*>(palloc(sizeof(DeniedKeys)));
  int count = 0;
  for (uint32_t partition = 0; partition < limits::kPartitions; ++partition) {
    limit_table.copy_denied(partition, *copy);
    copy->visit([&](const DeniedKey& key) {
      if (key.database == MyDatabaseId) keys[count++] = key;
    });
  }
  std::sort(keys, keys + count, [](const DeniedKey& one, const DeniedKey& other) {
    return one.denied != other.denied ? one.denied > other.denied : one.last_denied > other.last_denied;
  });
  return count;
}

}  // namespace

}  // namespace pgcache

// (n)
PGCACHE_FUNCTION(pgcache_rate_limit_top) {
  using namespace pgcache;
  require_limits();
  const int32_t most = PG_GETARG_INT32(0);
  if (most < 1) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("n must be at least 1: %d", most)));
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  auto* keys = static_cast<DeniedKey*>(palloc(sizeof(DeniedKey) * kMostDenied));
  const int count = std::min<int>(denied_keys(keys), most);
  for (int i = 0; i < count; ++i) {
    const DeniedKey& key = keys[i];
    const Datum values[] = {PointerGetDatum(cstring_to_text_with_len(key.key, key.bytes)), Int64GetDatum(key.denied),
                            Int64GetDatum(key.denied - key.error), TimestampTzGetDatum(key.last_denied)};
    constexpr bool kNulls[std::size(values)] = {};
    tuplestore_putvalues(result->setResult, result->setDesc, const_cast<Datum*>(values), const_cast<bool*>(kNulls));
  }
  return Datum{0};
}

PGCACHE_FUNCTION(pgcache_rate_limit_statistics) {
  using namespace pgcache;
  require_limits();
  TupleDesc descriptor;
  if (get_call_result_type(fcinfo, nullptr, &descriptor) != TYPEFUNC_COMPOSITE)
    elog(ERROR, "return type must be a row type");
  const limits::Totals totals = limit_table.totals();
  Datum values[] = {
      Int64GetDatum(static_cast<int64_t>(totals.cells)),
      Int64GetDatum(static_cast<int64_t>(totals.cells_max)),
      Float8GetDatum(std::round(10.0 * static_cast<double>(totals.bytes) / static_cast<double>(totals.cells_max)) / 10),
      Int64GetDatum(static_cast<int64_t>(totals.log_entries)),
      Int64GetDatum(static_cast<int64_t>(totals.log_entries_max)),
      Int64GetDatum(totals.allowed),
      Int64GetDatum(totals.denied),
      Int64GetDatum(totals.forgotten),
      Int64GetDatum(totals.no_room),
      TimestampTzGetDatum(totals.since),
  };
  bool nulls[std::size(values)] = {};
  PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

PGCACHE_FUNCTION(pgcache_rate_limit_stats_reset) {
  using namespace pgcache;
  require_limits();
  limit_table.reset_totals(pg::clock_now());
  PG_RETURN_VOID();
}
