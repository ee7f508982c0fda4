// The row that rate_limit, rate_limit_peek and rate_limit_refund answer with.
#pragma once

#include "limits/limit.hpp"
#include "pg/postgres.hpp"

namespace pgcache {

Datum limit_row(const limits::Verdict& verdict, int64_t quota);

}  // namespace pgcache
