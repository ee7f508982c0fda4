#pragma once

#include <cstdint>

namespace pgcache {

void define_matview_settings();

int max_refresh_workers_setting();
int refresh_lock_timeout_setting();   // milliseconds
int64_t refresh_timeout_setting();    // milliseconds; 0: none
int64_t history_retention_setting();  // microseconds

}  // namespace pgcache
