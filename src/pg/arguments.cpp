#include "pg/arguments.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace pgcache::pg {

const char* text_of(const Interval* interval) {
  return DatumGetCString(DirectFunctionCall1(interval_out, PointerGetDatum(interval)));
}

void require_not_null(FunctionCallInfo fcinfo, int number, const char* name) {
  if (unlikely(PG_ARGISNULL(number)))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

struct varlena* required_varlena(FunctionCallInfo fcinfo, int number, const char* name) {
  require_not_null(fcinfo, number, name);
  return PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(number));
}

const char* beginning_of(std::string_view text) {
  return pnstrdup(text.data(), pg_mbcliplen(text.data(), static_cast<int>(text.size()), 64));
}

std::string_view checked_key(const struct varlena* text, const char* what) {
  const std::string_view bytes = view_of(text);
  if (unlikely(bytes.empty()))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be empty: ''", what)));
  if (unlikely(bytes.size() > engine::kMaxKeyBytes))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("%s is %zu bytes long, the limit is %zu", what, bytes.size(), engine::kMaxKeyBytes),
                    errdetail("The key begins with \"%s\".", beginning_of(bytes)),
                    errhint("Use a hash of the long part, such as md5().")));
  return bytes;
}

int64_t microseconds_of(const Interval* interval) {
  const int infinity = infinity_of(interval);
  if (infinity != 0) return infinity > 0 ? PG_INT64_MAX : PG_INT64_MIN;
  const int64_t days = interval->day + int64_t{interval->month} * DAYS_PER_MONTH;
  int64_t microseconds;
  if (pg_mul_s64_overflow(days, USECS_PER_DAY, &microseconds) ||
      pg_add_s64_overflow(microseconds, interval->time, &microseconds))
    return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
  return microseconds;
}

engine::Milliseconds ttl_milliseconds(const Interval* ttl, const char* name) {
  if (infinity_of(ttl) > 0) return 0;
  const int64_t microseconds = microseconds_of(ttl);
  if (microseconds < 0)
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must not be negative: %s", name, text_of(ttl))));
  const int64_t milliseconds = microseconds / 1000 + (microseconds % 1000 > 0 ? 1 : 0);
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
