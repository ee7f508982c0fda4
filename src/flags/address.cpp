#include "flags/address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace pgcache::flags {

namespace {

constexpr size_t kLongestAddress = INET6_ADDRSTRLEN - 1;

// A number from 0 to `most` with nothing around it.
std::optional<uint8_t> parse_prefix(std::string_view text, unsigned most) noexcept {
  unsigned prefix = 0;
  if (text.empty() || text.size() > 3 || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), prefix);
  if (error != std::errc{} || end != text.data() + text.size() || prefix > most) return std::nullopt;
  return static_cast<uint8_t>(prefix);
}

bool same_bits(const Address& one, const Address& other, unsigned bits) noexcept {
  if (std::memcmp(one.bytes.data(), other.bytes.data(), bits / 8) != 0) return false;
  const unsigned rest = bits % 8;
  return rest == 0 || (one.bytes[bits / 8] ^ other.bytes[bits / 8]) >> (8 - rest) == 0;
}

}  // namespace

std::optional<Address> parse_address(std::string_view text) noexcept {
  const size_t slash = std::min(text.find('/'), text.size());
  char terminated[kLongestAddress + 1];
  if (slash == 0 || slash > kLongestAddress || text.substr(0, slash).find('\0') != std::string_view::npos)
    return std::nullopt;
  std::memcpy(terminated, text.data(), slash);
  terminated[slash] = '\0';

  Address address{};
  address.is_v6 = std::strchr(terminated, ':') != nullptr;
  if (inet_pton(address.is_v6 ? AF_INET6 : AF_INET, terminated, address.bytes.data()) != 1) return std::nullopt;
  const unsigned bits = address.is_v6 ? 128 : 32;
  address.prefix = static_cast<uint8_t>(bits);
  if (slash == text.size()) return address;
  const std::optional<uint8_t> prefix = parse_prefix(text.substr(slash + 1), bits);
  if (!prefix) return std::nullopt;
  address.prefix = *prefix;
  return address;
}

bool lies_in(const Address& address, const Address& network) noexcept {
  if (address.is_v6 != network.is_v6) return false;
  if (address.prefix >= network.prefix && same_bits(address, network, network.prefix)) return true;
  return address.bytes == network.bytes;
}

}  // namespace pgcache::flags
