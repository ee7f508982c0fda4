#include "flags/circles.hpp"

#include <algorithm>

namespace pgcache::flags {

// Kahn, Topological Sorting of Large Networks, CACM 5(11), 1962: flags whose prerequisites are all done are done; the
// others never will be.
std::span<const bool> standing_on_circles(std::span<Edge> edges, uint32_t flags, const Memory& memory) {
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.prerequisite < b.prerequisite; });
  const std::span<uint32_t> waits_for = memory.array<uint32_t>(flags);
  for (const Edge& edge : edges) ++waits_for[edge.flag];

  const std::span<uint32_t> done = memory.array<uint32_t>(flags);
  size_t done_count = 0;
  for (uint32_t flag = 0; flag < flags; ++flag)
    if (waits_for[flag] == 0) done[done_count++] = flag;
  for (size_t next = 0; next < done_count; ++next) {
    const auto dependents =
        std::equal_range(edges.begin(), edges.end(), Edge{0, done[next]},
                         [](const Edge& a, const Edge& b) { return a.prerequisite < b.prerequisite; });
    for (auto edge = dependents.first; edge != dependents.second; ++edge)
      if (--waits_for[edge->flag] == 0) done[done_count++] = edge->flag;
  }

  const std::span<bool> circling = memory.array<bool>(flags);
  for (uint32_t flag = 0; flag < flags; ++flag) circling[flag] = waits_for[flag] > 0;
  return circling;
}

}  // namespace pgcache::flags
