// The misses of this backend: a value that it stores under a key must not have been invalidated since its first miss of
// the key that no set has followed. Of several, the first counts: the value may have
// been computed after any.
//
// Remembered are the last kMost to twice as many; a set of a key whose miss is forgotten is judged by its snapshot
// alone. A key that the backend itself has deleted since is no reason to refuse its set: who deletes and sets it means
// just that.
#pragma once

#include "engine/cache.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

void remember_miss(const engine::Key& key, engine::Version number);
// Again, after a set that was refused for it: until the next miss or the transaction's end.
void remember_refused(const engine::Key& key, engine::Version number);
void forget_refusals();
// Forgets it.
std::optional<engine::Version> take_miss(const engine::Key& key);

// These allocate nothing.
void note_own_deletion(engine::SlotNumber slot, const engine::Counted& counted);
// Whether the slot's stamp is of this backend's own deletions, with nobody else's between them and `since`. May forget,
// and say no.
bool is_own_deletion(engine::SlotNumber slot, engine::Version stamp, engine::Version since);

}  // namespace pgcache
