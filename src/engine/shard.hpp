// One shard's bookkeeping; guarded by the shard's lock.
#pragma once

#include "shared.hpp"

namespace pgcache::engine {

// S3-FIFO (Yang et al., SOSP'23): new entries wait in the small queue and move to the main one if they are used there.
enum class QueueName : uint8_t { small = 0, main = 1 };

// Segments group entries that end at about the same time, so that they can be given back whole (Segcache, NSDI'21).
// Class 0: up to a second; class n: up to 2^n seconds; the last: never.
constexpr uint32_t kTtlClasses = 32;
constexpr uint32_t kNeverEnds = kTtlClasses - 1;

struct Queue {
  uint32_t head;  // the oldest segment
  uint32_t tail;
  uint32_t segments;  // those of its large values included
};

struct alignas(64) Shard {
  uint32_t entries;  // in the index
  Queue queues[2];
  uint32_t open[2][kTtlClasses];  // the segments that take new records

  [[nodiscard]] Queue& queue(QueueName name) noexcept { return queues[static_cast<uint8_t>(name)]; }
  [[nodiscard]] uint32_t& open_segment(QueueName name, uint32_t ttl_class) noexcept {
    return open[static_cast<uint8_t>(name)][ttl_class];
  }
};
static_assert(Shareable<Shard>);

}  // namespace pgcache::engine
