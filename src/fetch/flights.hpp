// One fill at a time: of those who miss a key at once, one takes off and runs the query, the others wait until it
// lands.
//
// Contract
//  - Of one name there is at most one flight in the air in the whole server.
//  - Whoever took off lands it, however his query ends: by ERROR, cancellation or the end of his process. A crash
//  starts
//    shared memory anew.
//  - Waiting can be cancelled, and takes no longer than its deadline: a circle of flights and locks ends by itself.
//  - One lock guards the table; it is held for a look at kProbes places, and nothing else is taken under it.
//  - The memory is fixed: kFlightsPerBackend places of 64 bytes for each backend that the server allows. Where all
//  places of
//    a name are taken, its callers fly alone.
#pragma once

#include "engine/types.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

constexpr int kFlightsPerBackend = 4;

struct FlightName {
  uint64_t key;  // hash
  Oid role;      // InvalidOid: of all who share
  bool operator==(const FlightName&) const = default;
};

enum class Landing : uint8_t {
  stored,      // the value is in the cache
  not_stored,  // the query failed, or the value was out of date when it came: the next one takes off
  not_cached,  // such a value never gets into the cache: all go for themselves
};

// A place in the table for one flight. Must not move until it has landed.
struct Ticket {
  uint32_t place;
  uint32_t flight;  // its number there
  Ticket* outer;    // of this backend, in the air too: a query may fetch
};

enum class Boarding : uint8_t { takes_off, waits, alone };

// takes_off: the caller runs the query, and lands the ticket. waits: somebody does, for whom the ticket waits. alone:
// there is no place, or it is the caller himself who is in the air with that name.
Boarding board(const FlightName& name, Ticket& ticket);

// Never fails. The end of the process does it for all that are in the air.
void land(Ticket& ticket, Landing landing);

// Until it has landed, or so many milliseconds: nothing then. Can be cancelled.
std::optional<Landing> await_landing(const Ticket& ticket, long milliseconds);

void install_flights();

}  // namespace pgcache
