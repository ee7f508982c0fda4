// Which moment in which cluster's life this is, as pg_control tells it.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache::pg {

// Two that are equal byte for byte name the same moment: nothing was written between them.
struct ClusterMoment {
  uint64_t system_identifier;
  uint64_t checkpoint;
  uint64_t next_xid;
  int64_t checkpoint_time;
  uint32_t timeline;
  uint32_t unused;  // zero, so that the struct has no padding
};

// What pg_control says if its state is a clean shutdown of a primary; nothing otherwise. Never raises.
std::optional<ClusterMoment> clean_shutdown_moment();

// The same of a primary or a standby.
std::optional<ClusterMoment> any_shutdown_moment();

// Someone asks for recovery at this start: a standby, a restored backup.
bool recovery_requested();

}  // namespace pgcache::pg
