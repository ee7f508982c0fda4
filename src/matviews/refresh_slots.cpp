#include "matviews/refresh_slots.hpp"

#include <csignal>

#include "engine/shared.hpp"
#include "pg/compat.hpp"
#include "pg/shared_memory.hpp"

extern "C" {
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/wait_event.h"
}

namespace pgcache {

namespace {

struct Slot {
  SlotState state;
  Report report;
  bool leaves;  // told to end
  bool wants_helper;
  uint32_t generation;  // of the worker that it is for
  Oid database;
  int pid;
  int64_t schedule;  // that is being run; 0: none
  Oid extension;
  TimestampTz next_run;
  uint64_t report_number;
};

struct Shared {
  uint64_t reports;
  int scheduler_pid;
  uint32_t scheduler_number;  // of its backend
  bool waiting;               // relaxed
  bool prepared_changes;      // relaxed
  Notices notices;
  Slot slots[kRefreshSlots];
  Oid left[];  // what each backend makes leave
};

Shared* shared = nullptr;
LWLock* lock = nullptr;
int my_slot = -1;

size_t shared_bytes() { return offsetof(Shared, left) + static_cast<size_t>(MaxBackends) * sizeof(Oid); }

void start(void* memory, LWLockPadded* locks, bool is_new) {
  shared = static_cast<Shared*>(memory);
  lock = &locks->lock;
  if (is_new) memset(memory, 0, shared_bytes());
}

constexpr pg::SharedMemory kSharedMemory = {
    .name = "pgcache_matviews", .bytes = shared_bytes, .locks = [] { return 1; }, .start = start};

// Calls work() under the lock. Nothing in it may ERROR.
template <typename Work>
auto locked(LWLockMode mode, Work work) {
  LWLockAcquire(lock, mode);
  if constexpr (std::is_void_v<decltype(work())>) {
    work();
    LWLockRelease(lock);
  } else {
    const auto result = work();
    LWLockRelease(lock);
    return result;
  }
}

void wake_scheduler() {
  const auto [pid, number] =
      locked(LW_SHARED, [] { return std::pair(shared->scheduler_pid, shared->scheduler_number); });
  if (pid != 0) SetLatch(&ProcGlobal->allProcs[number].procLatch);
}

// A backend's number is below MaxBackends.
Oid& left_by_me() { return shared->left[pg::backend_number()]; }

bool is_left(Oid database) {
  return std::find(shared->left, shared->left + MaxBackends, database) != shared->left + MaxBackends;
}

bool works_in(const Slot& slot, Oid database) {
  return slot.database == database && (slot.state == SlotState::starting || slot.state == SlotState::running);
}

int tell_to_leave(Oid database) {
  int workers = 0;
  for (Slot& slot : shared->slots) {
    if (!works_in(slot, database)) continue;
    slot.leaves = true;
    // The one system call under a lock: so that its number is still its own.
    if (slot.pid != 0) kill(slot.pid, SIGTERM);
    ++workers;
  }
  return workers;
}

void scheduler_ends(int, Datum) {
  locked(LW_EXCLUSIVE, [] { shared->scheduler_pid = 0; });
}

void worker_ends(int, Datum) {
  locked(LW_EXCLUSIVE, [] {
    Slot& slot = shared->slots[my_slot];
    slot.state = SlotState::finished;
    if (slot.schedule != 0 && slot.report == Report::failed) slot.report = Report::failed_in_run;
    slot.schedule = 0;
    slot.pid = 0;
  });
  my_slot = -1;
  wake_scheduler();
}

}  // namespace

void install_refresh_slots() { pg::install_shared_memory(kSharedMemory); }

// ---- for everybody

void notify_scheduler_of(Oid database) {
  locked(LW_EXCLUSIVE, [database] {
    Notices& notices = shared->notices;
    Oid* const end = notices.databases + notices.count;
    if (std::find(notices.databases, end, database) != end) return;
    if (notices.count == Notices::kMost)
      notices.more = true;
    else
      notices.databases[notices.count++] = database;
  });
  wake_scheduler();
}

void notify_scheduler_of_list() {
  locked(LW_EXCLUSIVE, [] { shared->notices.list = true; });
  wake_scheduler();
}

bool scheduler_is_shared() { return shared != nullptr; }

int scheduler_process() {
  return shared == nullptr ? 0 : locked(LW_SHARED, [] { return shared->scheduler_pid; });
}

void leave_database(Oid database) {
  constexpr int kTries = 100;  // 10 ms each; the command itself waits for who is left
  int workers = locked(LW_EXCLUSIVE, [database] {
    left_by_me() = database;
    return tell_to_leave(database);
  });
  for (int i = 0; workers > 0 && i < kTries; ++i) {
    CHECK_FOR_INTERRUPTS();
    WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
    workers = locked(LW_SHARED, [database] {
      return static_cast<int>(std::count_if(std::begin(shared->slots), std::end(shared->slots),
                                            [database](const Slot& slot) { return works_in(slot, database); }));
    });
  }
}

void return_to_database() {
  locked(LW_EXCLUSIVE, [] { left_by_me() = InvalidOid; });
}

void note_prepared_change() { engine::store_relaxed(shared->prepared_changes, true); }

bool have_prepared_changes() { return engine::load_relaxed(shared->prepared_changes); }

// ---- for the scheduler

void begin_scheduler() {
  locked(LW_EXCLUSIVE, [] {
    shared->scheduler_pid = MyProcPid;
    shared->scheduler_number = pg::backend_number();
    // Workers that an earlier scheduler asked for and that have not come: they must not.
    for (Slot& slot : shared->slots)
      if (slot.state == SlotState::starting) slot.state = SlotState::free;
  });
  before_shmem_exit(scheduler_ends, Datum{0});
}

Notices take_notices() {
  return locked(LW_EXCLUSIVE, [] { return std::exchange(shared->notices, Notices{}); });
}

std::optional<int> take_slot(Oid database, uint32_t* generation) {
  return locked(LW_EXCLUSIVE, [database, generation]() -> std::optional<int> {
    if (is_left(database)) return std::nullopt;
    for (int i = 0; i < kRefreshSlots; ++i) {
      Slot& slot = shared->slots[i];
      if (slot.state != SlotState::free) continue;
      *generation = slot.generation + 1;
      slot = {};
      slot.state = SlotState::starting;
      slot.generation = *generation;
      slot.database = database;
      return i;
    }
    return std::nullopt;
  });
}

void free_slot(int slot) {
  locked(LW_EXCLUSIVE, [slot] { shared->slots[slot].state = SlotState::free; });
}

SlotView look_at_slot(int number) {
  return locked(LW_EXCLUSIVE, [number] {
    Slot& slot = shared->slots[number];
    return SlotView{slot.state,         slot.database, slot.report,
                    slot.report_number, slot.next_run, std::exchange(slot.wants_helper, false)};
  });
}

void set_waiting(bool waiting) { engine::store_relaxed(shared->waiting, waiting); }

// ---- for the worker

bool begin_work(int number, uint32_t generation) {
  const bool may_begin = locked(LW_EXCLUSIVE, [number, generation] {
    Slot& slot = shared->slots[number];
    if (slot.state != SlotState::starting || slot.generation != generation) return false;
    slot.state = SlotState::running;
    slot.pid = MyProcPid;
    my_slot = number;
    return !slot.leaves;
  });
  if (my_slot >= 0) before_shmem_exit(worker_ends, Datum{0});
  return may_begin;
}

bool is_refresh_worker() { return my_slot >= 0; }

Oid database_of_work() { return shared->slots[my_slot].database; }

void finish_work(Report report, TimestampTz next_run) {
  locked(LW_EXCLUSIVE, [report, next_run] {
    shared->slots[my_slot].report = report;
    shared->slots[my_slot].next_run = next_run;
    shared->slots[my_slot].report_number = ++shared->reports;
  });
}

void enter_run(int64_t schedule, Oid extension) {
  locked(LW_EXCLUSIVE, [schedule, extension] {
    shared->slots[my_slot].schedule = schedule;
    shared->slots[my_slot].extension = extension;
  });
}

void leave_run() { enter_run(0, InvalidOid); }

int64_t* running_schedules(Oid extension, int* count) {
  auto* schedules = static_cast<int64_t*>(palloc(sizeof(int64_t) * kRefreshSlots));
  *count = locked(LW_SHARED, [schedules, extension] {
    int found = 0;
    for (const Slot& slot : shared->slots)
      if (works_in(slot, MyDatabaseId) && slot.schedule != 0 && slot.extension == extension)
        schedules[found++] = slot.schedule;
    return found;
  });
  return schedules;
}

void ask_for_helper() {
  locked(LW_EXCLUSIVE, [] { shared->slots[my_slot].wants_helper = true; });
  wake_scheduler();
}

bool others_wait() { return engine::load_relaxed(shared->waiting); }

}  // namespace pgcache
