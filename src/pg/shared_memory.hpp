// Pieces of PostgreSQL's shared memory, one for each part of pgcache that needs some.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "storage/lwlock.h"
}

namespace pgcache::pg {

struct SharedMemory {
  const char* name;  // also of its locks' tranche
  size_t (*bytes)();
  int (*locks)();
  // In the postmaster, before any other process is there: at the server's start and after a crash, with memory of
  // unknown content. Where each process runs the module's start itself, also in those, with is_new false.
  void (*start)(void* memory, LWLockPadded* locks, bool is_new);
};

// To be called while libraries are preloaded; `part` must stay.
void install_shared_memory(const SharedMemory& part);

}  // namespace pgcache::pg
