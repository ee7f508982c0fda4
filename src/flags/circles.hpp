// Which flags have prerequisites that come to an end. Pure.
#pragma once

#include <cstdint>

#include "flags/memory.hpp"

namespace pgcache::flags {

struct Edge {
  uint32_t flag;
  uint32_t prerequisite;
};

// For each of so many flags: whether it is in a circle, or stands on one. Sorts the edges.
std::span<const bool> standing_on_circles(std::span<Edge> edges, uint32_t flags, const Memory& memory);

}  // namespace pgcache::flags
