// The one table of counts of the server, in PostgreSQL's shared memory.
//
// A crash of any process makes the postmaster start shared memory afresh: all counts and blocks are gone then. A
// shutdown in order saves them, see saved_limits.hpp.
#pragma once

#include "limits/limit_table.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

// Valid once require_limits has returned.
extern limits::LimitTable limit_table;

void install_shared_limits();

namespace internal {
extern bool limits_are_ready;
void get_limits_ready();
}  // namespace internal

// 55000 with what to do where the module is not preloaded, or of another version than its SQL objects.
inline void require_limits() {
  if (unlikely(!internal::limits_are_ready)) internal::get_limits_ready();
}

// Logs that there was no room, if a minute has gone since the last time in the whole server.
void log_lack_of_room();

}  // namespace pgcache
