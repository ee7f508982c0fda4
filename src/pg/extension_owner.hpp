// The rights of the extension's owner, for what a function does to the extension's own tables and to triggers, once it
// has made sure that its caller may have it done.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "executor/spi.h"
#include "miscadmin.h"
}

namespace pgcache::pg {

// 42704 if the extension has gone.
Oid extension_owner();

// Calls work() so that its statements run with these rights. An ERROR in it gives them back with the transaction or
// subtransaction that it ends.
template <typename Work>
void as_extension_owner(Work work) {
  Oid user = InvalidOid;
  int security = 0;
  GetUserIdAndSecContext(&user, &security);
  SetUserIdAndSecContext(extension_owner(), security | SECURITY_LOCAL_USERID_CHANGE);
  SPI_connect();
  work();
  SPI_finish();
  SetUserIdAndSecContext(user, security);
}

}  // namespace pgcache::pg
