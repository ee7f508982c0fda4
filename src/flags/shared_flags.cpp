#include "flags/shared_flags.hpp"

#include "pg/arguments.hpp"
#include "pg/clock.hpp"
#include "pg/lwlocks.hpp"
#include "pg/preload.hpp"
#include "pg/shared_memory.hpp"

extern "C" {
#include "access/transam.h"
#include "utils/snapmgr.h"
}

namespace pgcache {

namespace {

constexpr uint32_t kChanges = 64;

// The table of counts follows.
struct alignas(64) SharedFlags {
  uint64_t announced;
  uint64_t finished;
  int64_t warned_at;                // relaxed
  uint32_t unlisted;                // changes that found no place in the list
  TransactionId changes[kChanges];  // that are announced and not finished; invalid ones are free
};

SharedFlags* shared = nullptr;

void start(void* memory, LWLockPadded* locks, bool is_new) {
  auto* mapped = reinterpret_cast<SharedFlags*>(TYPEALIGN(64, memory));
  const engine::Environment environment = pg::lwlock_environment(locks);
  if (is_new) {
    *mapped = {};
    mapped->warned_at = INT64_MIN;
    flag_count_table = flags::CountTable::format(mapped + 1, environment, GetCurrentTimestamp());
  } else {
    flag_count_table = flags::CountTable::attach(mapped + 1, environment);
  }
  shared = mapped;
}

constexpr pg::SharedMemory kSharedMemory = {
    .name = "pgcache_flags",
    .bytes = [] { return sizeof(SharedFlags) + 64 + flags::CountTable::bytes(); },
    .locks = [] { return static_cast<int>(flags::CountTable::kPartitions); },
    .start = start,
};

// Whether nobody has been warned within the last minute. A clock that was set back silences nothing.
bool may_warn() {
  constexpr TimestampTz kPause = USECS_PER_MINUTE;
  const TimestampTz now = pg::clock_now();
  int64_t last = engine::load_relaxed(shared->warned_at);
  if (last <= now && last > now - kPause) return false;
  return engine::atomic(shared->warned_at).compare_exchange_strong(last, now, std::memory_order_relaxed);
}

}  // namespace

flags::CountTable flag_count_table;

namespace internal {

bool flags_are_ready = false;

void get_flags_ready() {
  if (shared == nullptr) pg::raise_not_preloaded();
  pg::require_same_version();
  flags_are_ready = true;
}

}  // namespace internal

void install_shared_flags() { pg::install_shared_memory(kSharedMemory); }

bool flags_are_shared() { return shared != nullptr; }

// The list is written before the count, and cleared before it: who sees equal counts need not look into the list, and
// who does not find a change there any more finds its messages.
uint32_t announce_flag_change(TransactionId transaction) {
  uint32_t number = 0;
  for (; number < kChanges; ++number) {
    TransactionId free = InvalidTransactionId;
    if (engine::atomic(shared->changes[number]).compare_exchange_strong(free, transaction)) break;
  }
  if (number == kChanges) engine::atomic(shared->unlisted).fetch_add(1);
  engine::atomic(shared->announced).fetch_add(1);
  return number;
}

void finish_flag_change(uint32_t number) {
  if (number == kChanges)
    engine::atomic(shared->unlisted).fetch_sub(1);
  else
    engine::atomic(shared->changes[number]).store(InvalidTransactionId);
  engine::atomic(shared->finished).fetch_add(1);
}

// In this order: who is counted as announced only after the first reading cannot make the two equal.
bool sees_flag_change_in_flight(Snapshot snapshot) {
  const uint64_t finished = engine::load_acquire(shared->finished);
  if (likely(engine::load_acquire(shared->announced) == finished)) return false;
  if (engine::load_acquire(shared->unlisted) > 0) return true;
  return std::any_of(std::begin(shared->changes), std::end(shared->changes), [&](const TransactionId& change) {
    const TransactionId transaction = engine::load_acquire(change);
    return TransactionIdIsValid(transaction) && !XidInMVCCSnapshot(transaction, snapshot);
  });
}

void warn_of_fallback(flags::ErrorCode error, std::string_view flag, const char* environment) {
  using flags::ErrorCode;
  if (!may_warn()) return;
  const char* name = pg::beginning_of(flag);
  const auto hint = [] {
    return errhint("Its callers get their fallback. There is one such warning a minute; flag_stats counts all.");
  };
  switch (error) {
    case ErrorCode::flag_not_found:
      ereport(WARNING, (errhidestmt(true), errhidecontext(true),
                        errmsg("there is no flag \"%s\" in environment \"%s\"", name, environment), hint()));
      break;
    case ErrorCode::invalid_context:
      ereport(WARNING, (errhidestmt(true), errhidecontext(true),
                        errmsg("flag \"%s\" was asked without a context that is a JSON object", name), hint()));
      break;
    case ErrorCode::targeting_key_missing:
      ereport(WARNING,
              (errhidestmt(true), errhidecontext(true),
               errmsg("flag \"%s\" was asked with a context that lacks the attribute to stick to", name), hint()));
      break;
    case ErrorCode::parse_error:
      ereport(WARNING,
              (errhidestmt(true), errhidecontext(true), errmsg("flag \"%s\" cannot be evaluated", name), hint()));
      break;
    case ErrorCode::none:
      break;
  }
}

}  // namespace pgcache
