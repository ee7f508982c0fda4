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
  uint64_t refused_in;  // the transaction whose set was refused for it; 0: none was
};

uint64_t transaction = 1;  // of this backend

// Two generations: when the young one is full, it becomes the old one, and that is forgotten.
HTAB* young = nullptr;
HTAB* old = nullptr;

// The last deletions by this backend in a slot, one after another without somebody else's in between.
struct OwnDeletion {
  engine::SlotNumber slot;
  engine::Version found;  // before the first
  engine::Version number;
};
constexpr uint32_t kOwnDeletions = 1024;
OwnDeletion own_deletions[kOwnDeletions];

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

void remember_miss(const engine::Key& key, engine::Version number) {
  if (Miss* known = find(old, key.hash); known != nullptr) {
    if (known->refused_in != 0) *known = {key.hash, number, 0};
    return;
  }
  make_room();
  bool found = false;
  auto* miss = static_cast<Miss*>(hash_search(young, &key.hash, HASH_ENTER, &found));
  if (!found || miss->refused_in != 0) *miss = {key.hash, number, 0};
}

void remember_refused(const engine::Key& key, engine::Version number) {
  remember_miss(key, number);
  for (HTAB* generation : {young, old})
    if (Miss* miss = find(generation, key.hash); miss != nullptr) miss->refused_in = transaction;
}

void forget_refusals() { ++transaction; }

std::optional<engine::Version> take_miss(const engine::Key& key) {
  std::optional<engine::Version> number;
  for (HTAB* generation : {young, old}) {
    const Miss* miss = find(generation, key.hash);
    if (miss == nullptr) continue;
    if (miss->refused_in == 0 || miss->refused_in == transaction) number = miss->number;
    hash_search(generation, &key.hash, HASH_REMOVE, nullptr);
  }
  return number;
}

void note_own_deletion(engine::SlotNumber slot, const engine::Counted& counted) {
  OwnDeletion& own = own_deletions[slot % kOwnDeletions];
  if (own.slot != slot || own.number != counted.found) own = {slot, counted.found, counted.number};
  own.number = counted.number;
}

bool is_own_deletion(engine::SlotNumber slot, engine::Version stamp, engine::Version since) {
  const OwnDeletion& own = own_deletions[slot % kOwnDeletions];
  return own.slot == slot && own.number == stamp && own.found <= since;
}

}  // namespace pgcache
