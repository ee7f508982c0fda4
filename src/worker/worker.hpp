// The background worker: loads the saved cache, gives expired memory back, saves the cache at shutdown.
#pragma once

namespace pgcache {

void install_worker();

}  // namespace pgcache
