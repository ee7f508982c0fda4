// One condition on one attribute of a context. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "flags/address.hpp"
#include "flags/memory.hpp"
#include "flags/regular_expression.hpp"
#include "flags/semantic_version.hpp"

namespace pgcache::flags {

enum class Operator : uint8_t {
  in,
  not_in,
  str_starts_with,
  str_ends_with,
  str_contains,
  num_eq,
  num_gt,
  num_gte,
  num_lt,
  num_lte,
  date_after,
  date_before,
  semver_eq,
  semver_gt,
  semver_gte,
  semver_lt,
  semver_lte,
  regex,
  in_cidr,
};

// As it is written in a constraint; nullopt for what is no operator.
std::optional<Operator> operator_of(std::string_view name) noexcept;
std::string_view name_of(Operator op) noexcept;

// Whether it compares with `values` rather than with `value`.
bool takes_values(Operator op) noexcept;
// Whether it compares a time rather than the attribute.
constexpr bool compares_time(Operator op) noexcept { return op == Operator::date_after || op == Operator::date_before; }

struct Constraint {
  // As it was written.
  std::string_view attribute;
  std::string_view value;
  std::span<std::string_view> values;
  Operator op;
  bool is_inverted;
  bool ignores_case;
  // As it is compared; what prepare() has made of the above.
  RegularExpression* expression;
  std::span<const Address> networks;
  SemanticVersion version;
  double number;
  int64_t moment;
};

// What a compiled set of constraints shares.
struct Workshop {
  Memory memory;
  bool is_utf8;
  RegularExpression* expressions;  // the list for release_all
  bool lacks_memory;               // to be looked at after each use of what was made here
};

// What is wrong with the value that cannot be compared with.
struct Problem {
  std::string_view value;
  std::string_view what;  // "is not a number"
};

// Makes it ready to be compared; nullopt if it is. What the constraint and the problem refer to must stay. A regular
// expression is not compiled yet.
std::optional<Problem> prepare(Constraint& constraint, Workshop& workshop);

// A finite decimal number with blanks around it.
std::optional<double> parse_number(std::string_view text) noexcept;

std::string_view without_blanks(std::string_view text) noexcept;

// `attribute`: its text, nullopt where the context lacks it. `now`: called for dates only, in microseconds since 2000.
template <typename Now>
bool passes(const Constraint& constraint, std::optional<std::string_view> attribute, Now now) noexcept;

namespace internal {
bool compare_attribute(const Constraint& constraint, std::string_view attribute) noexcept;
}

template <typename Now>
bool passes(const Constraint& constraint, std::optional<std::string_view> attribute, Now now) noexcept {
  bool is_met;
  if (compares_time(constraint.op)) {
    const std::optional<int64_t> moment = now();
    is_met =
        moment && (constraint.op == Operator::date_after ? *moment > constraint.moment : *moment < constraint.moment);
  } else {
    is_met = attribute ? internal::compare_attribute(constraint, *attribute) : constraint.op == Operator::not_in;
  }
  return is_met != constraint.is_inverted;
}

}  // namespace pgcache::flags
