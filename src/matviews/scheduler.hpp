#pragma once

namespace pgcache {

void install_scheduler();

}  // namespace pgcache
