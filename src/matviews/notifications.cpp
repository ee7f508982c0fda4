#include "matviews/notifications.hpp"

#include "matviews/refresh_slots.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/xact.h"
}

namespace pgcache {

namespace {

bool schedules_changed = false;
bool databases_changed = false;

void tell() {
  if (std::exchange(schedules_changed, false)) notify_scheduler_of(MyDatabaseId);
  if (std::exchange(databases_changed, false)) notify_scheduler_of_list();
}

void forget() {
  schedules_changed = false;
  databases_changed = false;
}

// After the commit nothing in here may ERROR.
void at_end(XactEvent event, void*) {
  switch (event) {
    case XACT_EVENT_COMMIT:
      tell();
      break;
    case XACT_EVENT_PREPARE:
      if (schedules_changed) note_prepared_change();
      forget();
      break;
    case XACT_EVENT_ABORT:
      forget();
      break;
    default:
      break;
  }
}

}  // namespace

void install_notifications() { RegisterXactCallback(at_end, nullptr); }

void notify_at_commit() { schedules_changed = true; }

void notify_of_databases_at_commit() { databases_changed = true; }

void prepared_has_committed() {
  if (have_prepared_changes()) schedules_changed = true;
}

}  // namespace pgcache
