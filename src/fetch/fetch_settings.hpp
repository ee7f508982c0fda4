#pragma once

namespace pgcache {

void define_fetch_settings();

long fetch_wait_setting();  // milliseconds

}  // namespace pgcache
