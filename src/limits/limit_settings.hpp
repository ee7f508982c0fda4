#pragma once

#include <cstdint>

namespace pgcache {

void define_limit_settings();

uint64_t rate_limit_memory_setting();  // bytes
bool allow_when_full_setting();

}  // namespace pgcache
