#include "cache/own_events.hpp"

#include "cache/patterns.hpp"
#include "cache/settings.hpp"
#include "cache/shared_cache.hpp"
#include "pg/compat.hpp"
#include "pg/transactions.hpp"

extern "C" {
#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
}

namespace pgcache {

namespace {

// What an event is about, as a key of the table: without padding.
enum class Subject : uint64_t { key, tag, pattern, database };
struct Name {
  uint64_t id;  // a key's hash, a tag's slot, a pattern's number
  Subject subject;
};

constexpr int32_t kNothing = -1;
// More of them are as good as a clear.
constexpr uint32_t kMostPatterns = 64;

struct Event {
  Name name;
  EventKind kind;
  bool deletes;     // the key, if only before it is set anew
  bool early;       // has happened already, and counts again at the commit of a transaction that has an id by then
  bool superseded;  // by another on the same subject, in an inner subtransaction
  SubTransactionId subtransaction;
  int32_t previous;  // on the same subject, in an outer subtransaction
  uint64_t order;
  HeldSet* held;
  struct varlena* pattern;
};

// So many are looked through one by one; a table of more is made when they come.
constexpr uint32_t kFewEvents = 16;
Event few_events[kFewEvents];

struct NotedSlot {
  engine::SlotNumber slot;
  uint64_t order;
};

// What a held set costs beside its own bytes: its place in the log, which grows by doubling, and in the table.
constexpr size_t kEventBytes = 2 * sizeof(Event) + 64;

// With what the allocator adds.
uint64_t cost_of(HeldSet* held) { return GetMemoryChunkSpace(held) + kEventBytes; }

MemoryContext context = nullptr;
bool closed = false;

// What is more than a few lies in `context`.
struct Events {
  Event* log;  // in the order of time; of several on a subject the last one counts
  uint32_t count;
  uint32_t room;
  // Of each subject, where its latest event is in the log: linear probing over twice the log's room. The log grows and
  // shrinks at its end only, and so an entry that leaves is the last that has come.
  int32_t* latest;
  HTAB* slots;       // NotedSlot; null until it is needed
  uint64_t orders;   // given out
  uint64_t held;     // order of the latest held set
  uint64_t cleared;  // order of the clear that invalidations beyond all bounds have made; 0: none
  bool more_early;   // early events that found no room
  uint32_t bounded;  // events that count towards kMostInvalidations
  uint32_t patterns;
  uint32_t pattern_events[kMostPatterns];  // where they are in the log, which they leave from its end
  uint64_t held_bytes;
} events;

HTAB* new_slot_table() {
  HASHCTL control{};
  control.keysize = sizeof(engine::SlotNumber);
  control.entrysize = sizeof(NotedSlot);
  control.hcxt = context;
  return hash_create("pgcache own slots", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void begin() {
  if (closed)
    ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
                    errmsg("cannot change the cache while the transaction is being committed")));
  if (internal::own_events) return;
  if (context == nullptr)
    context = AllocSetContextCreate(TopMemoryContext, "pgcache transaction", ALLOCSET_DEFAULT_SIZES);
  events = Events{};
  events.log = few_events;
  events.room = kFewEvents;
  internal::own_events = true;
  show_own_events(true);
}

bool same(const Name& one, const Name& other) { return one.id == other.id && one.subject == other.subject; }

uint32_t hash_of(const Name& name) {
  return murmurhash32(static_cast<uint32_t>(name.id ^ name.id >> 32) + static_cast<uint32_t>(name.subject));
}

// The place of the subject's latest event, or the free one where it would be. Only where there is a table.
int32_t& place_of(const Name& name) {
  const uint32_t mask = 2 * events.room - 1;
  uint32_t at = hash_of(name) & mask;
  while (events.latest[at] != kNothing && !same(events.log[events.latest[at]].name, name)) at = (at + 1) & mask;
  return events.latest[at];
}

// The number of the last event on the subject, or kNothing.
int32_t find(const Name& name) {
  if (events.latest != nullptr) return place_of(name);
  for (auto i = static_cast<int32_t>(events.count); i-- > 0;)
    if (same(events.log[i].name, name)) return i;
  return kNothing;
}

// Nothing for an early one: it has nothing to hide from this transaction.
const Event* latest_on(const Name& name) {
  const int32_t latest = find(name);
  return latest == kNothing || events.log[latest].early ? nullptr : &events.log[latest];
}

bool is_bounded(EventKind kind) { return kind != EventKind::held && kind != EventKind::clear; }

void release(Event& event) {
  if (event.held != nullptr) {
    events.held_bytes -= cost_of(event.held);
    pfree(event.held);
  }
  if (event.pattern != nullptr) pfree(event.pattern);
  if (event.kind == EventKind::pattern) --events.patterns;
  if (is_bounded(event.kind)) --events.bounded;
  event.held = nullptr;
  event.pattern = nullptr;
}

void make_table() {
  const size_t places = size_t{2} * events.room;
  if (events.latest != nullptr) pfree(events.latest);
  events.latest = nullptr;
  auto* table = static_cast<int32_t*>(MemoryContextAllocHuge(context, places * sizeof(int32_t)));
  std::fill_n(table, places, kNothing);
  events.latest = table;
  for (uint32_t i = 0; i < events.count; ++i) place_of(events.log[i].name) = static_cast<int32_t>(i);
}

void make_room() {
  if (events.count < events.room) return;
  const size_t bytes = events.room * size_t{2} * sizeof(Event);
  if (events.log == few_events) {
    auto* log = static_cast<Event*>(MemoryContextAlloc(context, bytes));
    std::copy_n(few_events, events.count, log);
    events.log = log;
  } else {
    events.log = static_cast<Event*>(repalloc_huge(events.log, bytes));
  }
  events.room *= 2;
  make_table();
}

// Takes the place of an event of the same subtransaction on the same subject; others come back when this one is rolled
// back. All that may ERROR comes first.
Event& add(const Name& name, EventKind kind) {
  make_room();
  const SubTransactionId subtransaction = GetCurrentSubTransactionId();
  int32_t at = find(name);
  if (at != kNothing && events.log[at].subtransaction == subtransaction) {
    release(events.log[at]);
  } else {
    if (at != kNothing) events.log[at].superseded = true;
    Event& fresh = events.log[events.count] = Event{};
    fresh.name = name;
    fresh.previous = at;
    at = static_cast<int32_t>(events.count);
    if (events.latest != nullptr) place_of(name) = at;
    ++events.count;
  }
  Event& event = events.log[at];
  event.kind = kind;
  event.deletes = kind == EventKind::deleted;
  event.early = !events_are_held();
  event.subtransaction = subtransaction;
  event.order = ++events.orders;
  if (is_bounded(kind)) ++events.bounded;
  return event;
}

// Where so many slots go, with what others have there, the rest of the database does not matter.
long most_noted_slots() { return std::min<long>(kMostInvalidations, static_cast<long>(cache.slot_count() / 4)); }

void note_slot(engine::SlotNumber slot) {
  if (!events_are_held()) {
    events.more_early = true;
    return;
  }
  if (events.cleared != 0) {
    events.cleared = ++events.orders;
    return;
  }
  if (events.slots == nullptr) events.slots = new_slot_table();
  bool found = false;
  auto* noted = static_cast<NotedSlot*>(hash_search(events.slots, &slot, HASH_ENTER, &found));
  noted->order = ++events.orders;
  if (hash_get_num_entries(events.slots) > most_noted_slots()) events.cleared = ++events.orders;
}

const NotedSlot* noted(engine::SlotNumber slot) {
  if (events.slots == nullptr) return nullptr;
  return static_cast<NotedSlot*>(hash_search(events.slots, &slot, HASH_FIND, nullptr));
}

// Where there is no more room for events, a new subject's slot is noted instead.
void note(const Name& name, EventKind kind, engine::SlotNumber slot) {
  begin();
  if (events.bounded >= kMostInvalidations && find(name) == kNothing)
    note_slot(slot);
  else
    add(name, kind);
}

uint64_t cleared_at() {
  const Event* clear = latest_on({0, Subject::database});
  return std::max(clear == nullptr ? 0 : clear->order, events.cleared);
}

// Whether a tag or the whole database was invalidated after that.
bool ended_since(uint64_t order, std::span<const uint32_t> tags) {
  if (cleared_at() > order) return true;
  return std::any_of(tags.begin(), tags.end(), [order](uint32_t slot) {
    const Event* event = latest_on({slot, Subject::tag});
    const NotedSlot* in_general = noted(slot);
    return (event != nullptr && event->order > order) || (in_general != nullptr && in_general->order > order);
  });
}

bool is_live(const Event& event) {
  return event.kind == EventKind::held && !ended_since(event.order, event.held->tag_slots());
}

bool is_latest(uint32_t number) { return !events.log[number].superseded; }

Name name_of(const engine::Key& key) { return {key.hash, Subject::key}; }

[[noreturn]] void raise_too_much(uint64_t wanted) {
  ereport(
      ERROR,
      (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
       errmsg("sets that wait for the commit of this transaction would take %llu bytes, the limit is %llu",
              static_cast<unsigned long long>(wanted), static_cast<unsigned long long>(transaction_memory_setting())),
       errhint("Commit more often, raise pgcache.transaction_memory, or store at once with immediate => true.")));
}

}  // namespace

namespace internal {
bool own_events = false;
}

bool events_are_held() {
  return IsTransactionBlock() || TransactionIdIsValid(GetTopTransactionIdIfAny()) || pg::statement_writes();
}

Own own_state(const engine::Key& key) {
  const Event* event = latest_on(name_of(key));
  if (event == nullptr) return {OwnState::untouched, nullptr};
  if (is_live(*event) && event->held->key() == key.bytes) return {OwnState::held, event->held};
  return {OwnState::gone, nullptr};
}

bool own_invalidation_ends(const engine::Key& key, std::span<const uint32_t> tags) {
  return noted(cache.slot_number(key.hash)) != nullptr || ended_since(0, tags) || own_pattern_matches(key.bytes, false);
}

bool own_pattern_matches(std::string_view key, bool with_early) {
  for (uint32_t i = 0; i < events.patterns; ++i)
    if (const Event& event = events.log[events.pattern_events[i]];
        (!event.early || with_early) && matches_pattern(event.pattern, key))
      return true;
  return false;
}

void hold_set(const engine::Key& key, const HeldSet& like, engine::Bytes value, std::span<const uint32_t> tags) {
  begin();
  const size_t bytes = sizeof(HeldSet) + tags.size_bytes() + key.bytes.size() + value.size();
  const Event* replaced = latest_on(name_of(key));
  const uint64_t given_back =
      replaced != nullptr && replaced->held != nullptr && replaced->subtransaction == GetCurrentSubTransactionId()
          ? cost_of(replaced->held)
          : 0;
  // Before there is memory taken for it, as far as that can be known.
  if (events.held_bytes - given_back + bytes > transaction_memory_setting())
    raise_too_much(events.held_bytes - given_back + bytes);
  auto* held = static_cast<HeldSet*>(MemoryContextAllocHuge(context, bytes));
  const uint64_t wanted = events.held_bytes - given_back + cost_of(held);
  if (wanted > transaction_memory_setting()) {
    pfree(held);
    raise_too_much(wanted);
  }
  memcpy(static_cast<void*>(held), &like, sizeof like);
  held->key_bytes = static_cast<uint32_t>(key.bytes.size());
  held->value_bytes = static_cast<uint32_t>(value.size());
  held->tags = static_cast<uint32_t>(tags.size());
  if (!tags.empty()) memcpy(held->slots, tags.data(), tags.size_bytes());
  char* to = const_cast<char*>(held->key_at());
  memcpy(to, key.bytes.data(), key.bytes.size());
  if (!value.empty()) memcpy(to + key.bytes.size(), value.data(), value.size());
  const Event* before = latest_on(name_of(key));
  const bool deletes = before != nullptr && before->deletes;
  Event& event = add(name_of(key), EventKind::held);
  event.held = held;
  event.deletes = deletes;
  events.held = event.order;
  events.held_bytes += cost_of(held);
}

void note_deleted(const engine::Key& key) { note(name_of(key), EventKind::deleted, cache.slot_number(key.hash)); }

void note_outdated(const engine::Key& key) {
  const Event* before = internal::own_events ? latest_on(name_of(key)) : nullptr;
  // What was held before is older still. A deletion stays one.
  const bool deletes = before != nullptr && before->deletes;
  note(name_of(key), deletes ? EventKind::deleted : EventKind::outdated, cache.slot_number(key.hash));
}

void note_invalidated(engine::SlotNumber tag) { note({tag, Subject::tag}, EventKind::tag, tag); }

void note_pattern(const struct varlena* pattern) {
  begin();
  if (events.patterns >= kMostPatterns || events.bounded >= kMostInvalidations) {
    note_cleared();
    return;
  }
  const size_t bytes = VARSIZE_ANY(pattern);
  auto* copy = static_cast<struct varlena*>(MemoryContextAlloc(context, bytes));
  memcpy(static_cast<void*>(copy), pattern, bytes);
  add({events.orders, Subject::pattern}, EventKind::pattern).pattern = copy;
  events.pattern_events[events.patterns++] = events.count - 1;
}

void note_cleared() {
  begin();
  add({0, Subject::database}, EventKind::clear);
}

void visit_held(void (*visit)(const HeldSet& held, void* argument), void* argument) {
  const uint32_t count = internal::own_events ? events.count : 0;
  for (uint32_t i = 0; i < count; ++i)
    if (is_latest(i) && is_live(events.log[i])) visit(*events.log[i].held, argument);
}

uint32_t own_event_count() { return internal::own_events ? events.count : 0; }

std::optional<OwnEvent> own_event(uint32_t number) {
  if (!is_latest(number)) return std::nullopt;
  const Event& event = events.log[number];
  return OwnEvent{event.kind, event.name.id, static_cast<engine::SlotNumber>(event.name.id),
                  event.held, event.deletes, event.early};
}

bool own_clear() { return cleared_at() != 0; }

bool everything_is_invalidated() { return internal::own_events && cleared_at() > events.held; }

bool is_still_held(uint32_t number) { return is_live(events.log[number]); }

void visit_invalidated_slots(void (*visit)(engine::SlotNumber slot, void* argument), void* argument, bool with_early) {
  if (events.cleared != 0 || (events.more_early && with_early)) {
    visit(cache.database_slot(my_database), argument);
    return;
  }
  if (events.slots == nullptr) return;
  HASH_SEQ_STATUS status;
  hash_seq_init(&status, events.slots);
  while (auto* slot = static_cast<NotedSlot*>(hash_seq_search(&status))) visit(slot->slot, argument);
}

void roll_back_own_events(SubTransactionId subtransaction) {
  if (!internal::own_events) return;
  while (events.count > 0 && events.log[events.count - 1].subtransaction >= subtransaction) {
    Event& last = events.log[--events.count];
    release(last);
    if (last.previous != kNothing) events.log[last.previous].superseded = false;
    if (events.latest != nullptr) place_of(last.name) = last.previous;
  }
}

void close_own_events() { closed = true; }

void forget_own_events() {
  closed = false;
  if (!internal::own_events) return;
  internal::own_events = false;
  show_own_events(false);
  events = Events{};
  MemoryContextReset(context);
}

MemoryContext own_events_context() { return context; }

}  // namespace pgcache
