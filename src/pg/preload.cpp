#include "pg/preload.hpp"

#include "cache/shared_cache.hpp"
#include "pg/function.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "lib/stringinfo.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/varlena.h"
}

namespace pgcache::pg {

namespace {

// nullptr if the extension is not in this database.
char* extension_version() {
  Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData by_name;
  ScanKeyInit(&by_name, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("pgcache"));
  SysScanDesc scan = systable_beginscan(extensions, ExtensionNameIndexId, true, nullptr, 1, &by_name);
  char* version = nullptr;
  if (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple)) {
    bool is_null = false;
    Datum value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(extensions), &is_null);
    if (!is_null) version = TextDatumGetCString(value);
  }
  systable_endscan(scan);
  table_close(extensions, AccessShareLock);
  return version;
}

}  // namespace

char* preload_statement() {
  if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS)) return nullptr;
  const char* current = GetConfigOption("shared_preload_libraries", true, false);
  List* libraries = NIL;
  char* copy = pstrdup(current == nullptr ? "" : current);
  // Each name is quoted on its own: one quoted list would be taken for the name of one library.
  StringInfoData statement;
  initStringInfo(&statement);
  appendStringInfoString(&statement, "ALTER SYSTEM SET shared_preload_libraries = ");
  bool listed = false;
  if (SplitDirectoriesString(copy, ',', &libraries)) {
    ListCell* cell;
    foreach (cell, libraries) {
      const auto* name = static_cast<const char*>(lfirst(cell));
      if (strcmp(name, "pgcache") == 0 || strcmp(name, "$libdir/pgcache") == 0) listed = true;
      appendStringInfo(&statement, "%s, ", quote_literal_cstr(name));
    }
  }
  if (listed)
    statement.data[statement.len -= 2] = '\0';
  else
    appendStringInfoString(&statement, "'pgcache'");
  appendStringInfoChar(&statement, ';');
  return statement.data;
}

void raise_not_preloaded() {
  const char* statement = preload_statement();
  ereport(ERROR,
          (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("pgcache must be loaded at server start"),
           statement != nullptr
               ? errhint("Run: %s Then restart the server.", statement)
               : errhint("Ask a superuser to run: SELECT * FROM pgcache.check(); it names the statement to run.")));
}

void require_same_version() {
  static bool same = false;
  if (likely(same)) return;
  const char* version = extension_version();
  if (version != nullptr && strcmp(version, PGCACHE_VERSION) != 0)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("pgcache's library is version %s, but its SQL objects in this database are version %s",
                           PGCACHE_VERSION, version),
                    errhint("Run ALTER EXTENSION pgcache UPDATE; if the library is the older one, install version %s "
                            "of it and restart the server.",
                            version)));
  // While CREATE EXTENSION runs, and where its row is not there, the next call looks again.
  same = version != nullptr && !creating_extension;
}

}  // namespace pgcache::pg

PGCACHE_FUNCTION(pgcache_library_version) { PG_RETURN_TEXT_P(cstring_to_text(PGCACHE_VERSION)); }

PGCACHE_FUNCTION(pgcache_is_preloaded) { PG_RETURN_BOOL(pgcache::cache_is_shared()); }

PGCACHE_FUNCTION(pgcache_preload_statement) {
  const char* statement = pgcache::pg::preload_statement();
  if (statement == nullptr) PG_RETURN_NULL();
  PG_RETURN_TEXT_P(cstring_to_text(statement));
}

// Called by the install script. A dump must restore and pg_upgrade must pass where nothing is preloaded.
PGCACHE_FUNCTION(pgcache_warn_unless_preloaded) {
  if (!pgcache::cache_is_shared()) {
    const char* statement = pgcache::pg::preload_statement();
    ereport(WARNING, (errmsg("pgcache is installed, but its functions work only after it is loaded at server start"),
                      statement != nullptr ? errhint("Run: %s Then restart the server.", statement) : 0));
  }
  PG_RETURN_VOID();
}
