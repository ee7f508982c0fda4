// Which flags a statement sees: those that its snapshot sees, however often they are asked for.
//
// Contract
//
//  - current_flags() answers for the active snapshot exactly as if it had read the tables with it. A session keeps a
//  few
//    sets of flags (generations) ready, and reads the tables only where none serves the snapshot.
//
//  - A generation serves the snapshot that it was read with. It also serves later ones as long as it is open: nobody
//  has
//    changed a flag since, that this session has heard of.
//
//  - Hearing: a trigger makes the table's relation cache entry invalid before each row is written. PostgreSQL tells
//  this
//    session at the end of the command, every other one after the commit, and takes it back with a rollback. Such a
//    message closes all generations.
//
//  - A generation that is read with an old snapshot must not be open: the message about what it lacks has been heard
//    already. So it is open only if the latest snapshot, taken after all messages were heard, is the same.
//
//  - A commit is visible some moments before its messages are there. Who changes flags announces that before the
//  commit,
//    and finishes it after its messages are sent; meanwhile open generations do not serve snapshots that see it. COMMIT
//    PREPARED and replay on a standby announce nothing: there the gap is left.
//
//  - SERIALIZABLE: each transaction reads the tables itself, so that PostgreSQL knows what was read, and who changes
//  it.
//
//  - Cost: with the snapshot of the call before, a comparison of six numbers; with a new one, two loads of shared
//  memory
//    and a look for messages. Crash: nothing of this is shared but the list of commits in flight, which begins anew.
#pragma once

#include "flags/flag_set.hpp"

namespace pgcache {

// Valid until the next call, or the end of the command. May ERROR as reading tables may.
FlagSet& current_flags();

// The sets that this session keeps; nullptr where there is none.
std::span<FlagSet* const> kept_flags();

void install_generations();

}  // namespace pgcache
