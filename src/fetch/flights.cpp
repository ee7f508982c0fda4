#include "fetch/flights.hpp"

#include "engine/shared.hpp"
#include "pg/compat.hpp"
#include "pg/shared_memory.hpp"

extern "C" {
#include "portability/instr_time.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "utils/wait_event.h"
}

namespace pgcache {

namespace {

constexpr uint32_t kProbes = 16;

struct alignas(64) Flight {
  FlightName name;
  uint32_t number;  // of flights that this place has seen; changes at each landing. Read without the lock
  uint32_t runner;  // the backend
  bool in_the_air;
  Landing last;
  ConditionVariable landed;
};
static_assert(sizeof(Flight) == 64);

struct Flights {
  uint32_t mask;
  alignas(64) Flight places[];
};

Flights* flights = nullptr;
LWLock* lock = nullptr;

uint32_t place_count() { return std::bit_ceil(static_cast<uint32_t>(MaxBackends * kFlightsPerBackend)); }

size_t shared_bytes() { return offsetof(Flights, places) + place_count() * sizeof(Flight) + 64; }

void start(void* memory, LWLockPadded* locks, bool is_new) {
  flights = reinterpret_cast<Flights*>(TYPEALIGN(64, memory));
  lock = &locks->lock;
  if (!is_new) return;
  memset(memory, 0, shared_bytes());
  flights->mask = place_count() - 1;
  for (uint32_t i = 0; i <= flights->mask; ++i) ConditionVariableInit(&flights->places[i].landed);
}

constexpr pg::SharedMemory kSharedMemory = {
    .name = "pgcache_fetch", .bytes = shared_bytes, .locks = [] { return 1; }, .start = start};

uint32_t first_place(const FlightName& name) { return static_cast<uint32_t>(name.key >> 16) ^ name.role; }

Flight& at(uint32_t place) { return flights->places[place & flights->mask]; }

uint32_t number_of(const Flight& flight) { return engine::load_acquire(flight.number); }

// The place where that name is in the air, or else one that is free; nothing if there is neither.
std::optional<uint32_t> find_place(const FlightName& name) {
  const uint32_t first = first_place(name);
  std::optional<uint32_t> free;
  for (uint32_t i = 0; i < kProbes && i <= flights->mask; ++i) {
    const Flight& flight = at(first + i);
    if (flight.in_the_air && flight.name == name) return first + i;
    if (!flight.in_the_air && !free) free = first + i;
  }
  return free;
}

// The last that this backend has in the air.
Ticket* innermost = nullptr;

void land_all(int, Datum) {
  while (innermost != nullptr) land(*innermost, Landing::not_stored);
}

}  // namespace

void install_flights() { pg::install_shared_memory(kSharedMemory); }

Boarding board(const FlightName& name, Ticket& ticket) {
  static bool lands_at_exit = false;
  if (!lands_at_exit) before_shmem_exit(land_all, Datum{0});
  lands_at_exit = true;
  Boarding boarding = Boarding::alone;
  LWLockAcquire(lock, LW_EXCLUSIVE);
  if (const std::optional<uint32_t> place = find_place(name)) {
    Flight& flight = at(*place);
    ticket = {*place, flight.number, innermost};
    if (!flight.in_the_air) {
      flight.name = name;
      flight.runner = pg::backend_number();
      flight.in_the_air = true;
      boarding = Boarding::takes_off;
      innermost = &ticket;
    } else if (flight.runner != pg::backend_number()) {
      boarding = Boarding::waits;
    }
  }
  LWLockRelease(lock);
  return boarding;
}

void land(Ticket& ticket, Landing landing) {
  Flight& flight = at(ticket.place);
  LWLockAcquire(lock, LW_EXCLUSIVE);
  flight.in_the_air = false;
  flight.last = landing;
  engine::store_release(flight.number, flight.number + 1);
  LWLockRelease(lock);
  innermost = ticket.outer;
  ConditionVariableBroadcast(&flight.landed);
}

std::optional<Landing> await_landing(const Ticket& ticket, long milliseconds) {
  Flight& flight = at(ticket.place);
  instr_time start;
  INSTR_TIME_SET_CURRENT(start);
  ConditionVariablePrepareToSleep(&flight.landed);
  bool landed = false;
  while (!(landed = number_of(flight) != ticket.flight)) {
    instr_time waited;
    INSTR_TIME_SET_CURRENT(waited);
    INSTR_TIME_SUBTRACT(waited, start);
    const long left = milliseconds - static_cast<long>(INSTR_TIME_GET_MILLISEC(waited));
    if (left <= 0) break;
    ConditionVariableTimedSleep(&flight.landed, left, PG_WAIT_EXTENSION);
  }
  ConditionVariableCancelSleep();
  if (!landed) return std::nullopt;
  // Another flight may have landed here since; then the next look at the cache tells.
  LWLockAcquire(lock, LW_SHARED);
  const Landing last = flight.number == ticket.flight + 1 ? flight.last : Landing::not_stored;
  LWLockRelease(lock);
  return last;
}

}  // namespace pgcache
