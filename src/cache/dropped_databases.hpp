// DROP DATABASE takes the database's entries along, DROP EXTENSION those of the database it is dropped in.
#pragma once

namespace pgcache {

void install_dropped_databases();

}  // namespace pgcache
