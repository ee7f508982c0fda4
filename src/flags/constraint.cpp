#include "flags/constraint.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "flags/moment.hpp"

namespace pgcache::flags {

namespace {

constexpr std::string_view kNames[] = {
    "IN",         "NOT_IN",    "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "NUM_EQ",    "NUM_GT",
    "NUM_GTE",    "NUM_LT",    "NUM_LTE",         "DATE_AFTER",    "DATE_BEFORE",  "SEMVER_EQ", "SEMVER_GT",
    "SEMVER_GTE", "SEMVER_LT", "SEMVER_LTE",      "REGEX",         "IN_CIDR",
};

// By length first: most that differ do so there.
bool comes_before(std::string_view one, std::string_view other) noexcept {
  return one.size() != other.size() ? one.size() < other.size() : one < other;
}

bool is_one_of(std::string_view text, std::span<const std::string_view> sorted) noexcept {
  return std::binary_search(sorted.begin(), sorted.end(), text, comes_before);
}

template <typename Compare>
bool any_value(const Constraint& constraint, Compare compare) noexcept {
  return std::any_of(constraint.values.begin(), constraint.values.end(), compare);
}

RegularExpression& add_expression(Constraint& constraint, Workshop& workshop) {
  RegularExpression& expression = workshop.memory.one<RegularExpression>();
  expression.ignores_case = constraint.ignores_case;
  expression.is_utf8 = workshop.is_utf8;
  expression.lacks_memory = &workshop.lacks_memory;
  expression.next = workshop.expressions;
  workshop.expressions = &expression;
  constraint.expression = &expression;
  return expression;
}

// Folding case is for RE2: it knows Unicode.
void prepare_texts(Constraint& constraint, Workshop& workshop) {
  if (!constraint.ignores_case || constraint.values.empty()) return;
  RegularExpression& expression = add_expression(constraint, workshop);
  expression.literals = constraint.values;
  if (constraint.op == Operator::str_starts_with) expression.anchor = Anchor::start;
  if (constraint.op == Operator::str_ends_with) expression.anchor = Anchor::end;
}

std::optional<Problem> prepare_networks(Constraint& constraint, Workshop& workshop) {
  const std::span<Address> networks = workshop.memory.array<Address>(constraint.values.size());
  for (size_t i = 0; i < networks.size(); ++i) {
    const std::optional<Address> network = parse_address(constraint.values[i]);
    if (!network) return Problem{constraint.values[i], "is neither an address nor a network like 10.0.0.0/8"};
    networks[i] = *network;
  }
  constraint.networks = networks;
  return std::nullopt;
}

template <typename T, typename Parse>
std::optional<Problem> prepare_value(Constraint& constraint, T& to, Parse parse, std::string_view what) {
  const auto parsed = parse(without_blanks(constraint.value));
  if (!parsed) return Problem{constraint.value, what};
  to = *parsed;
  return std::nullopt;
}

bool compare_numbers(Operator op, double one, double other) noexcept {
  switch (op) {
    case Operator::num_eq:
      return one == other;
    case Operator::num_gt:
      return one > other;
    case Operator::num_gte:
      return one >= other;
    case Operator::num_lt:
      return one < other;
    default:
      return one <= other;
  }
}

bool compare_versions(Operator op, const SemanticVersion& one, const SemanticVersion& other) noexcept {
  const std::weak_ordering order = compare(one, other);
  switch (op) {
    case Operator::semver_eq:
      return order == 0;
    case Operator::semver_gt:
      return order > 0;
    case Operator::semver_gte:
      return order >= 0;
    case Operator::semver_lt:
      return order < 0;
    default:
      return order <= 0;
  }
}

bool compare_text(const Constraint& constraint, std::string_view text) noexcept {
  if (constraint.expression != nullptr) return matches(*constraint.expression, text);
  switch (constraint.op) {
    case Operator::str_starts_with:
      return any_value(constraint, [&](std::string_view value) { return text.starts_with(value); });
    case Operator::str_ends_with:
      return any_value(constraint, [&](std::string_view value) { return text.ends_with(value); });
    default:
      return any_value(constraint, [&](std::string_view value) { return text.find(value) != std::string_view::npos; });
  }
}

bool compare_address(const Constraint& constraint, std::string_view text) noexcept {
  const std::optional<Address> address = parse_address(text);
  return address && std::any_of(constraint.networks.begin(), constraint.networks.end(),
                                [&](const Address& network) { return lies_in(*address, network); });
}

}  // namespace

std::optional<Operator> operator_of(std::string_view name) noexcept {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<Operator>(found - std::begin(kNames));
}

std::string_view name_of(Operator op) noexcept { return kNames[static_cast<size_t>(op)]; }

bool takes_values(Operator op) noexcept { return op <= Operator::str_contains || op == Operator::in_cidr; }

std::string_view without_blanks(std::string_view text) noexcept {
  constexpr std::string_view kBlanks = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string_view{}
                                         : text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::optional<double> parse_number(std::string_view text) noexcept {
  text = without_blanks(text);
  // from_chars takes no plus, but infinity.
  const bool has_plus = text.starts_with('+');
  if (has_plus) text.remove_prefix(1);
  if (has_plus && text.starts_with('-')) return std::nullopt;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::optional<Problem> prepare(Constraint& constraint, Workshop& workshop) {
  switch (constraint.op) {
    case Operator::in:
    case Operator::not_in:
      std::sort(constraint.values.begin(), constraint.values.end(), comes_before);
      return std::nullopt;
    case Operator::str_starts_with:
    case Operator::str_ends_with:
    case Operator::str_contains:
      prepare_texts(constraint, workshop);
      return std::nullopt;
    case Operator::num_eq:
    case Operator::num_gt:
    case Operator::num_gte:
    case Operator::num_lt:
    case Operator::num_lte:
      return prepare_value(constraint, constraint.number, parse_number, "is not a number");
    case Operator::date_after:
    case Operator::date_before:
      return prepare_value(constraint, constraint.moment, parse_moment, "is not a date like 2026-12-24T18:00:00Z");
    case Operator::semver_eq:
    case Operator::semver_gt:
    case Operator::semver_gte:
    case Operator::semver_lt:
    case Operator::semver_lte:
      return prepare_value(constraint, constraint.version, parse_version, "is not a semantic version like 1.2.3");
    case Operator::regex:
      add_expression(constraint, workshop).pattern = constraint.value;
      return std::nullopt;
    case Operator::in_cidr:
      return prepare_networks(constraint, workshop);
  }
  return std::nullopt;
}

namespace internal {

bool compare_attribute(const Constraint& constraint, std::string_view attribute) noexcept {
  switch (constraint.op) {
    case Operator::in:
      return is_one_of(attribute, constraint.values);
    case Operator::not_in:
      return !is_one_of(attribute, constraint.values);
    case Operator::str_starts_with:
    case Operator::str_ends_with:
    case Operator::str_contains:
    case Operator::regex:
      return compare_text(constraint, attribute);
    case Operator::num_eq:
    case Operator::num_gt:
    case Operator::num_gte:
    case Operator::num_lt:
    case Operator::num_lte: {
      const std::optional<double> number = parse_number(attribute);
      return number && compare_numbers(constraint.op, *number, constraint.number);
    }
    case Operator::semver_eq:
    case Operator::semver_gt:
    case Operator::semver_gte:
    case Operator::semver_lt:
    case Operator::semver_lte: {
      const std::optional<SemanticVersion> version = parse_version(without_blanks(attribute));
      return version && compare_versions(constraint.op, *version, constraint.version);
    }
    case Operator::in_cidr:
      return compare_address(constraint, attribute);
    case Operator::date_after:
    case Operator::date_before:
      break;
  }
  return false;
}

}  // namespace internal

}  // namespace pgcache::flags
