// Addresses and networks: what is one, and which lies in which.
#include "flags/address.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "flags.hpp"

namespace pgcache::flags {
namespace {

using test::Exactly;
using test::for_each_mutation;

std::optional<Address> parsed(std::string_view text) { return parse_address(Exactly(text).view()); }

bool lies(std::string_view address, std::string_view network) {
  const auto one = parsed(address);
  const auto other = parsed(network);
  EXPECT_TRUE(one) << address;
  EXPECT_TRUE(other) << network;
  return one && other && lies_in(*one, *other);
}

TEST(FlagAddress, IsRead) {
  const struct {
    const char* text;
    bool is_v6;
    int prefix;
    std::array<uint8_t, 16> bytes;
  } cases[] = {
      {"0.0.0.0", false, 32, {}},
      {"255.255.255.255", false, 32, {255, 255, 255, 255}},
      {"10.1.2.3", false, 32, {10, 1, 2, 3}},
      {"10.1.2.3/8", false, 8, {10, 1, 2, 3}},
      {"10.0.0.0/0", false, 0, {10}},
      {"10.0.0.0/32", false, 32, {10}},
      {"10.0.0.0/08", false, 8, {10}},
      {"::", true, 128, {}},
      {"::/0", true, 0, {}},
      {"::1", true, 128, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
      {"2001:db8::", true, 128, {0x20, 0x01, 0x0d, 0xb8}},
      {"2001:DB8::/32", true, 32, {0x20, 0x01, 0x0d, 0xb8}},
      {"1:2:3:4:5:6:7:8/128", true, 128, {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8}},
      {"1::8", true, 128, {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8}},
      {"::ffff:10.1.2.3", true, 128, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3}},
      {"0000:0000:0000:0000:0000:ffff:255.255.255.255/127",
       true,
       127,
       {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255}},
  };
  for (const auto& it : cases) {
    const auto address = parsed(it.text);
    ASSERT_TRUE(address) << it.text;
    EXPECT_EQ(address->is_v6, it.is_v6) << it.text;
    EXPECT_EQ(address->prefix, it.prefix) << it.text;
    EXPECT_EQ(address->bytes, it.bytes) << it.text;
  }
}

TEST(FlagAddress, IsRefused) {
  for (const char* text : {"",
                           " ",
                           "/",
                           "/8",
                           "10",
                           "10.0.0",
                           "10.0.0.0.0",
                           "10.0.0.256",
                           "10.0.0.-1",
                           "10.0.0.01",
                           "10.0.0.0x1",
                           "10..0.0",
                           "10.0.0.",
                           " 10.0.0.0",
                           "10.0.0.0 ",
                           "10.0.0.0/",
                           "10.0.0.0/33",
                           "10.0.0.0/-1",
                           "10.0.0.0/+8",
                           "10.0.0.0/ 8",
                           "10.0.0.0/8 ",
                           "10.0.0.0/8/8",
                           "10.0.0.0/0008",
                           "10.0.0.0/264",
                           "10.0.0.0/8a",
                           "10.0.0.0/255.0.0.0",
                           ":",
                           ":::",
                           "1::2::3",
                           "1:2:3:4:5:6:7",
                           "1:2:3:4:5:6:7:8:9",
                           "12345::",
                           "g::",
                           "fe80::1%eth0",
                           "::/129",
                           "::/256",
                           "[::1]",
                           "::1:",
                           "::256.0.0.1",
                           "localhost",
                           "00000000000000000000000000000000000000000000000000000000000000000",
                           "0000:0000:0000:0000:0000:ffff:255.255.255.2555"})
    EXPECT_FALSE(parsed(text)) << text;
  EXPECT_FALSE(parsed(std::string_view("10.0.0.0\0", 9)));
  EXPECT_FALSE(parsed(std::string_view("10.0.0.0\0/8", 11)));
  EXPECT_FALSE(parsed(std::string_view("10.0.0.0/8\0", 11)));
  EXPECT_FALSE(parsed(std::string(100'000, ':')));
  EXPECT_FALSE(parse_address({}));
}

TEST(FlagAddress, LiesInNetworks) {
  EXPECT_TRUE(lies("10.1.2.3", "10.0.0.0/8"));
  EXPECT_FALSE(lies("11.0.0.0", "10.0.0.0/8"));
  EXPECT_TRUE(lies("10.1.2.3", "10.255.0.0/8")) << "bits behind the prefix do not count";
  EXPECT_TRUE(lies("10.1.2.3", "0.0.0.0/0"));
  EXPECT_TRUE(lies("10.1.2.3", "10.1.2.3"));
  EXPECT_FALSE(lies("10.1.2.3", "10.1.2.2"));
  EXPECT_TRUE(lies("10.1.2.3", "10.1.2.2/31"));
  EXPECT_FALSE(lies("10.1.2.4", "10.1.2.2/31"));
  EXPECT_TRUE(lies("192.168.127.255", "192.168.64.0/18"));
  EXPECT_FALSE(lies("192.168.128.0", "192.168.64.0/18"));
  EXPECT_TRUE(lies("2001:db8::1", "2001:db8::/32"));
  EXPECT_FALSE(lies("2001:db9::1", "2001:db8::/32"));
  EXPECT_TRUE(lies("2001:db8:8000::", "2001:db8:8000::/33"));
  EXPECT_FALSE(lies("2001:db8:7fff::", "2001:db8:8000::/33"));
  EXPECT_FALSE(lies("::1", "::2"));
}

TEST(FlagAddress, OfOneKindLiesInNoneOfTheOther) {
  EXPECT_FALSE(lies("::", "0.0.0.0/0"));
  EXPECT_FALSE(lies("0.0.0.0", "::/0"));
  EXPECT_FALSE(lies("::ffff:10.1.2.3", "10.0.0.0/8"));
}

TEST(FlagAddress, NetworksLieInWiderOnes) {
  EXPECT_TRUE(lies("10.1.0.0/16", "10.0.0.0/8"));
  EXPECT_FALSE(lies("10.1.0.0/16", "10.1.128.0/17"));
  EXPECT_TRUE(lies("10.0.0.0/8", "10.0.0.0/8"));
  EXPECT_TRUE(lies("10.0.0.0/8", "10.0.0.0/16")) << "it is the same address";
}

// ---------------------------------------------------------------------------------------------------------------------
// Against strings of bits

struct Written {
  std::string text;
  std::string bits;  // up to the prefix
  std::string all_bits;
  bool is_v6;
};

std::string bits_of(const std::vector<uint8_t>& bytes) {
  std::string bits;
  for (const uint8_t byte : bytes)
    for (int bit = 7; bit >= 0; --bit) bits += (byte >> bit & 1) != 0 ? '1' : '0';
  return bits;
}

// Few different bits, so that many share a prefix.
Written random_address(std::mt19937_64& random) {
  Written written;
  written.is_v6 = random() % 2 == 0;
  std::vector<uint8_t> bytes(written.is_v6 ? 16 : 4);
  for (uint8_t& byte : bytes) byte = random() % 8 == 0 ? static_cast<uint8_t>(1 << random() % 8) : 0;
  char part[8];
  if (written.is_v6) {
    const auto group = [&](size_t i) { return bytes[2 * i] << 8 | bytes[2 * i + 1]; };
    // A run of zeros that is left out.
    size_t from = random() % 9;
    size_t to = from;
    while (to < 8 && group(to) == 0) ++to;
    if (to == from) from = to = 9;
    for (size_t i = 0; i < 8; ++i) {
      if (i == from) written.text += "::";
      if (i >= from && i < to) continue;
      if (i > 0 && i != to) written.text += ':';
      std::snprintf(part, sizeof part, random() % 2 == 0 ? "%x" : "%04X", static_cast<unsigned>(group(i)));
      written.text += part;
    }
  } else {
    for (const uint8_t byte : bytes) written.text += (written.text.empty() ? "" : ".") + std::to_string(byte);
  }
  written.all_bits = bits_of(bytes);
  size_t prefix = written.all_bits.size();
  if (random() % 3 != 0) {
    prefix = random() % (prefix + 1);
    written.text += '/' + std::to_string(prefix);
  }
  written.bits = written.all_bits.substr(0, prefix);
  return written;
}

TEST(FlagAddress, LiesWhereItsBitsSay) {
  std::mt19937_64 random(83);
  std::vector<Written> all;
  for (int i = 0; i < 500; ++i) all.push_back(random_address(random));
  std::vector<Address> addresses;
  for (const Written& it : all) {
    const auto address = parsed(it.text);
    ASSERT_TRUE(address) << it.text;
    ASSERT_EQ(address->prefix, it.bits.size()) << it.text;
    ASSERT_EQ(bits_of({address->bytes.begin(), address->bytes.begin() + (it.is_v6 ? 16 : 4)}), it.all_bits) << it.text;
    addresses.push_back(*address);
  }
  int inside = 0;
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = 0; j < all.size(); ++j) {
      const bool expected =
          all[i].is_v6 == all[j].is_v6 && (all[i].bits.starts_with(all[j].bits) || all[i].all_bits == all[j].all_bits);
      ASSERT_EQ(lies_in(addresses[i], addresses[j]), expected) << all[i].text << " in " << all[j].text;
      inside += expected ? 1 : 0;
    }
  EXPECT_GT(inside, 10'000);
}

TEST(FlagAddress, EachBitOfThePrefixCounts) {
  for (const bool is_v6 : {false, true}) {
    const unsigned size = is_v6 ? 128 : 32;
    for (unsigned prefix = 0; prefix <= size; ++prefix)
      for (unsigned flipped = 0; flipped < size; ++flipped) {
        Address network{};
        network.is_v6 = is_v6;
        network.prefix = static_cast<uint8_t>(prefix);
        Address address{};
        address.is_v6 = is_v6;
        address.prefix = static_cast<uint8_t>(size);
        address.bytes[flipped / 8] = static_cast<uint8_t>(0x80 >> flipped % 8);
        ASSERT_EQ(lies_in(address, network), flipped >= prefix) << "bit " << flipped << ", prefix " << prefix;
      }
  }
}

TEST(FlagAddress, MutationsAreTakenOrRefused) {
  int taken = 0;
  int refused = 0;
  for (const char* text : {"10.20.30.40/12", "2001:db8::a:0/33", "::ffff:1.2.3.4/97", "1:2:3:4:5:6:7:8",
                           "0000:0000:0000:0000:0000:ffff:255.255.255.255/127"})
    for_each_mutation(text, std::string_view(".:/019afg%\0 ", 12), [&](std::string_view mutation) {
      const auto address = parse_address(mutation);
      ++(address ? taken : refused);
      if (!address) return;
      EXPECT_EQ(address->is_v6, mutation.find(':') != std::string_view::npos);
      EXPECT_LE(address->prefix, address->is_v6 ? 128 : 32);
      EXPECT_TRUE(lies_in(*address, *address));
    });
  EXPECT_GT(taken, 200);
  EXPECT_GT(refused, 1'000);
}

}  // namespace
}  // namespace pgcache::flags
