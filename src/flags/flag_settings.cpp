#include "flags/flag_settings.hpp"

#include "pg/function.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
}

namespace pgcache {

namespace {

constexpr size_t kLongestEnvironment = 63;

char* environment = nullptr;
uint32_t changes = 0;

bool check_environment(char** value, void**, GucSource) {
  const size_t bytes = *value == nullptr ? 0 : strlen(*value);
  // What comes with a connection has not been checked by anybody.
  if (bytes >= 1 && bytes <= kLongestEnvironment && pg_verifymbstr(*value, static_cast<int>(bytes), true)) return true;
  GUC_check_errdetail("The name of an environment has 1 to %zu bytes, in the database's encoding.",
                      kLongestEnvironment);
  return false;
}

void note_environment(const char*, void*) { ++changes; }

}  // namespace

void define_flag_settings() {
  DefineCustomStringVariable("pgcache.environment", "The environment whose flags are read and written.", nullptr,
                             &environment, "default", PGC_USERSET, 0, check_environment, note_environment, nullptr);
}

const char* environment_setting() { return environment; }

uint32_t environment_changes() { return changes; }

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_environment) { PG_RETURN_TEXT_P(cstring_to_text(pgcache::environment_setting())); }
