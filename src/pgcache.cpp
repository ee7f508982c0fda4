// The module: what it needs at server start. See README.md in this folder for how to read the rest.
#include "cache/dropped_databases.hpp"
#include "cache/publication.hpp"
#include "cache/settings.hpp"
#include "cache/shared_cache.hpp"
#include "fetch/fetch_query.hpp"
#include "fetch/fetch_settings.hpp"
#include "fetch/flights.hpp"
#include "flags/flag_changes.hpp"
#include "flags/flag_settings.hpp"
#include "flags/flag_statistics.hpp"
#include "flags/generations.hpp"
#include "flags/shared_flags.hpp"
#include "limits/limit_settings.hpp"
#include "limits/shared_limits.hpp"
#include "matviews/matview_settings.hpp"
#include "matviews/notifications.hpp"
#include "matviews/refresh_slots.hpp"
#include "matviews/scheduler.hpp"
#include "matviews/statements.hpp"
#include "matviews/write_counts.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/function.hpp"
#include "pg/privilege_hint.hpp"
#include "pg/transactions.hpp"
#include "watches/table_changes.hpp"
#include "worker/worker.hpp"

extern "C" {
#include "utils/guc.h"

PGCACHE_EXPORT const Pg_magic_struct* Pg_magic_func(void);
PGCACHE_MODULE_MAGIC;

PGCACHE_EXPORT void _PG_init(void);
}

void _PG_init(void) {
  pgcache::define_cache_settings();
  pgcache::define_fetch_settings();
  pgcache::define_matview_settings();
  pgcache::define_limit_settings();
  pgcache::define_flag_settings();
  pgcache::pg::define_clock_settings();
  MarkGUCPrefixReserved("pgcache");
  // Loaded later, the module answers every call with what to do about it.
  if (!process_shared_preload_libraries_in_progress) return;
  pgcache::install_shared_cache();
  pgcache::install_flights();
  pgcache::install_fetch_query();
  pgcache::install_dropped_databases();
  pgcache::install_publication();
  pgcache::install_table_changes();
  pgcache::install_shared_limits();
  pgcache::install_shared_flags();
  pgcache::install_generations();
  pgcache::install_flag_changes();
  pgcache::install_flag_statistics();
  pgcache::install_refresh_slots();
  pgcache::install_write_counts();
  pgcache::install_notifications();
  pgcache::install_matview_statements();
  pgcache::pg::install_statement_watch();
  pgcache::pg::install_privilege_hint();
  pgcache::install_worker();
  pgcache::install_scheduler();
}
