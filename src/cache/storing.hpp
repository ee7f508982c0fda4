// Storing entries: at once, or held until the transaction commits. All of it may ERROR.
#pragma once

#include "cache/entries.hpp"

namespace pgcache {

struct SetRequest {
  engine::Key key{};
  engine::Kind kind = engine::Kind::bytes;
  engine::Bytes value;
  engine::Expiry expiry;
  engine::WriteMode mode = engine::WriteMode::always;
  std::optional<engine::Version> if_version;
  engine::TagSlots tags;
  bool immediate = false;
};

// False if mode or if_version said no, or if the value may be out of date.
bool set_entry(const SetRequest& request, TimestampTz now);

// At once and without that last test; waits while other writers hold the memory.
engine::Status write_at_once(const engine::Key& key, const engine::WriteRequest& request, TimestampTz now);

// Gives what this transaction holds under the key another end; false if it holds nothing there.
bool touch_held(const engine::Key& key, engine::Milliseconds expires_at);

}  // namespace pgcache
