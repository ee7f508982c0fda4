// What sessions share about flags: how often they were evaluated, which commits change them just now, and when the log
// was told last that something is wrong. Flags themselves are not shared: each session has its own, see
// generations.hpp.
#pragma once

#include "flags/count_table.hpp"
#include "flags/evaluation.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/snapshot.h"
}

namespace pgcache {

// Valid once require_flags has returned.
extern flags::CountTable flag_count_table;

void install_shared_flags();
bool flags_are_shared();

namespace internal {
extern bool flags_are_ready;
void get_flags_ready();
}  // namespace internal

// 55000 with what to do where the module is not preloaded, or of another version than its SQL objects.
inline void require_flags() {
  if (unlikely(!internal::flags_are_ready)) internal::get_flags_ready();
}

// Commits that change flags: announced before anybody can see them, finished after their messages are in the queue of
// every session. The number is what to finish.
uint32_t announce_flag_change(TransactionId transaction);
void finish_flag_change(uint32_t number);
// Whether the snapshot sees one that is not finished. Of all others that it sees, the messages are in the queue.
bool sees_flag_change_in_flight(Snapshot snapshot);

// Warns that a flag gives its fallback, if a minute has gone since the last time in the whole server. Why one is broken
// is for flag_explain: rules may name people.
void warn_of_fallback(flags::ErrorCode error, std::string_view flag, const char* environment);

}  // namespace pgcache
