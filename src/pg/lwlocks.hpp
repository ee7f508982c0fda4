// The engine's environment in the server: LWLocks and PostgreSQL's keyed hash.
#pragma once

#include "engine/environment.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lwlock.h"
}

namespace pgcache::pg {

// While one of these is held, a query cancel or a termination waits, and nothing may ERROR.
engine::Environment lwlock_environment(LWLockPadded* locks);

// For a process that is alone: the postmaster once all others have ended.
engine::Environment lockless_environment();

}  // namespace pgcache::pg
