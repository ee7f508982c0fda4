#include "pg/control_file.hpp"

#include <unistd.h>

extern "C" {
#include "access/transam.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
}

namespace pgcache::pg {

namespace {

// Nothing if it can't be read, or is damaged. Never raises.
std::optional<ControlFileData> control_file() {
  static ControlFileData content;
  bool intact = false;
  MemoryContext caller = CurrentMemoryContext;
  PG_TRY();
  {
    ControlFileData* control = get_controlfile(DataDir, &intact);
    content = *control;
    pfree(control);
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(caller);
    FlushErrorState();
    intact = false;
  }
  PG_END_TRY();
  if (!intact) return std::nullopt;
  return content;
}

ClusterMoment moment_of(const ControlFileData& control) {
  return {.system_identifier = control.system_identifier,
          .checkpoint = control.checkPoint,
          .next_xid = U64FromFullTransactionId(control.checkPointCopy.nextXid),
          .checkpoint_time = control.checkPointCopy.time,
          .timeline = control.checkPointCopy.ThisTimeLineID,
          .unused = 0};
}

}  // namespace

std::optional<ClusterMoment> clean_shutdown_moment() {
  const std::optional<ControlFileData> control = control_file();
  if (!control || control->state != DB_SHUTDOWNED) return std::nullopt;
  return moment_of(*control);
}

std::optional<ClusterMoment> any_shutdown_moment() {
  const std::optional<ControlFileData> control = control_file();
  if (!control || (control->state != DB_SHUTDOWNED && control->state != DB_SHUTDOWNED_IN_RECOVERY)) return std::nullopt;
  return moment_of(*control);
}

bool recovery_requested() {
  for (const char* name : {"standby.signal", "recovery.signal", "backup_label"})
    if (access(name, F_OK) == 0) return true;
  return false;
}

}  // namespace pgcache::pg
