#include "pg/arguments.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace pgcache::pg {

namespace {

const char* text_of(const Interval* interval) {
  return DatumGetCString(DirectFunctionCall1(interval_out, PointerGetDatum(interval)));
}

[[noreturn]] void raise_null(const char* name) {
  ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

}  // namespace

struct varlena* required_varlena(FunctionCallInfo fcinfo, int number, const char* name) {
  if (PG_ARGISNULL(number)) raise_null(name);
  return PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(number));
}

engine::Milliseconds ttl_milliseconds(const Interval* ttl, const char* name) {
  const int infinity = infinity_of(ttl);
  if (infinity > 0) return 0;
  const int64_t days = ttl->day + int64_t{ttl->month} * DAYS_PER_MONTH;
  int64_t microseconds;
  if (pg_mul_s64_overflow(days, USECS_PER_DAY, &microseconds) ||
      pg_add_s64_overflow(microseconds, ttl->time, &microseconds))
    microseconds = days < 0 ? -1 : PG_INT64_MAX - 999;
  if (infinity < 0 || microseconds < 0)
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be negative: %s", name, text_of(ttl))));
  const int64_t milliseconds = (microseconds + 999) / 1000;
  if (milliseconds > engine::kMaxTtl)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("%s must not be over %d days: %s", name, static_cast<int>(engine::kMaxTtl / 86'400'000),
                           text_of(ttl)),
                    errhint("An interval of '0' means that the entry does not expire.")));
  return milliseconds;
}

Elements elements_of(Datum array, Oid element_type, const char* name, bool nulls_allowed) {
  int16 length;
  bool by_value;
  char alignment;
  get_typlenbyvalalign(element_type, &length, &by_value, &alignment);
  Elements elements{};
  deconstruct_array(DatumGetArrayTypeP(array), element_type, length, by_value, alignment, &elements.values,
                    &elements.nulls, &elements.count);
  if (!nulls_allowed)
    for (int i = 0; i < elements.count; ++i)
      if (elements.nulls[i])
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not hold nulls", name),
                        errdetail("Element %d is null.", i + 1)));
  return elements;
}

}  // namespace pgcache::pg
