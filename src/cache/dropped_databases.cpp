#include "cache/dropped_databases.hpp"

#include "cache/saved_cache.hpp"
#include "cache/shared_cache.hpp"
#include "pg/clock.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
}

namespace pgcache {

namespace {

object_access_hook_type previous_hook = nullptr;

// One transaction drops one database: DROP DATABASE runs in none that does more.
Oid dropped = InvalidOid;
bool extension_dropped = false;

void note_drop(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void* argument) {
  if (previous_hook != nullptr) previous_hook(access, class_id, object_id, sub_id, argument);
  if (access != OAT_DROP) return;
  if (class_id == DatabaseRelationId) dropped = object_id;
  if (class_id == ExtensionRelationId && sub_id == 0) {
    const char* name = get_extension_name(object_id);
    if (name != nullptr && strcmp(name, "pgcache") == 0) extension_dropped = true;
  }
}

// A load in the background would bring entries of the database back.
void stop_loading() {
  SavedCacheState& saved = saved_cache_state();
  engine::store_relaxed(saved.stop_loading, true);
  while (engine::load_relaxed(saved.loading)) pg_usleep(1000);
}

// After the commit: nothing in here may ERROR, and nobody is connected to the database any more.
void forget_dropped(XactEvent event, void*) {
  if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT) return;
  const Oid database = std::exchange(dropped, InvalidOid);
  // The worker sweeps what it ends. That a savepoint may have taken the drop back costs only entries.
  if (std::exchange(extension_dropped, false) && event == XACT_EVENT_COMMIT)
    if (const std::optional<uint16_t> number = cache.find_database(MyDatabaseId))
      cache.invalidate_database(*number, pg::first_not_completed());
  if (event == XACT_EVENT_ABORT || database == InvalidOid) return;
  stop_loading();
  const std::optional<uint16_t> number = cache.find_database(database);
  if (!number) return;
  cache.invalidate_database(*number);
  uint64_t count = 0;
  for (engine::ScanCursor cursor; cache.sweep_database(cursor, *number, pg::now_for_reading(), count);) {
  }
  statistics_forget(shared_statistics(), *number);
  cache.forget_database(*number);
}

}  // namespace

void install_dropped_databases() {
  previous_hook = object_access_hook;
  object_access_hook = note_drop;
  RegisterXactCallback(forget_dropped, nullptr);
}

}  // namespace pgcache
