#pragma once

namespace pgcache {

// Ends all entries of the database when the transaction commits that changes a watched table other than by its rows.
void install_table_changes();

}  // namespace pgcache
