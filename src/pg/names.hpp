// Names as statements and messages write them.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache::pg {

// schema.relation, quoted where it must be; its number if it is gone.
char* qualified_name(Oid relation);

}  // namespace pgcache::pg
