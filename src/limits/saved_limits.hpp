// Counts outlive a restart: the postmaster writes the table's memory to a file once all other processes have ended in
// order, and the next start reads it and removes it. (One that fails writes it again.) It is believed only if
// pg_control is as it was, so that no crash and no copy brings an old count back; one that is damaged, or of another
// size or layout, is discarded. Waits for no disk: who loses power then loses the counts.
#pragma once

#include "engine/types.hpp"

namespace pgcache {

void save_limits(engine::Buffer memory);

// False, with the memory's content undefined, if there is nothing to be loaded.
bool load_limits(engine::Buffer memory);

}  // namespace pgcache
