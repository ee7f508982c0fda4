#include "pg/names.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace pgcache::pg {

char* qualified_name(Oid relation) {
  const char* name = get_rel_name(relation);
  const char* schema = name == nullptr ? nullptr : get_namespace_name(get_rel_namespace(relation));
  return schema == nullptr ? psprintf("%u", relation) : quote_qualified_identifier(schema, name);
}

}  // namespace pgcache::pg
