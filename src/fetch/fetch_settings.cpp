#include "fetch/fetch_settings.hpp"

#include <climits>

#include "pg/postgres.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgcache {

namespace {

int wait_milliseconds = 5000;

}  // namespace

void define_fetch_settings() {
  DefineCustomIntVariable("pgcache.fetch_wait", "How long cache_fetch waits for another session that runs the query.",
                          "Then it runs the query itself. 0 means that it does not wait.", &wait_milliseconds, 5000, 0,
                          INT_MAX, PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
}

long fetch_wait_setting() { return wait_milliseconds; }

}  // namespace pgcache
