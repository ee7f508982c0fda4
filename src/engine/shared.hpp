// Helpers for fields of shared memory that are read or written without the lock of their owner.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace pgcache::engine {

constexpr uint32_t kNone = UINT32_MAX;  // no segment

// The field as an atomic; plain loads and stores of it elsewhere are made under the owner's lock.
template <typename T>
[[nodiscard]] inline std::atomic_ref<T> atomic(T& field) noexcept {
  static_assert(std::atomic_ref<T>::is_always_lock_free, "a lock of this process would not guard another");
  return std::atomic_ref<T>(field);
}

template <typename T>
[[nodiscard]] inline T load_relaxed(const T& field) noexcept {
  return std::atomic_ref<T>(const_cast<T&>(field)).load(std::memory_order_relaxed);
}

template <typename T>
[[nodiscard]] inline T load_acquire(const T& field) noexcept {
  return std::atomic_ref<T>(const_cast<T&>(field)).load(std::memory_order_acquire);
}

template <typename T>
inline void store_release(T& field, std::type_identity_t<T> value) noexcept {
  std::atomic_ref<T>(field).store(value, std::memory_order_release);
}

template <typename T>
inline void store_relaxed(T& field, std::type_identity_t<T> value) noexcept {
  std::atomic_ref<T>(field).store(value, std::memory_order_relaxed);
}

template <typename T>
inline void add_relaxed(T& field, std::type_identity_t<T> value) noexcept {
  std::atomic_ref<T>(field).fetch_add(value, std::memory_order_relaxed);
}

template <typename T>
concept Shareable =
    std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T> && std::is_standard_layout_v<T>;

}  // namespace pgcache::engine
