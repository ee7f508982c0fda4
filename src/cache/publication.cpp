// The end of a transaction: its invalidations are announced before the commit and counted after it, and then its held
// sets are published. The protocol is that of engine/versions.hpp; this is its writing side.
//
// Contract
//  - All that may fail comes before the commit: the plan is made, its memory taken, patterns are matched. After it
//  there
//    is only shared memory: an ERROR there would be a PANIC.
//  - An invalidated key, tag or database is pending from before the commit until it is counted, so no reader who sees
//    the commit takes what it ended, however long this process is not scheduled in between.
//  - A transaction without an id has changed nothing; it only deletes, and stores what it has computed.
//  - A crash between commit and count empties the cache with all other shared memory.
#include "cache/publication.hpp"

#include "cache/misses.hpp"
#include "cache/own_events.hpp"
#include "cache/shared_cache.hpp"
#include "pg/clock.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/memutils.h"
}

namespace pgcache {

namespace {

// After the commit, how often to come back while other writers hold the memory.
constexpr int kAttempts = 16;

// One slot, with those of its keys that are deleted and not set anew.
struct PlannedSlot {
  engine::SlotNumber slot;
  uint32_t first_key;
  uint32_t keys;
  bool ends_entries;
  bool chosen;  // who runs this transaction has deleted those keys himself
  bool announced;
  bool listed;
  engine::Counted counted;
};

// Its arrays live as long as the own events. The slots are in ascending order, and so are the keys by slot.
struct Plan {
  engine::Transaction transaction;  // 0: none
  engine::Transaction announced_as;
  PlannedSlot* slots;
  uint32_t count;
  uint64_t* keys;
  engine::Version gap_from;  // when the patterns were matched; 0: there are none
  bool publishes;
} plan;

// An invalidation on its way into the plan.
struct Step {
  engine::SlotNumber slot;
  bool ends_entries;
  bool deletes_key;
  bool chosen;
  uint64_t key;
};

struct Steps {
  Step* steps;
  size_t count;
  size_t room;
};

// A few need no memory of their own.
constexpr size_t kFewSteps = 16;
Step few_steps[kFewSteps];
PlannedSlot few_slots[kFewSteps];
uint64_t few_keys[kFewSteps];

template <typename T>
T* allocate(size_t count) {
  return static_cast<T*>(MemoryContextAllocHuge(own_events_context(), count * sizeof(T)));
}

void add(Steps& steps, const Step& step) {
  if (steps.count == steps.room) {
    Step* more = allocate<Step>(steps.room * 2);
    std::copy_n(steps.steps, steps.count, more);
    if (steps.steps != few_steps) pfree(steps.steps);
    steps.steps = more;
    steps.room *= 2;
  }
  steps.steps[steps.count++] = step;
}

void add_slot(engine::SlotNumber slot, void* steps) {
  add(*static_cast<Steps*>(steps),
      {.slot = slot, .ends_entries = true, .deletes_key = false, .chosen = true, .key = 0});
}

void add_key(Steps& steps, uint64_t key_hash, bool deletes, bool chosen = true) {
  add(steps, {.slot = cache.slot_number(key_hash),
              .ends_entries = false,
              .deletes_key = deletes,
              .chosen = chosen,
              .key = key_hash});
}

// The keys that the patterns match now. What comes while and after this looks is younger than plan.gap_from, and ends
// with the count.
void add_matching(Steps& steps) {
  auto* batch = allocate<engine::ScanBatch>(1);
  const engine::Milliseconds now = pg::now_for_reading();
  for (engine::ScanCursor cursor; cache.scan(cursor, my_database, now, *batch);) {
    CHECK_FOR_INTERRUPTS();
    for (uint32_t i = 0; i < batch->count; ++i) {
      const std::string_view key = batch->key(batch->entries[i]);
      if (own_pattern_matches(key, plan.transaction != 0)) add_key(steps, cache.key(my_database, key).hash, true);
    }
  }
}

// So that this gap and one before it are not made one, with all that was stored between them.
void close_old_gap() {
  const engine::Version gap_to = engine::load_acquire(cache.database(my_database).gap_to);
  if (gap_to == 0) return;
  uint64_t dropped = 0;
  for (engine::ScanCursor cursor; cache.sweep_database(cursor, my_database, pg::now_for_reading(), dropped);)
    CHECK_FOR_INTERRUPTS();
  cache.close_gap(my_database, gap_to);
}

void add_event(Steps& steps, uint32_t number) {
  const std::optional<OwnEvent> event = own_event(number);
  const bool wrote = plan.transaction != 0;
  if (!event || (event->early && !wrote)) return;
  if (own_clear() && !(event->kind == EventKind::held && is_still_held(number))) return;
  switch (event->kind) {
    case EventKind::held:
      plan.publishes |= is_still_held(number);
      if ((wrote && engine::holds(engine::Rule::publish_count)) || event->deletes)
        add_key(steps, event->key_hash, !is_still_held(number));
      break;
    case EventKind::deleted:
      add_key(steps, event->key_hash, true);
      break;
    case EventKind::outdated:
      if (wrote) add_key(steps, event->key_hash, true, false);
      break;
    case EventKind::tag:
      add_slot(event->slot, &steps);
      break;
    case EventKind::pattern:
      if (plan.gap_from == 0) {
        close_old_gap();
        plan.gap_from = cache.sequence();
        add(steps, {.slot = cache.database_slot(my_database),
                    .ends_entries = false,
                    .deletes_key = false,
                    .chosen = true,
                    .key = 0});
        add_matching(steps);
      }
      break;
    case EventKind::clear:  // an early one
      add_slot(cache.database_slot(my_database), &steps);
      break;
  }
}

bool is_before(const Step& one, const Step& other) {
  return one.slot != other.slot ? one.slot < other.slot : one.key < other.key;
}

void arrange(Steps& steps) {
  std::sort(steps.steps, steps.steps + steps.count,
            [](const Step& one, const Step& other) { return is_before(one, other); });
  const bool few = steps.count <= kFewSteps;
  plan.slots = few ? few_slots : allocate<PlannedSlot>(steps.count);
  plan.keys = few ? few_keys : allocate<uint64_t>(steps.count);
  uint32_t keys = 0;
  for (size_t i = 0; i < steps.count; ++i) {
    const Step& step = steps.steps[i];
    if (plan.count == 0 || plan.slots[plan.count - 1].slot != step.slot) {
      PlannedSlot& next = plan.slots[plan.count++] = PlannedSlot{};
      next.slot = step.slot;
      next.first_key = keys;
      next.chosen = true;
    }
    PlannedSlot& its = plan.slots[plan.count - 1];
    its.ends_entries |= step.ends_entries;
    its.chosen &= step.chosen;
    if (!step.deletes_key || (its.keys > 0 && plan.keys[keys - 1] == step.key)) continue;
    plan.keys[keys++] = step.key;
    ++its.keys;
  }
  // One hold of a lock takes so many; where there are more, their neighbours go with them.
  for (uint32_t i = 0; i < plan.count; ++i)
    if (plan.slots[i].keys > engine::kMaxKeysPerInvalidation) plan.slots[i].ends_entries = true;
}

void announce() {
  for (uint32_t i = 0; i < plan.count; ++i) {
    plan.slots[i].listed = cache.announce(plan.slots[i].slot, plan.announced_as);
    plan.slots[i].announced = true;
  }
}

void withdraw() {
  for (uint32_t i = 0; i < plan.count; ++i)
    if (plan.slots[i].announced) cache.withdraw(plan.slots[i].slot, plan.announced_as, plan.slots[i].listed);
  plan.announced_as = 0;
}

void make_plan(engine::Transaction transaction, bool is_prepared) {
  plan = Plan{};
  plan.transaction = transaction;
  Steps steps{few_steps, 0, kFewSteps};
  for (uint32_t i = 0; i < own_event_count(); ++i) add_event(steps, i);
  if (own_clear())
    add_slot(cache.database_slot(my_database), &steps);
  else
    visit_invalidated_slots(add_slot, &steps, transaction != 0);
  // What comes in the gap could not be told from other entries later on.
  if (is_prepared && plan.gap_from != 0) add_slot(cache.database_slot(my_database), &steps);
  arrange(steps);
  if (transaction == 0) return;
  plan.announced_as = is_prepared ? transaction | engine::kPrepared : transaction;
  announce();
}

// ---- after the commit: nothing below may ERROR or allocate
// ------------------------------------------------------------

engine::Transaction done_now() {
  if (plan.transaction == 0) return engine::holds(engine::Rule::bare_delete) ? pg::first_not_completed() : 0;
  return engine::holds(engine::Rule::latest) ? pg::first_not_completed() : plan.transaction + 1;
}

std::span<const uint64_t> keys_of(const PlannedSlot& slot) {
  if (slot.keys > engine::kMaxKeysPerInvalidation) return {};
  return {plan.keys + slot.first_key, slot.keys};
}

void count_all() {
  const engine::Transaction done = done_now();
  // Counted and taken out of what is pending in one hold, unless held sets are to be published in between.
  const engine::Transaction leaves = plan.publishes ? 0 : plan.announced_as;
  for (uint32_t i = 0; i < plan.count; ++i) {
    PlannedSlot& its = plan.slots[i];
    const bool is_database = its.slot == cache.database_slot(my_database);
    its.counted = cache.invalidate({.slot = its.slot,
                                    .done = done,
                                    .ends_entries = its.ends_entries,
                                    .keys = keys_of(its),
                                    .leaves = leaves,
                                    .was_listed = its.listed,
                                    .gap_from = is_database ? plan.gap_from : 0});
    if (its.keys > 0 && its.chosen) note_own_deletion(its.slot, its.counted);
  }
  if (leaves != 0) plan.announced_as = 0;
}

const PlannedSlot* planned(engine::SlotNumber slot) {
  const PlannedSlot* first = plan.slots;
  const PlannedSlot* end = first + plan.count;
  const PlannedSlot* at =
      std::lower_bound(first, end, slot, [](const PlannedSlot& one, engine::SlotNumber it) { return one.slot < it; });
  return at != end && at->slot == slot ? at : nullptr;
}

// The last invalidation of the slot that the held set may have behind it: this transaction's own, if nobody else's came
// in between.
engine::Version known_stamp(engine::SlotNumber slot, const HeldSet& held) {
  const PlannedSlot* own = planned(slot);
  if (own == nullptr) return held.called_at;
  return own->counted.found <= held.called_at ? own->counted.number : 0;
}

engine::WriteResult write(const HeldSet& held, const engine::Key& key) {
  engine::KnownStamps known;
  known.key = known_stamp(cache.slot_number(key.hash), held);
  known.database = known_stamp(cache.database_slot(my_database), held);
  for (uint32_t i = 0; i < held.tags; ++i) known.tags[i] = known_stamp(held.slots[i], held);
  engine::WriteRequest request;
  request.kind = held.kind;
  request.value = held.value();
  request.expiry = held.expires_at == 0 ? engine::Expiry::never() : engine::Expiry::when(held.expires_at);
  request.mode = held.mode;
  request.if_version = held.if_version;
  request.unwritten_since = held.unwritten_since;
  request.tags = held.tag_slots();
  if (engine::holds(engine::Rule::publish_check)) request.known = &known;
  engine::WriteResult result{engine::Status::busy, 0};
  for (int attempt = 0; attempt < kAttempts && result.status == engine::Status::busy; ++attempt) {
    if (attempt > 0) pg_usleep(1000);
    result = cache.write(key, request, pg::now_for_reading());
  }
  return result;
}

void publish(const HeldSet& held, bool deletes) {
  const engine::Key key = cache.key(my_database, held.key());
  const engine::Status status = write(held, key).status;
  if (status == engine::Status::ok) {
    count(&Counts::sets);
    return;
  }
  count(&Counts::dropped);
  // Somebody else was first, and this transaction has written nothing that his entry would be older than.
  if (status == engine::Status::refused && plan.transaction == 0 && !deletes) return;
  if (!engine::holds(engine::Rule::publish_count)) return;
  // What stands there is older than what was to be published.
  cache.invalidate({.slot = cache.slot_number(key.hash), .done = done_now(), .keys = std::span(&key.hash, 1)});
}

void publish_all() {
  for (uint32_t i = 0; i < own_event_count(); ++i) {
    const std::optional<OwnEvent> event = own_event(i);
    if (event && event->kind == EventKind::held && is_still_held(i)) publish(*event->held, event->deletes);
  }
}

void end() {
  plan = Plan{};
  forget_refusals();
  forget_own_events();
}

void committed() {
  count_all();
  if (plan.publishes) {
    publish_all();
    withdraw();
  }
}

void drop_held(const HeldSet&, void*) { count(&Counts::dropped); }

void transaction_ends(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_PRE_COMMIT:
      if (have_own_events()) make_plan(pg::my_transaction(), false);
      close_own_events();
      break;
    case XACT_EVENT_PRE_PREPARE:
      if (have_own_events()) make_plan(pg::make_my_transaction(), true);
      close_own_events();
      break;
    case XACT_EVENT_COMMIT:
      if (have_own_events()) committed();
      end();
      break;
    case XACT_EVENT_PREPARE:
      visit_held(drop_held, nullptr);
      end();
      break;
    case XACT_EVENT_ABORT:
      if (plan.announced_as != 0) withdraw();
      end();
      break;
    default:
      break;
  }
}

void subtransaction_ends(SubXactEvent event, SubTransactionId subtransaction, SubTransactionId, void*) {
  if (event == SUBXACT_EVENT_ABORT_SUB) roll_back_own_events(subtransaction);
}

}  // namespace

void install_publication() {
  RegisterXactCallback(transaction_ends, nullptr);
  RegisterSubXactCallback(subtransaction_ends, nullptr);
}

}  // namespace pgcache
