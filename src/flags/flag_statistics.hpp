// Counts of evaluations: kept beside the compiled flag without a lock, and handed on to all at the transaction's end.
#pragma once

#include "flags/flag_set.hpp"

namespace pgcache {

inline void note_counted(FlagSet& set, flags::Flag& flag) {
  if (likely(flag.is_counted)) return;
  flag.is_counted = true;
  set.counted[set.counted_count++] = &flag;
}

inline void count(FlagSet& set, flags::Flag& flag, const flags::Answer& answer) {
  note_counted(set, flag);
  if (unlikely(answer.reason == flags::Reason::error))
    ++flag.counts.fallback;
  else
    ++(answer.is_enabled ? flag.counts.enabled : flag.counts.disabled);
}

inline void count_variant(flags::Variant* variant) {
  if (variant != nullptr) ++variant->evaluations;
}

void count_fallback_without_flag(const FlagSet& set);

// All that a set has counted. Cannot ERROR.
void hand_on_counts(FlagSet& set);

// At the end of each transaction.
void install_flag_statistics();

}  // namespace pgcache
