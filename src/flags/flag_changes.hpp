// Changes of flags: rows checked before they are stored, and everybody told.
#pragma once

namespace pgcache {

void install_flag_changes();

}  // namespace pgcache
