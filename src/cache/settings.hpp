#pragma once

#include "engine/types.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

void define_cache_settings();

uint64_t memory_setting();                   // bytes
engine::Milliseconds default_ttl_setting();  // 0: no expiry
uint64_t max_value_size_setting();           // bytes, no more than fits

}  // namespace pgcache
