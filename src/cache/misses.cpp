#include "cache/misses.hpp"

extern "C" {
#include "utils/hsearch.h"
#include "utils/memutils.h"
}

namespace pgcache {

namespace {

constexpr long kMost = 131'072;

struct Miss {
  uint64_t key_hash;
  engine::Version number;
};

// Two generations: when the young one is full, it becomes the old one, and that is forgotten.
HTAB* young = nullptr;
HTAB* old = nullptr;

HTAB* new_generation() {
  HASHCTL control{};
  control.keysize = sizeof(uint64_t);
  control.entrysize = sizeof(Miss);
  control.hcxt = TopMemoryContext;
  return hash_create("pgcache misses", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void make_room() {
  if (young != nullptr && hash_get_num_entries(young) < kMost) return;
  HTAB* fresh = new_generation();
  if (old != nullptr) hash_destroy(old);
  old = young;
  young = fresh;
}

Miss* find(HTAB* generation, uint64_t key_hash) {
  if (generation == nullptr) return nullptr;
  return static_cast<Miss*>(hash_search(generation, &key_hash, HASH_FIND, nullptr));
}

}  // namespace

void remember_miss(const engine::Key& key, engine::Version number, bool unless_known) {
  if (Miss* known = find(old, key.hash); known != nullptr) {
    if (!unless_known) known->number = number;
    return;
  }
  make_room();
  bool found = false;
  auto* miss = static_cast<Miss*>(hash_search(young, &key.hash, HASH_ENTER, &found));
  if (!found || !unless_known) miss->number = number;
}

std::optional<engine::Version> take_miss(const engine::Key& key) {
  std::optional<engine::Version> number;
  for (HTAB* generation : {old, young}) {
    const Miss* miss = find(generation, key.hash);
    if (miss == nullptr) continue;
    number = miss->number;
    hash_search(generation, &key.hash, HASH_REMOVE, nullptr);
  }
  return number;
}

void renew_miss(uint64_t key_hash, const engine::Counted& counted) {
  for (HTAB* generation : {old, young}) {
    Miss* miss = find(generation, key_hash);
    // What somebody else has invalidated since then stays a reason to refuse.
    if (miss != nullptr && counted.found <= miss->number) miss->number = counted.number;
  }
}

}  // namespace pgcache
