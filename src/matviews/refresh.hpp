// One refresh, in the transaction that is open: with the rights of the view's owner, whoever asked for it, in
// PostgreSQL's security-restricted operation, with a search_path that nobody else can put anything into.
#pragma once

#include "pg/postgres.hpp"

namespace pgcache {

struct Refreshed {
  bool concurrently;
  int64_t rows;
  int64_t bytes;
  const char* note;  // why not concurrently, though nobody said so; or nullptr
};

// `concurrently`: nothing lets the indexes decide. A view without content is filled plainly in any case. Waits for
// locks as long as pgcache.refresh_lock_timeout. 55000 if the view is of another owner than this one, InvalidOid: any.
// The caller is connected to SPI.
Refreshed refresh_view(Oid view, std::optional<bool> concurrently, Oid owner);

// After each REFRESH, by whatever way it came: invalidates the entries tagged matview:<schema>.<name>, at the commit.
void refreshed(Oid view, uint64_t rows);

}  // namespace pgcache
