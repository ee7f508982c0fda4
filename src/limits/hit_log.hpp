// The log of `exact`: the time of each unit that was taken within the last period, oldest first, in a chain of blocks
// from a pool.
//
// Guaranteed: of all units that were taken and not given back, no more than the quota lie within any period, if each is
// given back within a period of being taken. What is given back are the oldest, so that those in the log are never
// older than the true ones. The caller holds the lock of the pool's partition.
#pragma once

#include <cstddef>

#include "engine/shared.hpp"
#include "limits/algorithms.hpp"

namespace pgcache::limits {

constexpr uint32_t kTimesPerBlock = 7;

struct alignas(64) LogBlock {
  int64_t times[kTimesPerBlock];
  uint32_t next;
};
static_assert(engine::Shareable<LogBlock> && sizeof(LogBlock) == 64);

struct LogPool {
  LogBlock* blocks;
  uint32_t* free_head;
  uint32_t* free_count;

  void format(uint32_t count) const noexcept;
};

// A count of `exact` with the pool that its log lies in.
class HitLog {
 public:
  HitLog(Count& count, LogPool pool) noexcept : count_(count), pool_(pool) {}

  // Units in use at a time.
  [[nodiscard]] int64_t used(int64_t period, int64_t now) const noexcept;
  // Until so many more of them have run off; one to all.
  [[nodiscard]] int64_t wait(int64_t units, int64_t period, int64_t now) const noexcept;
  [[nodiscard]] int64_t reset(int64_t period, int64_t now) const noexcept;

  // Blocks that the pool must have, once what has run off is dropped.
  [[nodiscard]] uint32_t blocks_for(int64_t units) const noexcept;
  void drop_run_off(int64_t period, int64_t now) noexcept;
  void append(int64_t units, int64_t period, int64_t now) noexcept;
  void drop_oldest(int64_t units) noexcept;
  void drop_all() noexcept { drop_oldest(size()); }
  void set_back(int64_t now) noexcept;

  [[nodiscard]] int64_t size() const noexcept;

 private:
  struct Chain;
  [[nodiscard]] Chain chain() const noexcept;
  void store(const Chain& chain) noexcept;
  [[nodiscard]] int64_t run_off(int64_t period, int64_t now) const noexcept;

  Count& count_;
  LogPool pool_;
};

}  // namespace pgcache::limits
