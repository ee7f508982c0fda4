#include "pg/control_file.hpp"

#include <unistd.h>

extern "C" {
#include "access/transam.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
}

namespace pgcache::pg {

std::optional<ClusterMoment> clean_shutdown_moment() {
  ClusterMoment moment{};
  bool clean = false;
  MemoryContext caller = CurrentMemoryContext;
  PG_TRY();
  {
    bool intact = false;
    ControlFileData* control = get_controlfile(DataDir, &intact);
    clean = intact && control->state == DB_SHUTDOWNED;
    moment.system_identifier = control->system_identifier;
    moment.checkpoint = control->checkPoint;
    moment.next_xid = U64FromFullTransactionId(control->checkPointCopy.nextXid);
    moment.checkpoint_time = control->checkPointCopy.time;
    moment.timeline = control->checkPointCopy.ThisTimeLineID;
    pfree(control);
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(caller);
    FlushErrorState();
    clean = false;
  }
  PG_END_TRY();
  if (!clean) return std::nullopt;
  return moment;
}

bool recovery_requested() {
  for (const char* name : {"standby.signal", "recovery.signal", "backup_label"})
    if (access(name, F_OK) == 0) return true;
  return false;
}

}  // namespace pgcache::pg
