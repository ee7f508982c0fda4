// Which flags stand on circles of prerequisites, against a walk along every edge.
#include "flags/circles.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "flags.hpp"

namespace pgcache::flags {
namespace {

using test::Arena;

std::string standing(std::vector<Edge> edges, uint32_t flags) {
  Arena arena;
  std::string names;
  const auto circling = standing_on_circles(edges, flags, arena.memory());
  EXPECT_EQ(circling.size(), flags);
  for (uint32_t flag = 0; flag < circling.size(); ++flag)
    if (circling[flag]) names += static_cast<char>('a' + flag);
  return names;
}

TEST(FlagCircles, AreFoundWithAllThatStandsOnThem) {
  EXPECT_EQ(standing({}, 0), "");
  EXPECT_EQ(standing({}, 3), "");
  EXPECT_EQ(standing({{0, 1}, {1, 2}}, 3), "");
  EXPECT_EQ(standing({{0, 0}}, 2), "a");
  EXPECT_EQ(standing({{0, 1}, {1, 0}}, 3), "ab");
  EXPECT_EQ(standing({{0, 1}, {1, 0}, {2, 0}, {3, 2}}, 5), "abcd") << "c and d stand on it";
  EXPECT_EQ(standing({{0, 1}, {1, 0}, {0, 2}, {2, 3}}, 4), "ab") << "it stands on c and d";
  EXPECT_EQ(standing({{0, 1}, {0, 1}, {0, 2}, {1, 2}}, 3), "") << "an edge may be there twice";
  EXPECT_EQ(standing({{1, 2}, {2, 3}, {3, 1}, {0, 4}, {4, 0}}, 6), "abcde");
}

TEST(FlagCircles, AreThoseOfAWalk) {
  std::mt19937_64 random(137);
  int with_circles = 0;
  int without = 0;
  for (int i = 0; i < 5'000; ++i) {
    const auto flags = static_cast<uint32_t>(1 + random() % 9);
    std::vector<Edge> edges(random() % (flags + 3));
    for (Edge& edge : edges) edge = {static_cast<uint32_t>(random() % flags), static_cast<uint32_t>(random() % flags)};
    // Who can walk as many steps as there are flags walks in a circle.
    std::vector<bool> walks(flags, true);
    for (uint32_t step = 0; step < flags; ++step) {
      std::vector<bool> longer(flags);
      for (const Edge& edge : edges)
        if (walks[edge.prerequisite]) longer[edge.flag] = true;
      walks = longer;
    }
    std::string expected;
    for (uint32_t flag = 0; flag < flags; ++flag)
      if (walks[flag]) expected += static_cast<char>('a' + flag);
    ++(expected.empty() ? without : with_circles);
    ASSERT_EQ(standing(edges, flags), expected) << i;
  }
  EXPECT_GT(with_circles, 1'000);
  EXPECT_GT(without, 1'000);
}

TEST(FlagCircles, MayBeLong) {
  constexpr uint32_t kFlags = 200'000;
  std::vector<Edge> edges;
  for (uint32_t flag = 0; flag + 1 < kFlags; ++flag) edges.push_back({flag, flag + 1});
  Arena arena;
  const auto count = [&] {
    std::vector<Edge> copy = edges;
    const auto circling = standing_on_circles(copy, kFlags, arena.memory());
    return std::count(circling.begin(), circling.end(), true);
  };
  EXPECT_EQ(count(), 0);
  edges.push_back({kFlags / 2, kFlags / 2 - 1});
  EXPECT_EQ(count(), kFlags / 2 + 1);
}

}  // namespace
}  // namespace pgcache::flags
