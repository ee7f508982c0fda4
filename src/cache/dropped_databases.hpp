// DROP DATABASE takes the database's entries along.
#pragma once

namespace pgcache {

void install_dropped_databases();

}  // namespace pgcache
