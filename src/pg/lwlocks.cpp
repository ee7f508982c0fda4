#include "pg/lwlocks.hpp"

extern "C" {
#include "common/hashfn.h"
}

namespace pgcache::pg {

namespace {

void lock(void* locks, uint32_t number, bool exclusive) noexcept {
  LWLockAcquire(&static_cast<LWLockPadded*>(locks)[number].lock, exclusive ? LW_EXCLUSIVE : LW_SHARED);
}

void unlock(void* locks, uint32_t number, bool) noexcept {
  LWLockRelease(&static_cast<LWLockPadded*>(locks)[number].lock);
}

void no_lock(void*, uint32_t, bool) noexcept {}

uint64_t hash(const void* bytes, size_t size, uint64_t seed) noexcept {
  return hash_bytes_extended(static_cast<const unsigned char*>(bytes), static_cast<int>(size), seed);
}

}  // namespace

engine::Environment lwlock_environment(LWLockPadded* locks) { return {lock, unlock, hash, locks}; }

engine::Environment lockless_environment() { return {no_lock, no_lock, hash, nullptr}; }

}  // namespace pgcache::pg
