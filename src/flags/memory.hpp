// Where compiled flags lie: memory that the caller hands in and frees as a whole. Pure.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>

namespace pgcache::flags {

struct Memory {
  void* owner;
  // Aligned for every type; never nullptr. It may leave by longjmp.
  void* (*allocate)(void* owner, size_t bytes);

  // Zeroed.
  template <typename T>
  std::span<T> array(size_t count) const {
    static_assert(std::is_trivially_destructible_v<T>);
    if (count == 0) return {};
    void* bytes = allocate(owner, count * sizeof(T));
    std::memset(bytes, 0, count * sizeof(T));
    return {static_cast<T*>(bytes), count};
  }

  template <typename T>
  T& one() const {
    return array<T>(1).front();
  }
};

}  // namespace pgcache::flags
