// The arguments that rate_limit and its kin share, checked. All of it may ERROR.
#pragma once

#include "limits/limit_table.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

// 22004, 22023 if it is no key.
limits::Key limit_key_argument(FunctionCallInfo fcinfo, int number);

// (key, quota, period, cost), of gcra.
limits::Request plain_request(FunctionCallInfo fcinfo);
// (key, quota, period, cost, burst, algorithm, block)
limits::Request full_request(FunctionCallInfo fcinfo);

// For how long to block, in microseconds.
int64_t block_argument(FunctionCallInfo fcinfo, int number, const char* name);

}  // namespace pgcache
