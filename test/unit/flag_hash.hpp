// MurmurHash3_x86_32 as its author published it: of a whole key, block by block. For tests.
#pragma once

#include <cstdint>
#include <string_view>

namespace pgcache::flags::test {

inline uint32_t published_murmur3(std::string_view key, uint32_t seed) {
  const auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<unsigned char>(key[at])); };
  const auto rotl = [](uint32_t x, int by) { return x << by | x >> (32 - by); };
  uint32_t h1 = seed;
  const size_t blocks = key.size() / 4;
  for (size_t i = 0; i < blocks; ++i) {
    uint32_t k1 = byte(4 * i) | byte(4 * i + 1) << 8 | byte(4 * i + 2) << 16 | byte(4 * i + 3) << 24;
    k1 *= 0xcc9e2d51;
    k1 = rotl(k1, 15);
    k1 *= 0x1b873593;
    h1 ^= k1;
    h1 = rotl(h1, 13);
    h1 = h1 * 5 + 0xe6546b64;
  }
  uint32_t k1 = 0;
  switch (key.size() % 4) {
    case 3:
      k1 ^= byte(4 * blocks + 2) << 16;
      [[fallthrough]];
    case 2:
      k1 ^= byte(4 * blocks + 1) << 8;
      [[fallthrough]];
    case 1:
      k1 ^= byte(4 * blocks);
      k1 *= 0xcc9e2d51;
      k1 = rotl(k1, 15);
      k1 *= 0x1b873593;
      h1 ^= k1;
  }
  h1 ^= static_cast<uint32_t>(key.size());
  h1 ^= h1 >> 16;
  h1 *= 0x85ebca6b;
  h1 ^= h1 >> 13;
  h1 *= 0xc2b2ae35;
  h1 ^= h1 >> 16;
  return h1;
}

}  // namespace pgcache::flags::test
