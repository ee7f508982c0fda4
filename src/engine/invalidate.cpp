// Invalidation: the protocol of versions.hpp, on the side that writes the slots.
#include "internal.hpp"

namespace pgcache::engine {

namespace {

// Only under the slot's lock.
template <typename Number>
void raise(Number& field, Number number) noexcept {
  if (field < number) store_release(field, number);
}

// Of many slots at once: no lock guards it.
void raise_shared(Transaction& field, Transaction number) noexcept {
  auto shared = atomic(field);
  Transaction seen = shared.load(std::memory_order_relaxed);
  while (seen < number && !shared.compare_exchange_weak(seen, number, std::memory_order_release)) {
  }
}

void leave(VersionSlot& slot, Transaction transaction, bool was_listed) noexcept {
  if (!was_listed) {
    // One that was prepared has blocked the slot instead.
    if ((transaction & kPrepared) == 0) store_release(slot.unlisted, slot.unlisted - 1);
    return;
  }
  for (Transaction& pending : slot.pending)
    if (pending == transaction) store_release(pending, 0);
}

}  // namespace

uint32_t Cache::lock_of(SlotNumber slot) const noexcept {
  return slot < slot_count() ? slot / geometry_.slots_per_shard : geometry_.shards;
}

VersionSlot& Cache::version_slot(SlotNumber slot) const noexcept {
  return slot < slot_count() ? slots_[slot] : databases_[slot - slot_count()].slot;
}

SlotState Cache::slot_state(SlotNumber slot) const noexcept { return state_of(version_slot(slot)); }

Transaction Cache::latest_done() const noexcept { return load_acquire(header_->latest_done); }

bool Cache::join(VersionSlot& slot, Transaction transaction) noexcept {
  for (Transaction& pending : slot.pending)
    if (pending == 0) {
      store_release(pending, transaction);
      return true;
    }
  if ((transaction & kPrepared) == 0) {
    store_release(slot.unlisted, slot.unlisted + 1);
    return false;
  }
  // Nobody could count it later. What is stored from here on knows how it ended.
  raise(slot.blocked, transaction & ~kPrepared);
  count(slot, 0, true);
  return false;
}

Counted Cache::count(VersionSlot& slot, Transaction done, bool ends_entries) noexcept {
  store_release(slot.counting, slot.counting + 1);
  raise_shared(header_->latest_done, done);
  const Counted counted{slot.stamp, next_version()};
  raise(slot.done, done);
  if (ends_entries && holds(Rule::stamp)) raise(slot.floor, counted.number);
  raise(slot.stamp, counted.number);
  store_release(slot.counting, slot.counting - 1);
  return counted;
}

// Gaps that are open at the same time become one. One that the floor has passed is over.
Counted Cache::count_gap(Database& database, const Invalidation& invalidation) noexcept {
  VersionSlot& slot = database.slot;
  store_release(slot.counting, slot.counting + 1);
  const Counted counted = count(slot, invalidation.done, invalidation.ends_entries);
  const bool alone = database.gap_to <= slot.floor;
  if (alone || invalidation.gap_from < database.gap_from) store_relaxed(database.gap_from, invalidation.gap_from);
  store_release(database.gap_to, counted.number);
  store_release(slot.counting, slot.counting - 1);
  return counted;
}

bool Cache::announce(SlotNumber slot, Transaction transaction) noexcept {
  const Hold hold(*this, lock_of(slot), true);
  return join(version_slot(slot), transaction);
}

void Cache::withdraw(SlotNumber slot, Transaction transaction, bool was_listed) noexcept {
  const Hold hold(*this, lock_of(slot), true);
  leave(version_slot(slot), transaction, was_listed);
}

Counted Cache::invalidate(const Invalidation& invalidation) noexcept {
  const uint32_t lock = lock_of(invalidation.slot);
  const Hold hold(*this, lock, true);
  VersionSlot& slot = version_slot(invalidation.slot);
  const Counted counted = invalidation.gap_from != 0
                              ? count_gap(databases_[invalidation.slot - slot_count()], invalidation)
                              : count(slot, invalidation.done, invalidation.ends_entries);
  for (const uint64_t key : invalidation.keys) {
    const Found found = find_hashed(static_cast<uint16_t>(lock), key);
    if (found && holds(Rule::stamp)) erase(static_cast<uint16_t>(lock), found, HashParts{key}, Loss::replaced);
  }
  if (invalidation.leaves != 0) leave(slot, invalidation.leaves, invalidation.was_listed);
  return counted;
}

Version Cache::slot_changed(SlotNumber slot) const noexcept {
  const Hold hold(*this, lock_of(slot), false);
  const VersionSlot& its = version_slot(slot);
  const bool quiet =
      its.unlisted == 0 && std::all_of(std::begin(its.pending), std::end(its.pending), [](auto it) { return it == 0; });
  return quiet ? its.changed() : kMaxVersion;
}

Counted Cache::invalidate_database(uint16_t database, Transaction done) noexcept {
  return invalidate({.slot = database_slot(database), .done = done, .ends_entries = true, .keys = {}});
}

Counted Cache::fence_database(uint16_t database, Transaction done) noexcept {
  return invalidate({.slot = database_slot(database), .done = done, .keys = {}});
}

void Cache::unblock(SlotNumber slot, Transaction blocked, Transaction done) noexcept {
  const Hold hold(*this, lock_of(slot), true);
  VersionSlot& its = version_slot(slot);
  if (its.blocked != blocked) return;
  // Misses that came before do not know how it ended.
  count(its, done, false);
  store_release(its.blocked, 0);
}

void Cache::close_gap(uint16_t database, Version gap_to) noexcept {
  const Hold hold(*this, geometry_.shards, true);
  Database& its = databases_[database];
  if (its.gap_to == gap_to) store_release(its.gap_to, 0);
}

}  // namespace pgcache::engine
