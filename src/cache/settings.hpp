#pragma once

#include "engine/types.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

void define_cache_settings();

uint64_t memory_setting();                   // bytes
engine::Milliseconds default_ttl_setting();  // 0: no expiry
uint64_t max_value_size_setting();           // bytes, no more than fits
bool serializable_reads_setting();
uint64_t transaction_memory_setting();  // bytes

}  // namespace pgcache
