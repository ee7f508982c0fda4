// What has been invalidated: the commit-exact protocol's shared part.
//
// A slot stands for all keys, or tags, whose hash falls on it, and each database has one more; so a question about one
// key may be answered "invalidated" because of another, never the other way by mistake. An entry depends on the slots
// of its key, its tags and its database.
//
// Contract
//  - A transaction announces its invalidations in `pending` (or `unlisted`) before it commits, and counts them after it
//    has ended; one that was prepared is counted by whoever meets its end first.
//  - Counting goes in this order: `counting` is set, a number is taken from the cache's sequence, `done`, `floor` and
//    `stamp` rise, `counting` is cleared, the transaction leaves `pending`. So who took a number of his own before he
//    saw `counting` clear and `stamp` low has a number below that of every count that he did not see: such a count ends
//    what he stores under his number.
//  - A key's deletion takes the entry away and moves `stamp`, in one hold of the lock. What ends for another reason
//  (its
//    tag, its database, a deletion by somebody who does not know the key) ends by `floor`.
//  - A reader copies the entry, and its key's slot under the same lock; it looks at the other slots after that: at
//    `pending` and `unlisted` first, at the rest then. An invalidation that has left `pending` is in the other fields;
//    one that has not joined yet belongs to a transaction that has not committed, and nobody's snapshot sees it.
//  - Numbers only rise. Everything changes under the lock of the slot's shard (or of the databases), and is read
//    without.
#pragma once

#include <algorithm>

#include "rules.hpp"
#include "shared.hpp"
#include "types.hpp"

namespace pgcache::engine {

constexpr uint32_t kListedTransactions = 2;

// Set in a pending transaction's number if it was prepared: it will not count itself.
constexpr Transaction kPrepared = Transaction{1} << 63;

// One cache line.
struct alignas(64) VersionSlot {
  Version stamp;    // the last invalidation: no value computed before it may be stored after it
  Version floor;    // entries up to it are no more
  Version written;  // the last write; of a key's slot
  // Every transaction whose invalidation is counted here was complete when this number was the first that was not: a
  // snapshot that ends above it sees them all.
  Transaction done;
  // A prepared transaction that found no place in `pending`: only snapshots in which it is no longer running may use
  // what depends on the slot.
  Transaction blocked;
  Transaction pending[kListedTransactions];
  uint32_t unlisted;  // transactions that found no place, and will leave by themselves
  uint32_t counting;

  [[nodiscard]] Version changed() const noexcept { return std::max(stamp, written); }
};
static_assert(Shareable<VersionSlot> && sizeof(VersionSlot) == 64);

// Names a slot: those of keys and tags by number, then those of the databases.
using SlotNumber = uint32_t;

// A copy of a slot.
struct SlotState {
  bool counting;
  bool unlisted;
  Transaction pending[kListedTransactions];
  Version stamp;
  Version floor;
  Version written;
  Transaction done;
  Transaction blocked;

  [[nodiscard]] bool is_pending() const noexcept { return (pending[0] | pending[1]) != 0 || unlisted; }
};

// Each field after those that say whether it is on the move.
[[nodiscard]] inline SlotState state_of(const VersionSlot& slot) noexcept {
  SlotState state;
  state.counting = load_acquire(slot.counting) != 0;
  state.unlisted = load_acquire(slot.unlisted) != 0;
  for (uint32_t i = 0; i < kListedTransactions; ++i) state.pending[i] = load_acquire(slot.pending[i]);
  state.stamp = load_acquire(slot.stamp);
  state.floor = load_acquire(slot.floor);
  state.written = load_relaxed(slot.written);
  state.done = load_acquire(slot.done);
  state.blocked = load_acquire(slot.blocked);
  return state;
}

// What an entry depends on, as it was when the entry was copied: its key's slot, which nobody changes without the lock
// that the copy was made under; its database's, looked at before the entry was found valid; and which tags it has.
struct Evidence {
  SlotState key;
  SlotState database;
  TagSlots tags;
};

// What a snapshot knows. Both ends are full transaction ids: all below `first` were complete when it was taken, none
// from `end` on was.
struct SnapshotBounds {
  Transaction first;
  Transaction end;
};

// Whether the snapshot sees every invalidation that is counted in the slot. `none_has_committed` says, of the
// transactions that were running when the snapshot was taken, whether all still are or have aborted; it is asked only
// where the bounds leave it open.
template <typename NoneHasCommitted>
[[nodiscard]] bool sees(Transaction done, Transaction blocked, const SnapshotBounds& snapshot,
                        NoneHasCommitted none_has_committed) {
  if (blocked != 0 && blocked >= snapshot.first) return false;
  if (done < snapshot.end) return true;
  if (done != snapshot.end) return false;
  return !holds(Rule::strict) || none_has_committed();
}

}  // namespace pgcache::engine
