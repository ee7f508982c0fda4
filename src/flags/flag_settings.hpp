#pragma once

#include <cstdint>

namespace pgcache {

void define_flag_settings();

// Whose flags are read and written.
const char* environment_setting();
// How often it has been set in this session, a rollback of it included.
uint32_t environment_changes();

}  // namespace pgcache
