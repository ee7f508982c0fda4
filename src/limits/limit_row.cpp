#include "limits/limit_row.hpp"

#include "pg/rows.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

constexpr int kColumns = 9;

TupleDesc row_type() {
  static TupleDesc type = nullptr;
  constexpr pg::Column kAll[kColumns] = {{"allowed", BOOLOID},         {"quota", INT8OID},
                                         {"remaining", INT8OID},       {"retry_after", INTERVALOID},
                                         {"reset_after", INTERVALOID}, {"retry_after_ms", INT8OID},
                                         {"reset_after_ms", INT8OID},  {"blocked_until", TIMESTAMPTZOID},
                                         {"reason", TEXTOID}};
  if (unlikely(type == nullptr)) type = pg::permanent_row_type(kAll);
  return type;
}

const char* name_of(limits::Reason reason) {
  switch (reason) {
    case limits::Reason::none:
      return nullptr;
    case limits::Reason::limit_exceeded:
      return "limit_exceeded";
    case limits::Reason::blocked:
      return "blocked";
    case limits::Reason::quota_is_zero:
      return "quota_is_zero";
    case limits::Reason::cost_exceeds_limit:
      return "cost_exceeds_limit";
    case limits::Reason::memory_full:
      return "memory_full";
  }
  return nullptr;
}

Interval interval_of(int64_t microseconds) {
  Interval interval{};
  interval.time = microseconds;
  return interval;
}

int64_t milliseconds_of(int64_t microseconds) { return microseconds / 1000 + (microseconds % 1000 > 0 ? 1 : 0); }

}  // namespace

Datum limit_row(const limits::Verdict& verdict, int64_t quota) {
  const bool never = verdict.retry_after == limits::kNever;
  const char* reason = name_of(verdict.reason);
  Interval retry = interval_of(verdict.retry_after);
  Interval reset = interval_of(verdict.reset_after);
  Datum values[kColumns] = {
      BoolGetDatum(verdict.allowed),
      Int64GetDatum(quota),
      Int64GetDatum(verdict.remaining),
      IntervalPGetDatum(&retry),
      IntervalPGetDatum(&reset),
      Int64GetDatum(milliseconds_of(verdict.retry_after)),
      Int64GetDatum(milliseconds_of(verdict.reset_after)),
      TimestampTzGetDatum(verdict.blocked_until),
      reason != nullptr ? CStringGetTextDatum(reason) : Datum{0},
  };
  bool nulls[kColumns] = {
      false, false, false, never, false, never, false, verdict.blocked_until == 0, reason == nullptr};
  return HeapTupleGetDatum(heap_form_tuple(row_type(), values, nulls));
}

}  // namespace pgcache
