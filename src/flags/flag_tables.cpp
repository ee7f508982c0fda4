#include "flags/flag_tables.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "utils/lsyscache.h"
}

namespace pgcache {

Oid flag_table(FlagTable table) {
  constexpr const char* names[kFlagTables] = {"flags", "flag_strategies", "flag_segments", "flag_strategy_segments",
                                              "flag_prerequisites"};
  const char* name = names[static_cast<size_t>(table)];
  const Oid schema = get_namespace_oid("pgcache", true);
  const Oid relation = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
  if (!OidIsValid(relation))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no table pgcache.%s", name),
                    errhint("Run CREATE EXTENSION pgcache.")));
  return relation;
}

}  // namespace pgcache
