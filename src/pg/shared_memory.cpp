#include "pg/shared_memory.hpp"

extern "C" {
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace pgcache::pg {

namespace {

constexpr int kMostParts = 16;
const SharedMemory* parts[kMostParts];
int part_count = 0;
shmem_request_hook_type previous_request_hook = nullptr;
shmem_startup_hook_type previous_startup_hook = nullptr;

void request() {
  if (previous_request_hook != nullptr) previous_request_hook();
  for (int i = 0; i < part_count; ++i) {
    RequestAddinShmemSpace(parts[i]->bytes());
    if (const int locks = parts[i]->locks(); locks > 0) RequestNamedLWLockTranche(parts[i]->name, locks);
  }
}

void start(const SharedMemory& part) {
  bool found = false;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  void* memory = ShmemInitStruct(part.name, part.bytes(), &found);
  LWLockRelease(AddinShmemInitLock);
  part.start(memory, part.locks() > 0 ? GetNamedLWLockTranche(part.name) : nullptr, !found);
}

void start_all() {
  if (previous_startup_hook != nullptr) previous_startup_hook();
  for (int i = 0; i < part_count; ++i) start(*parts[i]);
}

}  // namespace

void install_shared_memory(const SharedMemory& part) {
  if (part_count == 0) {
    previous_request_hook = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup_hook = shmem_startup_hook;
    shmem_startup_hook = start_all;
  }
  if (part_count == kMostParts) elog(ERROR, "pgcache has more than %d parts in shared memory", kMostParts);
  parts[part_count++] = &part;
}

}  // namespace pgcache::pg
