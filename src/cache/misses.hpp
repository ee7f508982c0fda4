// The misses of this backend: a value that it stores under a key must not have been invalidated since its last miss of
// the key.
//
// Remembered are the last kMost to twice as many; a set of a key whose miss is forgotten is judged by its snapshot
// alone.
#pragma once

#include "engine/cache.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

// `unless_known`: an earlier one stands.
void remember_miss(const engine::Key& key, engine::Version number, bool unless_known);
// Forgets it.
std::optional<engine::Version> take_miss(const engine::Key& key);
// The backend itself has invalidated the key: that is nothing that its next set would not know of. Allocates nothing.
void renew_miss(uint64_t key_hash, const engine::Counted& counted);

}  // namespace pgcache
