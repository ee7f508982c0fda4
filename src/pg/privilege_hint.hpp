// Names the grant in PostgreSQL's "permission denied for function".
#pragma once

namespace pgcache::pg {

void install_privilege_hint();

}  // namespace pgcache::pg
