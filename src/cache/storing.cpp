#include "cache/storing.hpp"

#include "cache/misses.hpp"
#include "cache/own_events.hpp"
#include "cache/reading.hpp"
#include "cache/visibility.hpp"

namespace pgcache {

namespace {

// The miss stays remembered: the value is no better if it is offered once more.
bool refuse(const engine::Key& key, std::optional<engine::Version> missed_at) {
  if (missed_at) remember_refused(key, *missed_at);
  count(&Counts::refused);
  return false;
}

engine::WriteRequest shared_form(const SetRequest& request) {
  engine::WriteRequest write;
  write.kind = request.kind;
  write.value = request.value;
  write.expiry = request.expiry;
  write.mode = request.mode;
  write.if_version = request.if_version;
  write.tags = request.tags.span();
  return write;
}

bool store_at_once(const SetRequest& request, const engine::KnownStamps* known,
                   std::optional<engine::Version> missed_at, TimestampTz now) {
  engine::WriteRequest write = shared_form(request);
  write.known = known;
  engine::Status status = write_at_once(request.key, write, now);
  // What stands there may be over for every reader, and only nobody has met its end yet.
  if (status == engine::Status::refused && request.mode == engine::WriteMode::if_absent &&
      !find_entry(request.key, now)) {
    take_miss(request.key);  // the one that this look has made
    status = write_at_once(request.key, write, now);
  }
  if (status == engine::Status::outdated) return refuse(request.key, missed_at);
  return status == engine::Status::ok;
}

// Nobody has written the key since that miss, and nothing it depends on was invalidated.
bool still_missing(const SetRequest& request, engine::Version missed_at) {
  const engine::SlotState slot = cache.slot_state(cache.slot_number(request.key.hash));
  return missed_at <= cache.sequence() && std::max(slot.stamp, slot.written) <= missed_at;
}

bool mode_allows(engine::WriteMode mode, bool exists) {
  return mode == engine::WriteMode::always || (mode == engine::WriteMode::if_present) == exists;
}

// What must be so at the commit: of the first conditional set under the key, unless one without a condition follows, or
// this transaction has deleted the key before.
void set_condition(HeldSet& like, const SetRequest& request, const Own& own, bool exists) {
  like.mode = engine::WriteMode::always;
  if (request.mode == engine::WriteMode::always && !request.if_version) return;
  if (own.state == OwnState::held) {
    like.mode = own.held->mode;
    like.if_version = own.held->if_version;
    like.unwritten_since = own.held->unwritten_since;
  } else if (own.state == OwnState::untouched) {
    like.mode = request.mode;
    if (request.if_version && exists) like.if_version = request.if_version;
    if (request.if_version && !exists) {
      like.mode = engine::WriteMode::if_absent;
      like.unwritten_since = like.called_at;
    }
  }
}

engine::Milliseconds end_of(const engine::Expiry& expiry, const std::optional<engine::EntryInfo>& existing) {
  if (expiry.rule == engine::Expiry::Rule::keep && existing) return existing->expires_at;
  return expiry.rule == engine::Expiry::Rule::never ? 0 : expiry.at;
}

bool hold(const SetRequest& request, std::optional<engine::Version> missed_at, TimestampTz now) {
  const std::optional<engine::EntryInfo> existing = find_entry(request.key, now);
  const Own own = own_state_of(request.key);
  if (!existing) take_miss(request.key);  // the one that this look has made
  // Then it is no set, and says nothing about what stands there: it may be somebody else's lock.
  if (!mode_allows(request.mode, existing.has_value()) ||
      (request.if_version && existing && existing->version != *request.if_version))
    return false;
  if (request.if_version && !existing) missed_at = request.if_version;
  HeldSet like{};
  engine::KnownStamps known;
  const bool stale = (request.if_version && !existing && !still_missing(request, *missed_at)) ||
                     !may_store(request.key, request.tags, missed_at, known);
  if (stale) {
    note_outdated(request.key);
    return refuse(request.key, missed_at);
  }
  like.kind = request.kind;
  like.expires_at = end_of(request.expiry, existing);
  like.version = cache.next_version();
  like.called_at = known.key;
  set_condition(like, request, own, existing.has_value());
  hold_set(request.key, like, request.value, request.tags.span());
  return true;
}

}  // namespace

engine::Status write_at_once(const engine::Key& key, const engine::WriteRequest& request, TimestampTz now) {
  for (;;) {
    const engine::Status status = cache.write(key, request, pg::for_reading(now)).status;
    if (status == engine::Status::ok) count(&Counts::sets);
    if (status != engine::Status::busy) return status;
    wait_a_little();
  }
}

bool set_entry(const SetRequest& request, TimestampTz now) {
  const std::optional<engine::Version> missed_at = take_miss(request.key);
  if (request.immediate) {
    settle(request.key, request.tags.span());
    return store_at_once(request, nullptr, std::nullopt, now);
  }
  if (events_are_held()) return hold(request, missed_at, now);
  engine::KnownStamps known;
  if (!may_store(request.key, request.tags, request.if_version ? std::nullopt : missed_at, known))
    return refuse(request.key, missed_at);
  return store_at_once(request, &known, missed_at, now);
}

bool touch_held(const engine::Key& key, engine::Milliseconds expires_at) {
  const Own own = own_state(key);
  if (own.state != OwnState::held) return false;
  // A copy: the set that this takes the place of is freed.
  const engine::Bytes value = own.held->value();
  auto* bytes = static_cast<std::byte*>(palloc(std::max<size_t>(value.size(), 1)));
  memcpy(bytes, value.data(), value.size());
  engine::TagSlots tags;
  tags.count = own.held->tags;
  std::copy_n(own.held->slots, tags.count, tags.slots);
  HeldSet like{};
  memcpy(static_cast<void*>(&like), own.held, sizeof like);
  like.expires_at = expires_at;
  hold_set(key, like, {bytes, value.size()}, tags.span());
  pfree(bytes);
  return true;
}

}  // namespace pgcache
