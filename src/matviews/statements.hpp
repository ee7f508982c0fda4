#pragma once

namespace pgcache {

void install_matview_statements();

}  // namespace pgcache
