// Rows of which nobody knows how many will come.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgcache {

// In the current memory context, which frees them.
template <typename T>
struct Rows {
  T* all = nullptr;
  size_t count = 0;
  size_t room = 0;

  T& add() {
    if (count == room) {
      room = room == 0 ? 16 : room * 2;
      all = static_cast<T*>(all == nullptr ? palloc_extended(room * sizeof(T), MCXT_ALLOC_HUGE)
                                           : repalloc_huge(all, room * sizeof(T)));
    }
    return all[count++] = T{};
  }

  std::span<T> span() const { return {all, count}; }
};

}  // namespace pgcache
