// What ends entries: by key, by pattern, by tag, all. Each is noted as an own event, which happens at the commit. In a
// lone statement it happens at once, and at the commit again if that turns out to write rows.
#include "cache/misses.hpp"
#include "cache/own_events.hpp"
#include "cache/patterns.hpp"
#include "cache/reading.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "storage/ipc.h"
}

namespace pgcache {

namespace {

// A deletion that no transaction stands for: it is exact with whatever has committed before.
engine::Transaction done_before() { return engine::holds(engine::Rule::bare_delete) ? pg::first_not_completed() : 0; }

bool delete_at_once(const engine::Key& key, std::optional<engine::Version> if_version) {
  engine::Counted counted{};
  const bool deleted =
      cache.remove(key, pg::now_for_reading(), if_version, done_before(), &counted) == engine::Status::ok;
  if (counted.number != 0) note_own_deletion(cache.slot_number(key.hash), counted);
  return deleted;
}

bool delete_at_commit(const engine::Key& key, std::optional<engine::Version> if_version) {
  const std::optional<engine::EntryInfo> found = find_entry(key);
  if (if_version && (!found || found->version != *if_version)) return false;
  note_deleted(key);
  return found.has_value();
}

bool delete_key(const engine::Key& key, std::optional<engine::Version> if_version) {
  if (events_are_held()) return delete_at_commit(key, if_version);
  const bool deleted = delete_at_once(key, if_version);
  if (deleted || !if_version) note_deleted(key);
  return deleted;
}

// Calls visit(key) for each shared entry of this database.
template <typename Visit>
void for_each_key(Visit visit) {
  auto* batch = static_cast<engine::ScanBatch*>(palloc(sizeof(engine::ScanBatch)));
  for (engine::ScanCursor cursor; cache.scan(cursor, my_database, pg::now_for_reading(), *batch);) {
    CHECK_FOR_INTERRUPTS();
    for (uint32_t i = 0; i < batch->count; ++i) visit(batch->key(batch->entries[i]));
  }
  pfree(batch);
}

int64_t delete_matching_at_once(const text* pattern) {
  // Values that are being computed for keys that match must not be stored; which those are nobody knows.
  cache.fence_database(my_database, done_before());
  int64_t deleted = 0;
  for_each_key([&](std::string_view key) {
    if (matches_pattern(pattern, key)) deleted += delete_at_once(cache.key(my_database, key), std::nullopt);
  });
  return deleted;
}

struct HeldKeys {
  const text* pattern;
  int64_t count;
};

int64_t delete_matching_at_commit(const text* pattern) {
  int64_t found = 0;
  for_each_key([&](std::string_view name) {
    if (!matches_pattern(pattern, name)) return;
    const engine::Key key = cache.key(my_database, name);
    if (own_state_of(key).state == OwnState::untouched && is_visible(key)) ++found;
  });
  HeldKeys held{pattern, 0};
  visit_held(
      [](const HeldSet& set, void* argument) {
        auto& keys = *static_cast<HeldKeys*>(argument);
        if (!matches_pattern(keys.pattern, set.key())) return;
        ++keys.count;
        note_deleted(cache.key(my_database, set.key()));
      },
      &held);
  return found + held.count;
}

void clearing_ends(int, Datum database) {
  engine::add_relaxed(reinterpret_cast<engine::Database*>(DatumGetPointer(database))->clearing, UINT32_MAX);
}

int64_t clear_at_once() {
  // The worker, which sweeps what nobody else does, keeps away meanwhile: the entries are counted here.
  engine::Database& database = cache.database(my_database);
  volatile uint64_t total = 0;
  engine::add_relaxed(database.clearing, 1);
  PG_ENSURE_ERROR_CLEANUP(clearing_ends, PointerGetDatum(&database));
  {
    // From here on nobody reads an older entry; the rest counts them and takes their memory back.
    const engine::Version floor = cache.slot_state(cache.database_slot(my_database)).floor;
    cache.invalidate_database(my_database, done_before());
    uint64_t dropped = 0;
    for (engine::ScanCursor cursor; cache.sweep_database(cursor, my_database, pg::now_for_reading(), dropped, floor);) {
      total = dropped;
      CHECK_FOR_INTERRUPTS();
    }
  }
  PG_END_ENSURE_ERROR_CLEANUP(clearing_ends, PointerGetDatum(&database));
  clearing_ends(0, PointerGetDatum(&database));
  return static_cast<int64_t>(total);
}

int64_t clear_at_commit() {
  int64_t found = 0;
  for_each_key([&](std::string_view name) {
    const engine::Key key = cache.key(my_database, name);
    if (own_state_of(key).state == OwnState::untouched && is_visible(key)) ++found;
  });
  visit_held([](const HeldSet&, void* count) { ++*static_cast<int64_t*>(count); }, &found);
  return found;
}

}  // namespace

}  // namespace pgcache

// (key, if_version)
PGCACHE_FUNCTION(pgcache_delete) {
  using namespace pgcache;
  require_cache();
  require_writer();
  const engine::Key key = required_key(fcinfo, 0);
  std::optional<engine::Version> if_version;
  if (!PG_ARGISNULL(1)) if_version = static_cast<engine::Version>(PG_GETARG_INT64(1));
  const bool deleted = delete_key(key, if_version);
  if (deleted) count(&Counts::deletes);
  PG_RETURN_BOOL(deleted);
}

// (keys)
PGCACHE_FUNCTION(pgcache_delete_many) {
  using namespace pgcache;
  require_cache();
  require_writer();
  if (PG_ARGISNULL(0)) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("keys must not be null")));
  const pg::Elements keys = pg::elements_of(PG_GETARG_DATUM(0), TEXTOID, "keys", false);
  for (int i = 0; i < keys.count; ++i) checked_key(DatumGetTextPP(keys.values[i]));
  int64_t deleted = 0;
  for (int i = 0; i < keys.count; ++i) deleted += delete_key(checked_key(DatumGetTextPP(keys.values[i])), std::nullopt);
  count(&Counts::deletes, deleted);
  PG_RETURN_INT64(deleted);
}

// (pattern)
PGCACHE_FUNCTION(pgcache_delete_matching) {
  using namespace pgcache;
  require_cache();
  require_writer();
  const struct varlena* pattern = pg::required_varlena(fcinfo, 0, "pattern");
  check_pattern(pattern);
  const int64_t deleted = events_are_held() ? delete_matching_at_commit(pattern) : delete_matching_at_once(pattern);
  note_pattern(pattern);
  count(&Counts::deletes, deleted);
  PG_RETURN_INT64(deleted);
}

PGCACHE_FUNCTION(pgcache_clear) {
  using namespace pgcache;
  require_cache();
  require_writer();
  const int64_t dropped = events_are_held() ? clear_at_commit() : clear_at_once();
  note_cleared();
  count(&Counts::deletes, dropped);
  PG_RETURN_INT64(dropped);
}

// (tags)
PGCACHE_FUNCTION(pgcache_invalidate) {
  using namespace pgcache;
  require_cache();
  require_writer();
  if (PG_ARGISNULL(0)) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("tags must not be null")));
  const TagHashes tags = tag_hashes(PG_GETARG_DATUM(0));
  const bool held = events_are_held();
  for (uint32_t i = 0; i < tags.count; ++i) {
    const engine::SlotNumber slot = cache.tag_slot_number(tags.hashes[i]);
    if (!held) cache.invalidate({.slot = slot, .done = done_before(), .ends_entries = true});
    note_invalidated(slot);
  }
  PG_RETURN_INT64(tags.count);
}
