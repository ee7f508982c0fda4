#include "matviews/refresh.hpp"

#include "cache/own_events.hpp"
#include "cache/shared_cache.hpp"
#include "matviews/matview_settings.hpp"
#include "matviews/refresh_slots.hpp"
#include "matviews/unique_index.hpp"
#include "matviews/write_counts.hpp"
#include "pg/names.hpp"
#include "pg/sql.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "storage/proc.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace pgcache {

namespace {

// Of the last REFRESH of this process, for who has run it through SPI.
uint64_t last_rows = 0;

struct ViewState {
  Oid owner;
  bool is_populated;
};

ViewState state_of(Oid view) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
  if (!HeapTupleIsValid(tuple))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no relation with OID %u", view)));
  const auto* row = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
  const ViewState state{row->relowner, row->relispopulated};
  ReleaseSysCache(tuple);
  return state;
}

char* missing_index_note(Oid view) {
  const char* statement = unique_index_statement(view);
  return statement == nullptr ? pstrdup("refreshed without CONCURRENTLY: no column can have a unique index")
                              : psprintf("refreshed without CONCURRENTLY: it has no unique index; %s", statement);
}

// Until the caller's settings are put back.
void restrict_settings() {
  SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION);
  const int wait = refresh_lock_timeout_setting();
  if (wait > 0 && (LockTimeout == 0 || LockTimeout > wait))
    SetConfigOption("lock_timeout", psprintf("%d", wait), PGC_USERSET, PGC_S_SESSION);
}

void run_as_owner(Oid owner, const char* statement) {
  Oid user = InvalidOid;
  int security = 0;
  GetUserIdAndSecContext(&user, &security);
  const int level = NewGUCNestLevel();
  restrict_settings();
  // REFRESH makes it a security-restricted operation itself, where it can be one.
  SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
  pg::run_sql(statement);
  SetUserIdAndSecContext(user, security);
  AtEOXact_GUC(false, level);
}

}  // namespace

Refreshed refresh_view(Oid view, std::optional<bool> concurrently, Oid owner) {
  const ViewState state = state_of(view);
  if (OidIsValid(owner) && owner != state.owner)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the owner of materialized view %s has changed", pg::qualified_name(view))));
  Refreshed result{};
  const bool can_be_concurrent = state.is_populated && concurrently.value_or(true);
  const bool lacks_index = can_be_concurrent && !concurrently && !has_usable_unique_index(view);
  result.concurrently = can_be_concurrent && !lacks_index;
  if (lacks_index) result.note = missing_index_note(view);
  run_as_owner(state.owner, psprintf("REFRESH MATERIALIZED VIEW %s%s", result.concurrently ? "CONCURRENTLY " : "",
                                     pg::qualified_name(view)));
  result.rows = static_cast<int64_t>(last_rows);
  result.bytes = DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(view)));
  return result;
}

void refreshed(Oid view, uint64_t rows) {
  last_rows = rows;
  if (!is_refresh_worker()) count_refresh_at_commit(view);
  const char* name = get_rel_name(view);
  if (name == nullptr || !can_invalidate()) return;
  const char* tag = psprintf("matview:%s.%s", get_namespace_name(get_rel_namespace(view)), name);
  note_invalidated(cache.tag_slot_number(cache.tag(my_database, tag)));
}

}  // namespace pgcache
