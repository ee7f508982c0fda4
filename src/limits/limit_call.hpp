// What one call does to a key's counts: finds, judges, charges. The caller holds the lock of the key's partition.
#pragma once

#include <optional>

#include "limits/partition.hpp"

namespace pgcache::limits {

// What a call carries from one hold of the lock to the next.
struct Attempt {
  Moment moment;
  LogSearch search;
};

class LimitCall {
 public:
  LimitCall(Partition partition, const Key& key) noexcept
      : partition_(partition), key_(key), homes_(partition.homes(key.first)) {}

  // Nothing: the call must come again, with the clock read anew.
  std::optional<Verdict> charge(const Request& request, Attempt& attempt) noexcept;
  std::optional<Verdict> peek(const Request& request, Attempt& attempt) noexcept;
  std::optional<Verdict> refund(const Request& request, Attempt& attempt) noexcept;
  // blocked_until is 0 if there was no room.
  std::optional<Verdict> block(int64_t duration, Attempt& attempt) noexcept;
  bool unblock(int64_t now) noexcept;
  uint32_t reset(int64_t now) noexcept;

 private:
  // What there is of the key.
  struct Found {
    Cell count;
    Cell block;
  };

  // How a count stands with a limit.
  struct Standing {
    Count count;  // of exact, as it is stored
    int64_t remaining;
    bool counts;  // false: there is nothing to wait for
  };

  [[nodiscard]] Found find(uint64_t name) const noexcept;
  std::optional<Found> find_in_time(const Limit& limit, Attempt& attempt) noexcept;

  [[nodiscard]] Standing standing(const Cell& cell, const Limit& limit, int64_t now) const noexcept;
  [[nodiscard]] int64_t wait(const Standing& standing, const Request& request, int64_t now) const noexcept;
  void add_reset(Verdict& verdict, const Standing& standing, const Limit& limit, int64_t now) const noexcept;
  // reset_after is that of the block.
  [[nodiscard]] Verdict judge(const Found& found, const Standing& standing, const Request& request,
                              int64_t now) const noexcept;

  enum class Taken : uint8_t { yes, no_room, again };
  Taken take(const Cell& found, const Standing& standing, const Request& request, Attempt& attempt,
             Verdict& verdict) noexcept;
  Taken take_exact(const Cell& found, const Request& request, Attempt& attempt) noexcept;
  Taken add(uint64_t name, Moment& moment, Cell& cell) noexcept;
  void be_full(const Request& request, const Attempt& attempt, Verdict& verdict) noexcept;
  // False: the call must come again.
  bool block_for(Cell cell, int64_t duration, Moment& moment, Verdict& verdict) noexcept;
  void tally(const Verdict& verdict, int64_t now) noexcept;

  Partition partition_;
  const Key& key_;
  Homes homes_;
};

}  // namespace pgcache::limits
