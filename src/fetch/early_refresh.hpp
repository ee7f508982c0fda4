// When a caller refreshes an entry before its time is over, so that a hot key's callers never all find it gone at once:
// XFetch, from A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", PVLDB
// 8(8), 2015, with beta 1. The dearer the last run and the nearer the end, the likelier; the expected lead is one run's
// time.
#pragma once

#include <cmath>

#include "engine/types.hpp"

namespace pgcache {

// `left` until the end, `cost` of the last run; `random` is uniform in [0, 1).
inline bool refreshes_early(engine::Milliseconds left, engine::Milliseconds cost, double random) noexcept {
  return static_cast<double>(cost) * -std::log1p(-random) >= static_cast<double>(left);
}

}  // namespace pgcache
