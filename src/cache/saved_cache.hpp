// A warm restart: a clean shutdown saves the cache, the next start loads it in the background.
//
// Contract: no entry comes back that the database has left behind. The worker writes the entries when it is told to
// stop; other backends may go on committing meanwhile. When all of them have ended and the shutdown checkpoint is
// written, the postmaster adds a seal: what pg_control says, and what has changed in each version slot since the worker
// began. A start believes the file only if pg_control still says exactly that and nobody asks for recovery; so a start
// without pgcache, a restored backup, a promotion or a stop cut short make it worthless. Entries of a slot that changed
// after the worker began are left out. The file is removed before its first entry is loaded, so that no crash can bring
// it back.
//
//   file = header, entries, trailer (by the worker); seal (by the postmaster)
#pragma once

#include "engine/cache.hpp"
#include "pg/control_file.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

struct SavedCacheState {
  // Of the file that the worker wrote in this life of the server.
  bool written;
  engine::Version begun_at;  // the cache's sequence when writing began
  uint64_t bytes;            // header, entries and trailer
  uint32_t crc;              // of them
  // Of the file that this start may load.
  bool loadable;
  bool loading;       // relaxed
  bool stop_loading;  // relaxed; set by DROP DATABASE, which then waits for `loading` to end
};

// In the worker. Problems are logged, never raised.
void save_cache(SavedCacheState& state);
void load_cache(SavedCacheState& state);

// In the postmaster, when nobody else runs.
void seal_saved_cache(const SavedCacheState& state, const engine::Cache& cache);
// In the postmaster at start: where the cache's last life ended, if the file is to be believed; a file that is not is
// removed.
struct SavedLife {
  engine::Version sequence;
  uint64_t secret;  // with the same one, tags find the same slots
};
std::optional<SavedLife> believable_saved_cache();

}  // namespace pgcache
