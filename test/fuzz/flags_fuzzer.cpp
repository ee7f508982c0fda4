// Constraints of any bytes for attributes of any bytes: what is prepared answers, inverted the other way, and operators
// agree with each other; what the parsers take makes sense and comes in one order.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "flags/bucket.hpp"
#include "flags/constraint.hpp"
#include "flags/moment.hpp"

namespace {

using namespace pgcache::flags;

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kDay = 86'400 * kSecond;
constexpr int64_t kFirstMoment = -731'000 * kDay;
constexpr int64_t kLastMoment = 2'922'000 * kDay;

void demand(bool is_right, const char* what) {
  if (is_right) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

// Pieces by themselves, so that the sanitizer sees their bounds.
class Arena {
 public:
  Memory memory() {
    return {this, [](void* self, size_t bytes) {
              auto& pieces = static_cast<Arena*>(self)->pieces_;
              pieces.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
              return static_cast<void*>(pieces.back().get());
            }};
  }

  std::string_view text(std::string_view from) {
    const auto copy = memory().array<char>(from.size());
    std::copy(from.begin(), from.end(), copy.begin());
    return {copy.data(), copy.size()};
  }

 private:
  std::vector<std::unique_ptr<std::byte[]>> pieces_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Parsers

void check_versions(std::string_view one, std::string_view other) {
  const auto first = parse_version(one);
  const auto second = parse_version(other);
  if (first) {
    const std::string core =
        std::string(first->major) + '.' + std::string(first->minor) + '.' + std::string(first->patch);
    demand(one.starts_with(core), "a version begins with its numbers");
    demand(compare(*first, *first) == 0, "a version is itself");
    const std::string without = first->prerelease.empty() ? core : core + '-' + std::string(first->prerelease);
    const auto parsed = parse_version(without);
    demand(parsed && compare(*parsed, *first) == 0, "a build does not count");
    const std::string release_text = core + "+b";
    const auto release = parse_version(release_text);
    demand(release && (compare(*first, *release) < 0) == !first->prerelease.empty(), "a release comes last");
  }
  if (!first || !second) return;
  const std::weak_ordering order = compare(*first, *second);
  demand(compare(*second, *first) == (0 <=> order), "versions compare the same way round");
  const bool is_same = first->major == second->major && first->minor == second->minor &&
                       first->patch == second->patch && first->prerelease == second->prerelease;
  demand((order == 0) == is_same, "only the same versions are equal");
}

void check_addresses(std::string_view one, std::string_view other) {
  const auto first = parse_address(one);
  const auto second = parse_address(other);
  if (first) {
    const bool is_v6 = one.find(':') != std::string_view::npos;
    demand(first->is_v6 == is_v6 && first->prefix <= (is_v6 ? 128 : 32), "an address has a kind and a prefix");
    demand(lies_in(*first, *first), "an address lies in itself");
    Address all = *first;
    all.prefix = 0;
    demand(lies_in(*first, all), "an address lies in all of them");
    Address alone = *first;
    alone.prefix = is_v6 ? 128 : 32;
    demand(lies_in(alone, *first), "an address lies in its network");
    demand(is_v6 || std::all_of(first->bytes.begin() + 4, first->bytes.end(), [](uint8_t byte) { return byte == 0; }),
           "an IPv4 address has four bytes");
  }
  if (!first || !second) return;
  if (!lies_in(*first, *second) || first->bytes == second->bytes) return;
  demand(first->is_v6 == second->is_v6 && first->prefix >= second->prefix, "a network lies in a wider one");
  for (Address wider = *second; wider.prefix > 0;) {
    --wider.prefix;
    demand(lies_in(*first, wider), "and in all that are wider still");
  }
}

void check_moment(std::string_view text) {
  const auto moment = parse_moment(text);
  if (!moment) return;
  demand(text.size() >= 10, "a moment has a date");
  demand(*moment >= kFirstMoment && *moment <= kLastMoment, "a moment is of the years 0 to 9999");
  if (text.size() == 10) {
    demand(*moment % kDay == 0, "a date is a midnight");
    demand(parse_moment(std::string(text) + "T00:00Z") == moment, "of UTC");
    demand(parse_moment(std::string(text) + "T00:00:01-00:01") == *moment + 61 * kSecond, "and has times");
  }
}

void check_number(std::string_view text) {
  const auto number = parse_number(text);
  if (!number) return;
  demand(std::isfinite(*number), "a number is finite");
  demand(parse_number(without_blanks(text)) == number, "blanks around a number do not count");
  char copy[64];
  const int size = std::snprintf(copy, sizeof copy, "%.17g", *number);
  demand(parse_number({copy, static_cast<size_t>(size)}) == number, "a number is read as it was written");
}

void check_blanks(std::string_view text) {
  const std::string_view inner = without_blanks(text);
  demand(without_blanks(inner) == inner, "blanks are cut once");
  demand(inner.size() <= text.size() && text.find(inner) != std::string_view::npos, "blanks are cut at the ends");
}

void check_hash(std::string_view group, std::string_view id) {
  const std::string whole = std::string(group) + ':' + std::string(id);
  for (const uint32_t seed : {kRolloutSeed, kVariantSeed}) {
    Murmur3 at_once(seed);
    at_once.add(whole);
    const uint32_t hash = hash_in_group(hash_of_group(group, seed), id);
    demand(hash == at_once.finish(), "a hash does not depend on how it is fed");
    demand(point_of(hash) < kAllPoints && point_of(hash) / kPointsAPercent == hash % 100, "a point refines a bucket");
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Constraints

struct Input {
  Operator op;
  bool ignores_case;
  bool is_utf8;
  std::string_view attribute;
  std::vector<std::string_view> values;
  std::string_view value;
};

class Prepared {
 public:
  Prepared(const Input& input, Operator op) : workshop_{arena_.memory(), input.is_utf8, nullptr, false} {
    constraint_.op = op;
    constraint_.ignores_case = input.ignores_case;
    constraint_.value = arena_.text(input.value);
    constraint_.values = arena_.memory().array<std::string_view>(input.values.size());
    for (size_t i = 0; i < input.values.size(); ++i) constraint_.values[i] = arena_.text(input.values[i]);
    problem_ = prepare(constraint_, workshop_);
  }
  ~Prepared() { release_all(workshop_.expressions); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  [[nodiscard]] const std::optional<Problem>& problem() const { return problem_; }
  [[nodiscard]] RegularExpression* expression() const { return constraint_.expression; }

  bool passes(std::optional<std::string_view> attribute, std::optional<int64_t> now = std::nullopt) {
    const auto answer = [&] { return pgcache::flags::passes(constraint_, attribute, [&] { return now; }); };
    const bool is_met = answer();
    demand(answer() == is_met, "a constraint answers the same again");
    constraint_.is_inverted = true;
    demand(answer() != is_met, "inverted it answers the other way");
    constraint_.is_inverted = false;
    return is_met;
  }

 private:
  Arena arena_;
  Workshop workshop_;
  Constraint constraint_{};
  std::optional<Problem> problem_;
};

// First three, then less and equal: the operators of numbers, and of versions.
void check_comparisons(const Input& input, Operator equal) {
  const auto is_met = [&](int step) {
    Prepared prepared(input, static_cast<Operator>(static_cast<int>(equal) + step));
    return prepared.passes(input.attribute);
  };
  const bool is_equal = is_met(0);
  const bool is_greater = is_met(1);
  const bool is_less = is_met(3);
  demand(is_equal + is_greater + is_less <= 1, "it is equal, greater or less");
  demand(is_met(2) == (is_equal || is_greater), "or greater or equal");
  demand(is_met(4) == (is_equal || is_less), "or less or equal");
  const bool is_of_kind = equal == Operator::num_eq ? parse_number(input.attribute).has_value()
                                                    : parse_version(without_blanks(input.attribute)).has_value();
  demand(is_equal + is_greater + is_less == (is_of_kind ? 1 : 0), "or not of its kind");
}

bool is_part(std::string_view value, std::string_view text, Operator op) {
  if (op == Operator::str_starts_with) return text.starts_with(value);
  if (op == Operator::str_ends_with) return text.ends_with(value);
  return text.find(value) != std::string_view::npos;
}

void check_texts(const Input& input, Prepared& prepared) {
  const bool is_met = prepared.passes(input.attribute);
  const bool expected = std::any_of(input.values.begin(), input.values.end(),
                                    [&](std::string_view value) { return is_part(value, input.attribute, input.op); });
  if (!input.ignores_case)
    demand(is_met == expected, "a text begins, ends or contains");
  else if (!input.is_utf8 && input.attribute.size() <= kLongestText)
    demand(is_met || !expected, "ignoring case finds more");
}

void check_constraint(const Input& input) {
  Prepared prepared(input, input.op);
  if (prepared.problem()) {
    demand(!prepared.problem()->what.empty(), "a problem has words");
    return;
  }
  switch (input.op) {
    case Operator::in:
    case Operator::not_in: {
      const bool is_there = std::find(input.values.begin(), input.values.end(), input.attribute) != input.values.end();
      demand(prepared.passes(input.attribute) == (is_there == (input.op == Operator::in)), "it is one of the values");
      break;
    }
    case Operator::str_starts_with:
    case Operator::str_ends_with:
    case Operator::str_contains:
      check_texts(input, prepared);
      break;
    case Operator::num_eq:
    case Operator::num_gt:
    case Operator::num_gte:
    case Operator::num_lt:
    case Operator::num_lte:
      check_comparisons(input, Operator::num_eq);
      break;
    case Operator::semver_eq:
    case Operator::semver_gt:
    case Operator::semver_gte:
    case Operator::semver_lt:
    case Operator::semver_lte:
      check_comparisons(input, Operator::semver_eq);
      break;
    case Operator::date_after:
    case Operator::date_before: {
      const auto bound = parse_moment(without_blanks(input.value));
      demand(bound.has_value(), "a date is compared with a moment");
      const bool is_after = input.op == Operator::date_after;
      demand(!prepared.passes(std::nullopt, *bound), "a moment is neither after nor before itself");
      demand(prepared.passes(std::nullopt, *bound + 1) == is_after, "a later moment is after it");
      demand(prepared.passes(std::nullopt, *bound - 1) == !is_after, "an earlier one is before it");
      demand(!prepared.passes(std::nullopt, std::nullopt), "none is neither");
      return;
    }
    case Operator::regex: {
      char problem[40];
      const bool is_met = prepared.passes(input.attribute);
      demand(!is_met || problem_of(*prepared.expression(), problem).empty(), "a broken expression matches nothing");
      break;
    }
    case Operator::in_cidr: {
      const auto address = parse_address(input.attribute);
      bool is_inside = false;
      for (const std::string_view value : input.values)
        is_inside = is_inside || (address && lies_in(*address, *parse_address(value)));
      demand(prepared.passes(input.attribute) == is_inside, "an address lies in one of the networks");
      break;
    }
  }
  demand(prepared.passes(std::nullopt) == (input.op == Operator::not_in), "without an attribute only NOT_IN passes");
}

// Up to the next line's end.
std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

}  // namespace

// The operator, whether case counts and what the encoding is, the attribute, then the values, a line each.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  Arena arena;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Input input{};
  input.op = static_cast<Operator>(data[0] % (static_cast<int>(Operator::in_cidr) + 1));
  input.ignores_case = (data[1] & 1) != 0;
  input.is_utf8 = (data[1] & 2) != 0;
  text.remove_prefix(2);
  input.attribute = arena.text(take_line(text));
  input.value = arena.text(text);
  while (!text.empty()) input.values.push_back(take_line(text));
  demand(operator_of(name_of(input.op)) == input.op, "an operator has its name");
  demand(!operator_of(input.attribute) || name_of(*operator_of(input.attribute)) == input.attribute,
         "a name is of its operator");
  check_constraint(input);
  check_versions(input.attribute, input.value);
  check_addresses(input.attribute, input.value);
  check_moment(input.attribute);
  check_number(input.attribute);
  check_blanks(input.attribute);
  check_hash(input.attribute, input.value);
  return 0;
}
