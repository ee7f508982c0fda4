#include "cache/visibility.hpp"

#include "cache/misses.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/transam.h"
#include "utils/snapmgr.h"
}

namespace pgcache {

namespace {

// Beyond that, asking the transaction log about each is not worth a hit.
constexpr uint32_t kMostAsked = 64;

struct View {
  Snapshot snapshot;
  engine::SnapshotBounds bounds;
};

engine::SnapshotBounds bounds_of(Snapshot snapshot) {
  // Kept, because most calls come with the same one. After the ids have wrapped around it may be too low, and then
  // nothing is visible that should not be.
  static TransactionId last = InvalidTransactionId;
  static engine::Transaction last_widened = 0;
  if (unlikely(snapshot->xmax != last)) {
    last_widened = pg::widened(snapshot->xmax);
    last = snapshot->xmax;
  }
  return {last_widened - (snapshot->xmax - snapshot->xmin), last_widened};
}

// Nothing for a snapshot that is no ordinary one, or one taken on the standby that this server has been.
std::optional<View> view_of(Snapshot snapshot) {
  if (snapshot == nullptr || snapshot->snapshot_type != SNAPSHOT_MVCC || snapshot->takenDuringRecovery)
    return std::nullopt;
  return View{snapshot, bounds_of(snapshot)};
}

std::optional<View> active_view() { return view_of(ActiveSnapshotSet() ? GetActiveSnapshot() : nullptr); }

// Of the outermost statement, whose rows the value may come from too; nothing if it is the active one.
std::optional<View> outermost_view() {
  const Snapshot outermost = pg::outermost_snapshot();
  if (outermost == nullptr || !engine::holds(engine::Rule::outermost)) return std::nullopt;
  return view_of(outermost);
}

bool none_has_committed(Snapshot snapshot) {
  if (snapshot->xcnt > kMostAsked) return false;
  // They cannot be too old for the log: the snapshot holds it.
  for (uint32_t i = 0; i < snapshot->xcnt; ++i)
    if (TransactionIdDidCommit(snapshot->xip[i])) return false;
  return true;
}

bool sees(const View& view, engine::Transaction done, engine::Transaction blocked) {
  return engine::sees(done, blocked, view.bounds, [&view] { return none_has_committed(view.snapshot); });
}

// Whether none of the slot's pending invalidations has committed. Counts those of prepared transactions that have, and
// takes those out that were rolled back: nobody else will.
bool none_is_due(engine::SlotNumber number, const engine::SlotState& slot) {
  bool due = slot.unlisted;
  for (const engine::Transaction pending : slot.pending) {
    if (pending == 0) continue;
    const engine::Transaction transaction = pending & ~engine::kPrepared;
    const bool prepared = (pending & engine::kPrepared) != 0;
    if (!pg::has_committed(transaction)) {
      if (prepared && pg::has_aborted(transaction)) cache.withdraw(number, pending, true);
      continue;
    }
    // It commits in the log before it leaves those in progress, and only then do snapshots see it.
    if (prepared && !pg::is_in_progress(transaction))
      cache.invalidate(
          {.slot = number, .done = pg::first_not_completed(), .ends_entries = true, .keys = {}, .leaves = pending});
    due = true;
  }
  return !due;
}

// The slot once all that was due is counted; nothing while that is up to somebody else.
std::optional<engine::SlotState> settled_state(engine::SlotNumber number) {
  engine::SlotState slot = cache.slot_state(number);
  if (!slot.is_pending() || !engine::holds(engine::Rule::pending) || none_is_due(number, slot)) return slot;
  slot = cache.slot_state(number);
  if (slot.is_pending() && !none_is_due(number, slot)) return std::nullopt;
  return slot;
}

bool slot_allows(const View& view, engine::SlotNumber number, const engine::SlotState& slot, engine::Version version) {
  if (unlikely(slot.is_pending()) && engine::holds(engine::Rule::pending) && !none_is_due(number, slot)) return false;
  if (version <= slot.floor) return false;
  return !engine::holds(engine::Rule::seen) || sees(view, slot.done, slot.blocked);
}

bool slot_allows(const View& view, engine::SlotNumber number, engine::Version version) {
  return slot_allows(view, number, cache.slot_state(number), version);
}

}  // namespace

bool cache_is_exact() { return !engine::load_relaxed(*internal::standby); }

bool may_take(const engine::Key& key, engine::Version version, const engine::Evidence& evidence) {
  if (unlikely(!cache_is_exact())) return true;
  const std::optional<View> view = active_view();
  if (!view || !slot_allows(*view, cache.slot_number(key.hash), evidence.key, version) ||
      !slot_allows(*view, cache.database_slot(my_database), evidence.database, version))
    return false;
  for (const engine::SlotNumber tag : evidence.tags.span())
    if (!slot_allows(*view, tag, version)) return false;
  return true;
}

void settle(const engine::Key& key, std::span<const uint32_t> tags) {
  if (!cache_is_exact()) return;
  const auto settle_slot = [](engine::SlotNumber number) {
    if (const engine::SlotState slot = cache.slot_state(number); slot.is_pending()) none_is_due(number, slot);
  };
  settle_slot(cache.slot_number(key.hash));
  settle_slot(cache.database_slot(my_database));
  std::for_each(tags.begin(), tags.end(), settle_slot);
}

bool is_due(const engine::Key& key, const engine::Evidence& evidence) {
  const auto due = [](engine::SlotNumber number, const engine::SlotState& slot) {
    return slot.is_pending() && !none_is_due(number, slot);
  };
  const std::span<const uint32_t> tags = evidence.tags.span();
  const engine::SlotNumber database = cache.database_slot(my_database);
  return due(cache.slot_number(key.hash), evidence.key) || due(database, evidence.database) ||
         std::any_of(tags.begin(), tags.end(), [&](uint32_t tag) { return due(tag, cache.slot_state(tag)); });
}

bool nothing_since(uint64_t key_hash, std::span<const uint32_t> tags, engine::Version number) {
  const auto untouched = [number](engine::SlotNumber slot_number) {
    const std::optional<engine::SlotState> slot = settled_state(slot_number);
    return slot && !slot->counting && slot->stamp <= number;
  };
  return untouched(cache.slot_number(key_hash)) && untouched(cache.database_slot(my_database)) &&
         std::all_of(tags.begin(), tags.end(), untouched);
}

engine::Version number_of_miss(engine::Version sequence) {
  if (!cache_is_exact() || !engine::holds(engine::Rule::miss_snapshot)) return sequence;
  const std::optional<View> active = active_view();
  const std::optional<View> outermost = outermost_view();
  const engine::Transaction done = cache.latest_done();
  return active && sees(*active, done, 0) && (!outermost || sees(*outermost, done, 0)) ? sequence : 0;
}

namespace {

// Whose values may come in: the active snapshot's, and the outermost one's if there is another.
struct Sources {
  std::optional<View> active;
  std::optional<View> outermost;

  [[nodiscard]] engine::Transaction first() const {
    return std::min(active->bounds.first, outermost ? outermost->bounds.first : active->bounds.first);
  }
  [[nodiscard]] bool see(const engine::SlotState& slot) const {
    return sees(*active, slot.done, slot.blocked) && (!outermost || sees(*outermost, slot.done, slot.blocked));
  }
};

// Counts whatever nobody has counted yet and may be.
void settle_slot(engine::SlotNumber number, const Sources& sources) {
  const engine::SlotState slot = cache.slot_state(number);
  if (slot.is_pending() && engine::holds(engine::Rule::pending)) none_is_due(number, slot);
  if (slot.blocked != 0 && slot.blocked < sources.first())
    cache.unblock(number, slot.blocked, pg::first_not_completed());
}

bool slot_admits(engine::SlotNumber number, const Sources& sources) {
  const engine::SlotState slot = cache.slot_state(number);
  if (slot.counting) return false;
  if (slot.is_pending() && engine::holds(engine::Rule::pending) && !none_is_due(number, slot)) return false;
  return !engine::holds(engine::Rule::seen_at_fill) || sources.see(slot);
}

bool is_unchanged(engine::SlotNumber number, std::optional<engine::Version> missed_at) {
  if (!missed_at || !engine::holds(engine::Rule::miss_number)) return true;
  const engine::SlotState slot = cache.slot_state(number);
  return !slot.counting && (slot.stamp <= *missed_at || is_own_deletion(number, slot.stamp, *missed_at));
}

// Calls visit(slot) for all that an entry depends on, until it returns false.
template <typename Visit>
bool for_each_slot(const engine::Key& key, const engine::TagSlots& tags, Visit visit) {
  const std::span<const uint32_t> of_tags = tags.span();
  return visit(cache.slot_number(key.hash)) && visit(cache.database_slot(my_database)) &&
         std::all_of(of_tags.begin(), of_tags.end(), visit);
}

}  // namespace

bool may_store(const engine::Key& key, const engine::TagSlots& tags, std::optional<engine::Version> missed_at,
               engine::KnownStamps& known, ValueOf value_of) {
  const bool exact = cache_is_exact();
  Sources sources;
  if (exact) sources = {active_view(), value_of == ValueOf::active_snapshot ? std::nullopt : outermost_view()};
  if (exact && !sources.active) return false;
  // First, because it moves stamps.
  if (exact)
    for_each_slot(key, tags, [&](engine::SlotNumber number) {
      settle_slot(number, sources);
      return true;
    });
  known.key = known.database = cache.sequence();
  std::fill_n(known.tags, tags.count, known.key);
  return for_each_slot(key, tags, [&](engine::SlotNumber number) {
    return is_unchanged(number, missed_at) && (!exact || slot_admits(number, sources));
  });
}

}  // namespace pgcache
