// What a transaction's own events become when it ends.
#pragma once

namespace pgcache {

void install_publication();

}  // namespace pgcache
