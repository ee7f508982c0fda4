#include "cache/reading.hpp"

#include "cache/misses.hpp"
#include "cache/own_events.hpp"
#include "cache/settings.hpp"
#include "cache/visibility.hpp"

extern "C" {
#include "access/parallel.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
}

namespace pgcache {

namespace {

// What the next value is expected to need, so that one copy is enough: the size of the last one.
size_t expected_bytes = 256;
constexpr size_t kMostExpected = 64 * 1024;

engine::Buffer room_in(struct varlena* value, size_t bytes) {
  return {reinterpret_cast<std::byte*>(VARDATA(value)), bytes};
}

struct varlena* allocate(size_t bytes) {
  return static_cast<struct varlena*>(palloc(VARHDRSZ + bytes));
}

static_assert((FetchedHeader::kMark & (JB_CMASK | JB_FSCALAR | JB_FOBJECT | JB_FARRAY)) == 0);

// The value alone of what cache_fetch has stored.
FetchedHeader take_header(struct varlena* value, engine::Kind kind) {
  const FetchedHeader header = kind == engine::Kind::json ? FetchedHeader::read(pg::bytes_of(value)) : FetchedHeader{};
  if (header) {
    const size_t bytes = VARSIZE(value) - VARHDRSZ - sizeof header;
    memmove(VARDATA(value), VARDATA(value) + sizeof header, bytes);
    SET_VARSIZE(value, VARHDRSZ + bytes);
  }
  return header;
}

// Reads into memory that is large enough; `accept` has the last word about an entry that is there. Nothing is counted.
template <typename Read, typename Accept>
EntryValue copy_entry(engine::Kinds kinds, Read read, Accept accept) {
  size_t room = expected_bytes;
  struct varlena* value = allocate(room);
  for (;;) {
    const engine::ReadResult result = read(room_in(value, room));
    if (result.status == engine::Status::ok && accept(result.entry)) {
      SET_VARSIZE(value, VARHDRSZ + result.entry.value_bytes);
      expected_bytes = std::clamp<size_t>(std::bit_ceil(result.entry.value_bytes), 64, kMostExpected);
      return {value, result.entry, take_header(value, result.entry.kind)};
    }
    pfree(value);
    if (result.status == engine::Status::wrong_kind && accept(result.entry)) raise_wrong_kind(result.entry.kind, kinds);
    if (result.status != engine::Status::buffer_too_small) {
      engine::EntryInfo miss;
      miss.version = result.status == engine::Status::not_found ? result.entry.version : cache.sequence();
      return {nullptr, miss};
    }
    room = result.entry.value_bytes;
    value = allocate(room);
  }
}

// Where what others have stored is closed to this transaction altogether.
bool shared_is_closed() {
  if (unlikely(IsolationIsSerializable()) && !XactReadOnly && !serializable_reads_setting()) return true;
  return unlikely(IsParallelWorker()) && leader_has_own_events();
}

bool may_see(const engine::Key& key, engine::Version version, const engine::Evidence& evidence) {
  if (have_own_events() && own_invalidation_ends(key, evidence.tags.span())) return false;
  return may_take(key, version, evidence);
}

engine::EntryInfo info_of(const HeldSet& held) {
  engine::EntryInfo info;
  info.kind = held.kind;
  info.value_bytes = held.value_bytes;
  info.size_bytes = held.bytes();
  info.version = held.version;
  info.expires_at = held.expires_at;
  return info;
}

// Whether this transaction may read what it holds: not once its time is over, nor when each statement sees what others
// have committed and that has invalidated it.
bool is_readable(const HeldSet& held, const engine::Key& key, TimestampTz now) {
  if (held.expires_at != 0 && held.expires_at <= pg::for_reading(now)) return false;
  return IsolationUsesXactSnapshot() || nothing_since(key.hash, held.tag_slots(), held.called_at);
}

engine::EntryInfo missed(const engine::Key& key, engine::Version sequence) {
  engine::EntryInfo miss;
  miss.version = number_of_miss(sequence);
  if (!IsParallelWorker()) remember_miss(key, miss.version);
  return miss;
}

// What this transaction has held or deleted itself.
EntryValue read_own(const engine::Key& key, const Own& own, engine::Kinds kinds, TimestampTz now) {
  if (own.state != OwnState::held || !is_readable(*own.held, key, now)) return {nullptr, missed(key, cache.sequence())};
  if ((kinds & engine::only(own.held->kind)) == 0) raise_wrong_kind(own.held->kind, kinds);
  const engine::Bytes bytes = own.held->value();
  struct varlena* value = allocate(bytes.size());
  SET_VARSIZE(value, VARHDRSZ + bytes.size());
  memcpy(VARDATA(value), bytes.data(), bytes.size());
  return {value, info_of(*own.held)};
}

}  // namespace

EntryValue look_up(const engine::Key& key, engine::Kinds kinds, TimestampTz now) {
  EntryValue read{};
  const Own own = own_state_of(key);
  if (unlikely(own.state != OwnState::untouched)) {
    read = read_own(key, own, kinds, now);
  } else {
    if (unlikely(shared_is_closed())) {
      read.entry.version = cache.sequence();
    } else {
      engine::Evidence evidence;
      read = copy_entry(
          kinds, [&](engine::Buffer buffer) { return cache.read(key, pg::for_reading(now), kinds, buffer, &evidence); },
          [&](const engine::EntryInfo& entry) { return may_see(key, entry.version, evidence); });
    }
    if (read.value == nullptr) read.entry = missed(key, read.entry.version);
  }
  return read;
}

EntryValue read_entry(const engine::Key& key, engine::Kinds kinds, TimestampTz now) {
  const EntryValue read = look_up(key, kinds, now);
  count(read.value != nullptr ? &Counts::hits : &Counts::misses);
  return read;
}

namespace {

// The entry, or the sequence at which it was missed.
struct Sight {
  std::optional<engine::EntryInfo> entry;
  engine::Version sequence;
};

Sight see(const engine::Key& key, TimestampTz now) {
  if (have_own_events()) {
    const Own own = own_state(key);
    if (own.state == OwnState::held && is_readable(*own.held, key, now)) return {info_of(*own.held), 0};
    if (own.state != OwnState::untouched) return {std::nullopt, cache.sequence()};
  }
  if (shared_is_closed()) return {std::nullopt, cache.sequence()};
  engine::Evidence evidence;
  const engine::ReadResult found = cache.peek(key, pg::for_reading(now), &evidence);
  if (found.status != engine::Status::ok) return {std::nullopt, found.entry.version};
  if (may_see(key, found.entry.version, evidence)) return {found.entry, 0};
  return {std::nullopt, cache.sequence()};
}

}  // namespace

std::optional<engine::EntryInfo> find_entry(const engine::Key& key, TimestampTz now) {
  const Sight sight = see(key, now);
  if (!sight.entry) missed(key, sight.sequence);
  return sight.entry;
}

bool is_visible(const engine::Key& key) { return see(key, pg::clock_now()).entry.has_value(); }

EntryValue read_shared_entry(const engine::Key& key, engine::Kinds kinds, TimestampTz now) {
  return copy_entry(
      kinds, [&](engine::Buffer buffer) { return cache.read(key, pg::for_reading(now), kinds, buffer); },
      [](const engine::EntryInfo&) { return true; });
}

EntryValue take_entry(const engine::Key& key, engine::Kinds kinds) {
  const engine::Milliseconds now = pg::now_for_reading();
  engine::Evidence evidence;
  const bool over = cache.peek(key, now, &evidence).status == engine::Status::ok && is_due(key, evidence);
  const EntryValue taken = over ? EntryValue{}
                                : copy_entry(
                                      kinds, [&](engine::Buffer buffer) { return cache.take(key, now, kinds, buffer); },
                                      [](const engine::EntryInfo&) { return true; });
  count(taken.value != nullptr ? &Counts::hits : &Counts::misses);
  if (taken.value != nullptr) count(&Counts::deletes);
  return taken;
}

Datum datum_of(const EntryValue& read) {
  if (read.entry.kind != engine::Kind::counter) return PointerGetDatum(read.value);
  int64_t number;
  memcpy(&number, VARDATA(read.value), sizeof number);
  JsonbValue value;
  value.type = jbvNumeric;
  value.val.numeric = int64_to_numeric(number);
  return JsonbPGetDatum(JsonbValueToJsonb(&value));
}

}  // namespace pgcache
