// What changes the content of a watched table and fires none of its triggers: attaching, detaching or dropping a
// partition, dropping the table, a rewrite, a new column with a default, a trigger that is switched off or on. All of
// it is DDL, and goes by this hook; all of it ends every entry of the database, because nobody can say which rows it
// touches.
#include "watches/table_changes.hpp"

#include "cache/own_events.hpp"
#include "cache/shared_cache.hpp"
#include "watches/watch_triggers.hpp"

extern "C" {
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
}

namespace pgcache {

namespace {

object_access_hook_type previous_hook = nullptr;

// CLUSTER and VACUUM FULL put a new file in the place of the old one, with the same rows; they call themselves
// internal.
bool changes_table(ObjectAccessType access, Oid relation, int column, const void* argument) {
  switch (access) {
    case OAT_POST_ALTER:
      return !static_cast<const ObjectAccessPostAlter*>(argument)->is_internal && is_watched_table(relation);
    case OAT_POST_CREATE:
    case OAT_DROP:
      return column != 0 && is_watched_table(relation);  // of a table, its triggers go first
    default:
      return false;
  }
}

bool changes_inheritance(ObjectAccessType access, Oid child, const void* argument) {
  if (access != OAT_POST_ALTER) return false;
  return is_watched_table(static_cast<const ObjectAccessPostAlter*>(argument)->auxiliary_id) || is_watched_table(child);
}

bool changes_watched(ObjectAccessType access, Oid class_id, Oid object, int sub_object, const void* argument) {
  switch (class_id) {
    case RelationRelationId:
      return changes_table(access, object, sub_object, argument);
    case InheritsRelationId:
      return changes_inheritance(access, object, argument);
    case TriggerRelationId:
      return (access == OAT_DROP || access == OAT_POST_ALTER) && is_watch_trigger(object);
    default:
      return false;
  }
}

void note_change(ObjectAccessType access, Oid class_id, Oid object, int sub_object, void* argument) {
  if (previous_hook != nullptr) previous_hook(access, class_id, object, sub_object, argument);
  if (changes_watched(access, class_id, object, sub_object, argument) && can_invalidate()) note_cleared();
}

}  // namespace

void install_table_changes() {
  previous_hook = object_access_hook;
  object_access_hook = note_change;
}

}  // namespace pgcache
