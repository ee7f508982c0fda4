// IPv4 and IPv6 addresses and networks. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pgcache::flags {

// Bits behind the prefix may be set.
struct Address {
  std::array<uint8_t, 16> bytes;  // of IPv4 the first four, the others are zero
  uint8_t prefix;                 // in bits; all where none was written
  bool is_v6;
};

// "10.0.0.1", "10.0.0.0/8", "2001:db8::1", "2001:db8::/32".
std::optional<Address> parse_address(std::string_view text) noexcept;

// Whether all of the first one lies in the second, or both are the same address.
bool lies_in(const Address& address, const Address& network) noexcept;

}  // namespace pgcache::flags
