#include "flags/bucket.hpp"

#include <bit>

namespace pgcache::flags {

namespace {

uint32_t mixed(uint32_t block) noexcept { return std::rotl(block * 0xcc9e2d51U, 15) * 0x1b873593U; }

uint32_t with_block(uint32_t hash, uint32_t block) noexcept {
  return std::rotl(hash ^ mixed(block), 13) * 5 + 0xe6546b64U;
}

uint32_t byte_at(std::string_view bytes, size_t at) noexcept { return static_cast<unsigned char>(bytes[at]); }

}  // namespace

void Murmur3::add(std::string_view bytes) noexcept {
  size_t at = 0;
  const auto take_byte = [&] {
    tail_ |= byte_at(bytes, at++) << 8 * (length_ % 4);
    if (++length_ % 4 != 0) return;
    hash_ = with_block(hash_, tail_);
    tail_ = 0;
  };
  while (length_ % 4 != 0 && at < bytes.size()) take_byte();
  for (; bytes.size() - at >= 4; at += 4, length_ += 4)
    hash_ = with_block(hash_, byte_at(bytes, at) | byte_at(bytes, at + 1) << 8 | byte_at(bytes, at + 2) << 16 |
                                  byte_at(bytes, at + 3) << 24);
  while (at < bytes.size()) take_byte();
}

uint32_t Murmur3::finish() const noexcept {
  uint32_t hash = length_ % 4 == 0 ? hash_ : hash_ ^ mixed(tail_);
  hash ^= length_;
  hash = (hash ^ hash >> 16) * 0x85ebca6bU;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35U;
  return hash ^ hash >> 16;
}

}  // namespace pgcache::flags
