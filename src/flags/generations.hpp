// Which flags a statement sees: those that its snapshot sees, however often they are asked for.
//
// Contract
//
//  - current_flags() answers for the active snapshot exactly as if it had read the tables with it. A session
//    keeps a few sets of flags (generations) ready, and reads the tables only where none serves the snapshot.
//
//  - A generation serves the snapshot that it was read with. It also serves later ones as long as it is open:
//    nobody has changed a flag since, that this session has heard of.
//
//  - Hearing: triggers make the table's relation cache entry invalid with each row that is written. PostgreSQL
//    tells this session at the end of the command, every other one after the commit, and takes it back with a
//    rollback. Such a message closes all generations.
//
//  - A generation that is read with an old snapshot must not be open: the message about what it lacks has been
//    heard already. So it is open only if the snapshot has seen all transactions that there were when a message
//    was heard last, and all that its own has done; or else if the latest snapshot is the same one.
//
//  - A commit is visible some moments before its messages are there. Who changes flags announces that before the
//    commit, and finishes it after its messages are sent; meanwhile open generations do not serve snapshots that
//    see it. COMMIT PREPARED and replay on a standby announce nothing: there the gap is left.
//
//  - SERIALIZABLE: each transaction reads the tables itself, so that PostgreSQL knows what it has read.
//
//  - Cost: with the snapshot of the call before, a comparison of six numbers; with a new one, two loads of shared
//    memory and a look for messages. Crash: only the list of commits in flight is shared, and begins anew.
#pragma once

#include "flags/flag_set.hpp"

namespace pgcache {

// Valid until the next call, or the end of the command. May ERROR as reading tables may.
FlagSet& current_flags();

// Hands on what all sets that this session keeps have counted. Cannot ERROR.
void hand_on_counts_of_all();

void install_generations();

}  // namespace pgcache
