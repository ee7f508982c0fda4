// What an engine runs in outside the server: heap memory, std::shared_mutex locks, hashes good and bad.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <shared_mutex>

#include "engine/environment.hpp"
#include "engine/types.hpp"

namespace pgcache::engine::test {

using Hash = uint64_t (*)(const void*, size_t, uint64_t) noexcept;

inline uint64_t mixed(uint64_t z) noexcept {
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

inline uint64_t spreading_hash(const void* bytes, size_t size, uint64_t seed) noexcept {
  const auto* at = static_cast<const char*>(bytes);
  uint64_t hash = mixed(seed ^ size);
  for (; size >= 8; at += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = mixed(hash ^ word);
  }
  uint64_t rest = 0;
  if (size > 0) std::memcpy(&rest, at, size);
  return mixed(hash ^ rest);
}

inline uint64_t constant_hash(const void*, size_t, uint64_t) noexcept { return 0x123456789abcdef0; }

// All in one shard and near each other in its index, so that neighbourhoods overlap.
inline uint64_t four_valued_hash(const void* bytes, size_t size, uint64_t seed) noexcept {
  return (spreading_hash(bytes, size, seed) & 3) << 21;
}

// Same shard and bucket, different tags and version slots.
inline uint64_t one_bucket_hash(const void* bytes, size_t size, uint64_t seed) noexcept {
  return spreading_hash(bytes, size, seed) & 0xffff;
}

// Locks that end the program when the engine breaks its promise never to hold two at once.
class Locks {
 public:
  explicit Locks(uint32_t count) : count_(count), locks_(std::make_unique<std::shared_mutex[]>(count)) {}

  static void lock(void* self, uint32_t number, bool exclusive) noexcept {
    auto& locks = *static_cast<Locks*>(self);
    require(number < locks.count_, "a lock that was not provided");
    require(held == 0, "two locks at once");
    held = number + 1;
    if (exclusive)
      locks.locks_[number].lock();
    else
      locks.locks_[number].lock_shared();
  }

  static void unlock(void* self, uint32_t number, bool exclusive) noexcept {
    auto& locks = *static_cast<Locks*>(self);
    require(held == number + 1, "a lock that is not held");
    held = 0;
    if (exclusive)
      locks.locks_[number].unlock();
    else
      locks.locks_[number].unlock_shared();
  }

 private:
  static void require(bool condition, const char* what) noexcept {
    if (condition) return;
    std::fprintf(stderr, "the engine asked for %s\n", what);
    std::abort();
  }

  static inline thread_local uint32_t held = 0;  // the lock's number plus one
  uint32_t count_;
  std::unique_ptr<std::shared_mutex[]> locks_;
};

// Memory as the engine may meet it: 64-byte aligned and full of rubbish.
class Memory {
 public:
  explicit Memory(uint64_t size) : size_(size), bytes_(static_cast<std::byte*>(::operator new(size, kAlignment))) {
    std::memset(bytes_, 0xa5, size);
  }
  ~Memory() { ::operator delete(bytes_, kAlignment); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  [[nodiscard]] Buffer span() const noexcept { return {bytes_, size_}; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  uint64_t size_;
  std::byte* bytes_;
};

}  // namespace pgcache::engine::test
