#include "pg/clock.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/guc.h"
}

namespace pgcache::pg {

namespace {

char* test_clock_setting = nullptr;
std::optional<TimestampTz> test_clock;

// Parses without catalogs or ERROR, so that it can run in the postmaster.
bool check_test_clock(char** value, void** extra, GucSource) {
  if (*value == nullptr || **value == '\0') return true;
  TimestampTz parsed = 0;
  bool ok = true;
  MemoryContext caller = CurrentMemoryContext;
  PG_TRY();
  {
    parsed = DatumGetTimestampTz(
        DirectFunctionCall3(timestamptz_in, CStringGetDatum(*value), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(caller);
    FlushErrorState();
    ok = false;
  }
  PG_END_TRY();
  if (!ok || TIMESTAMP_NOT_FINITE(parsed) || parsed <= 0) {
    GUC_check_errdetail("\"%s\" is not a finite timestamp after 2000-01-01.", *value);
    return false;
  }
  *extra = allocate_setting_extra(sizeof(TimestampTz));
  if (*extra == nullptr) return false;
  *static_cast<TimestampTz*>(*extra) = parsed;
  return true;
}

void assign_test_clock(const char*, void* extra) {
  if (extra == nullptr)
    test_clock.reset();
  else
    test_clock = *static_cast<TimestampTz*>(extra);
}

}  // namespace

void define_clock_settings() {
  DefineCustomStringVariable("pgcache.test_clock", "Sets the clock that pgcache goes by, for tests.",
                             "A timestamp; empty: the system's clock.", &test_clock_setting, "", PGC_SUSET, 0,
                             check_test_clock, assign_test_clock, nullptr);
}

TimestampTz clock_now() { return test_clock ? *test_clock : GetCurrentTimestamp(); }

}  // namespace pgcache::pg
