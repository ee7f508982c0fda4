#include "pg/extension_owner.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "utils/syscache.h"
}

namespace pgcache::pg {

// The extension's schema has the same owner, and is faster to find.
Oid extension_owner() {
  HeapTuple schema = SearchSysCache1(NAMESPACENAME, CStringGetDatum("pgcache"));
  if (!HeapTupleIsValid(schema))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("extension \"pgcache\" does not exist here"),
                    errhint("Run CREATE EXTENSION pgcache.")));
  const Oid owner = reinterpret_cast<Form_pg_namespace>(GETSTRUCT(schema))->nspowner;
  ReleaseSysCache(schema);
  return owner;
}

}  // namespace pgcache::pg
