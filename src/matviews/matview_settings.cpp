#include "matviews/matview_settings.hpp"

#include <climits>

#include "matviews/refresh_slots.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgcache {

namespace {

int max_refresh_workers = 2;
int lock_timeout_milliseconds = 1000;
int timeout_seconds = 3600;
int retention_minutes = 7 * 24 * 60;

}  // namespace

void define_matview_settings() {
  DefineCustomIntVariable("pgcache.max_refresh_workers", "How many materialized views are refreshed at a time.",
                          "In all databases together. 0 means that no schedule runs.", &max_refresh_workers, 2, 0,
                          kRefreshSlots, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgcache.refresh_lock_timeout", "How long a refresh waits for a lock.",
                          "Whoever reads the view waits behind it. 0 means that it waits without end.",
                          &lock_timeout_milliseconds, 1000, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS, nullptr, nullptr,
                          nullptr);
  DefineCustomIntVariable("pgcache.refresh_timeout", "How long a scheduled refresh may take.",
                          "Unless its schedule has a timeout. 0 means without end.", &timeout_seconds, 3600, 0,
                          INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("pgcache.history_retention", "How long matview_history keeps a run.",
                          "The last one of each schedule is kept for longer.", &retention_minutes, 7 * 24 * 60, 0,
                          INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, nullptr, nullptr, nullptr);
}

int max_refresh_workers_setting() { return max_refresh_workers; }
int refresh_lock_timeout_setting() { return lock_timeout_milliseconds; }
int64_t refresh_timeout_setting() { return int64_t{timeout_seconds} * 1000; }
int64_t history_retention_setting() { return int64_t{retention_minutes} * 60 * 1'000'000; }

}  // namespace pgcache
