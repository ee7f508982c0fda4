// The functions of rate limits.
#include "limits/limit_arguments.hpp"
#include "limits/limit_row.hpp"
#include "limits/limit_settings.hpp"
#include "limits/shared_limits.hpp"
#include "pg/clock.hpp"
#include "pg/function.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

// A TimestampTz is what the table counts in. No lock is held, and nothing is lost where a cancelled call ends here.
int64_t read_clock() {
  CHECK_FOR_INTERRUPTS();
  return pg::clock_now();
}

using Call = limits::Verdict (limits::LimitTable::*)(const limits::Key&, const limits::Request&,
                                                     limits::Clock) noexcept;

limits::Verdict verdict_of(Call call, const limits::Key& key, const limits::Request& request) {
  const limits::Verdict verdict = (limit_table.*call)(key, request, read_clock);
  if (unlikely(verdict.lacks_room)) log_lack_of_room();
  return verdict;
}

// (key, quota, period, cost, burst, algorithm, block)
Datum row_of(Call call, FunctionCallInfo fcinfo) {
  require_limits();
  const limits::Key key = limit_key_argument(fcinfo, 0);
  const limits::Request request = full_request(fcinfo);
  return limit_row(verdict_of(call, key, request), request.limit.quota);
}

}  // namespace

}  // namespace pgcache

PGCACHE_FUNCTION(pgcache_rate_limit) { return pgcache::row_of(&pgcache::limits::LimitTable::charge, fcinfo); }

PGCACHE_FUNCTION(pgcache_rate_limit_peek) { return pgcache::row_of(&pgcache::limits::LimitTable::peek, fcinfo); }

PGCACHE_FUNCTION(pgcache_rate_limit_refund) { return pgcache::row_of(&pgcache::limits::LimitTable::refund, fcinfo); }

// (key, quota, period, cost)
PGCACHE_FUNCTION(pgcache_rate_limit_allowed) {
  using namespace pgcache;
  require_limits();
  const limits::Key key = limit_key_argument(fcinfo, 0);
  PG_RETURN_BOOL(verdict_of(&limits::LimitTable::charge, key, plain_request(fcinfo)).allowed);
}

// (key, duration)
PGCACHE_FUNCTION(pgcache_rate_limit_block) {
  using namespace pgcache;
  require_limits();
  const limits::Key key = limit_key_argument(fcinfo, 0);
  const int64_t until = limit_table.block(key, block_argument(fcinfo, 1, "duration"), read_clock);
  if (until == 0)
    ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("there is no room for another block"),
                    errhint("Raise pgcache.rate_limit_memory, which is %llu MB.",
                            static_cast<unsigned long long>(rate_limit_memory_setting() / 1024 / 1024))));
  PG_RETURN_TIMESTAMPTZ(until);
}

// (key)
PGCACHE_FUNCTION(pgcache_rate_limit_unblock) {
  using namespace pgcache;
  require_limits();
  PG_RETURN_BOOL(limit_table.unblock(limit_key_argument(fcinfo, 0), read_clock));
}

// (key)
PGCACHE_FUNCTION(pgcache_rate_limit_reset) {
  using namespace pgcache;
  require_limits();
  PG_RETURN_INT64(limit_table.reset(limit_key_argument(fcinfo, 0), read_clock));
}
