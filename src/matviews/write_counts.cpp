#include "matviews/write_counts.hpp"

#include "engine/shared.hpp"
#include "pg/compat.hpp"
#include "pg/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "common/hashfn.h"
#include "pgstat.h"
}

namespace pgcache {

namespace {

constexpr uint32_t kPlaces = 32'768;  // in a row
constexpr uint32_t kDatabasePlaces = 1024;
constexpr uint32_t kViewPlaces = 4096;

// All relaxed: a count is read long before or after what it counts.
struct Counts {
  uint64_t life;
  bool settled;
  bool wanted[kDatabasePlaces];          // by databases; stays true
  uint64_t unknown[kDatabasePlaces];     // by databases
  uint64_t writes[kWriteRows][kPlaces];  // by databases and relations
  uint64_t refreshes[kViewPlaces];       // by databases and views
};

Counts* counts = nullptr;
// Of this transaction.
bool commits_unknown = false;
bool relations_are_known = false;
constexpr int kMostRefreshed = 16;
Oid refreshed_views[kMostRefreshed];
int refreshed_count = 0;

void start(void* memory, LWLockPadded*, bool is_new) {
  counts = static_cast<Counts*>(memory);
  if (!is_new) return;
  memset(static_cast<void*>(counts), 0, sizeof(Counts));
  if (!pg_strong_random(&counts->life, sizeof counts->life))
    ereport(FATAL, (errmsg("could not generate random numbers")));
}

constexpr pg::SharedMemory kSharedMemory = {
    .name = "pgcache_write_counts", .bytes = [] { return sizeof(Counts); }, .locks = [] { return 0; }, .start = start};

uint32_t database_place() { return murmurhash32(MyDatabaseId) % kDatabasePlaces; }

uint32_t hash_of(Oid relation) { return hash_combine(murmurhash32(MyDatabaseId), murmurhash32(relation)); }

uint64_t& writes_place(Oid relation, int row) {
  return counts->writes[row][murmurhash32(hash_of(relation) + static_cast<uint32_t>(row)) % kPlaces];
}

uint64_t& refreshes_place(Oid view) { return counts->refreshes[hash_of(view) % kViewPlaces]; }

// Whoever finds it settled finds what was wanted by then.
bool is_wanted() {
  return OidIsValid(MyDatabaseId) &&
         (!engine::load_acquire(counts->settled) || engine::load_relaxed(counts->wanted[database_place()]));
}

void count_one(uint64_t& place) { engine::add_relaxed(place, 1); }

void count_relations() {
  // What outlives a restart must not be behind.
  pgstat_force_next_flush();
  pg::visit_written_relations([](Oid relation) {
    for (int row = 0; row < kWriteRows; ++row) count_one(writes_place(relation, row));
  });
}

void count_transaction() {
  if (!is_wanted()) return;
  const bool has_written = TransactionIdIsValid(GetTopTransactionIdIfAny());
  const bool is_known = pgstat_track_counts && relations_are_known;
  if (commits_unknown || (has_written && !is_known)) count_one(counts->unknown[database_place()]);
  for (int i = 0; i < refreshed_count; ++i) count_one(refreshes_place(refreshed_views[i]));
  if (has_written && relations_are_known) count_relations();
}

void forget() {
  commits_unknown = false;
  relations_are_known = false;
  refreshed_count = 0;
}

// After the commit nothing may be allocated: what is visited then is made before, in each transaction, because one can
// get an id later than our callback.
void at_end(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
    case XACT_EVENT_PRE_PREPARE:
      if (!is_wanted()) break;
      pg::visit_written_relations([](Oid) {});
      relations_are_known = true;
      break;
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_PREPARE:
      count_transaction();
      forget();
      break;
    case XACT_EVENT_ABORT:
      forget();
      break;
    default:
      break;
  }
}

}  // namespace

void install_write_counts() {
  pg::install_shared_memory(kSharedMemory);
  RegisterXactCallback(at_end, nullptr);
}

uint64_t writes_of(Oid relation, int row) { return engine::load_relaxed(writes_place(relation, row)); }

uint64_t refreshes_by_hand(Oid view) { return engine::load_relaxed(refreshes_place(view)); }

uint64_t unknown_writes() { return engine::load_relaxed(counts->unknown[database_place()]); }

uint64_t life_of_write_counts() { return counts->life; }

void count_writes() { engine::store_relaxed(counts->wanted[database_place()], true); }

void settle_write_counts() { engine::store_release(counts->settled, true); }

void count_refresh_at_commit(Oid view) {
  if (refreshed_count < kMostRefreshed)
    refreshed_views[refreshed_count++] = view;
  else
    commits_unknown = true;
}

}  // namespace pgcache
