#include "flags/flag_json.hpp"

#include <cmath>

#include "flags/flag_set.hpp"
#include "pg/arguments.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
}

namespace pgcache {

namespace {

using flags::Constraint;
using flags::Variant;
using flags::Workshop;

constexpr uint32_t kMostWeight = 1'000'000;

constexpr const char* kConstraintHint =
    "Like {\"contextName\": \"plan\", \"operator\": \"IN\", \"values\": [\"pro\"]}, or with \"value\" for one value.";
constexpr const char* kVariantHint = "Like {\"name\": \"blue\", \"weight\": 50, \"value\": \"#00f\"}.";

__attribute__((format(printf, 3, 4))) bool complain(Complaint& complaint, const char* hint, const char* format, ...) {
  StringInfoData message;
  initStringInfo(&message);
  int missing = 0;
  do {
    enlargeStringInfo(&message, missing);
    va_list arguments;
    va_start(arguments, format);
    missing = appendStringInfoVA(&message, format, arguments);
    va_end(arguments);
  } while (missing != 0);
  complaint = {message.data, hint};
  return false;
}

const char* shown(std::string_view text) { return pg::beginning_of(text); }

std::string_view string_of(const JsonbValue& value) {
  return {value.val.string.val, static_cast<size_t>(value.val.string.len)};
}

bool is_array(const JsonbValue& value) {
  return value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data) &&
         !JsonContainerIsScalar(value.val.binary.data);
}

bool is_object(const JsonbValue& value) {
  return value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data);
}

// What an iterator wants to change, and does not.
JsonbContainer* mutable_container(const JsonbContainer* container) { return const_cast<JsonbContainer*>(container); }

// Calls visit(element) until it says false; whether it never did.
template <typename Visit>
bool each_element(const JsonbContainer* array, Visit visit) {
  JsonbIterator* iterator = JsonbIteratorInit(mutable_container(array));
  JsonbValue value;
  JsonbIteratorNext(&iterator, &value, false);
  while (JsonbIteratorNext(&iterator, &value, true) == WJB_ELEM)
    if (!visit(value)) return false;
  return true;
}

// Calls visit(name, value) likewise.
template <typename Visit>
bool each_field(const JsonbContainer* object, Visit visit) {
  JsonbIterator* iterator = JsonbIteratorInit(mutable_container(object));
  JsonbValue value;
  JsonbIteratorNext(&iterator, &value, false);
  while (JsonbIteratorNext(&iterator, &value, true) == WJB_KEY) {
    const std::string_view name = string_of(value);
    JsonbIteratorNext(&iterator, &value, true);
    if (!visit(name, value)) return false;
  }
  return true;
}

bool is_array_of_objects(const Jsonb* json) { return JB_ROOT_IS_ARRAY(json) && !JB_ROOT_IS_SCALAR(json); }

enum class Keep : bool { all, trimmed };

bool read_strings(const JsonbValue& array, Workshop& workshop, Keep keep, std::span<std::string_view>& strings) {
  if (!is_array(array)) return false;
  const std::span<std::string_view> all =
      workshop.memory.array<std::string_view>(JsonContainerSize(array.val.binary.data));
  size_t count = 0;
  const bool are_strings = each_element(array.val.binary.data, [&](const JsonbValue& value) {
    if (value.type != jbvString) return false;
    const std::string_view text = keep == Keep::trimmed ? flags::without_blanks(string_of(value)) : string_of(value);
    if (keep == Keep::all || !text.empty()) all[count++] = text;
    return true;
  });
  strings = all.first(count);
  return are_strings;
}

struct ConstraintFields {
  bool has_name;
  bool has_operator;
  bool has_values;
  bool has_value;
};

bool read_operator(const JsonbValue& value, Constraint& constraint, Complaint& complaint) {
  if (value.type != jbvString)
    return complain(complaint, kConstraintHint, "\"operator\" of a constraint must be a string");
  const std::optional<flags::Operator> op = flags::operator_of(string_of(value));
  if (!op)
    return complain(complaint,
                    "The operators are IN, NOT_IN, STR_STARTS_WITH, STR_ENDS_WITH, STR_CONTAINS, NUM_EQ, NUM_GT, "
                    "NUM_GTE, NUM_LT, NUM_LTE, DATE_AFTER, DATE_BEFORE, SEMVER_EQ, SEMVER_GT, SEMVER_GTE, SEMVER_LT, "
                    "SEMVER_LTE, REGEX and IN_CIDR.",
                    "unknown operator of a constraint: \"%s\"", shown(string_of(value)));
  constraint.op = *op;
  return true;
}

bool read_boolean(const JsonbValue& value, const char* field, bool& to, Complaint& complaint) {
  if (value.type != jbvBool)
    return complain(complaint, kConstraintHint, "\"%s\" of a constraint must be true or false", field);
  to = value.val.boolean;
  return true;
}

bool read_constraint_field(std::string_view field, const JsonbValue& value, Workshop& workshop, Constraint& constraint,
                           ConstraintFields& has, Complaint& complaint) {
  if (field == "contextName") {
    if (value.type != jbvString || !check_name(string_of(value), "\"contextName\" of a constraint", complaint))
      return complaint.message == nullptr
                 ? complain(complaint, kConstraintHint, "\"contextName\" of a constraint must be a string")
                 : false;
    constraint.attribute = string_of(value);
    has.has_name = true;
    return true;
  }
  if (field == "operator") return has.has_operator = read_operator(value, constraint, complaint);
  if (field == "inverted") return read_boolean(value, "inverted", constraint.is_inverted, complaint);
  if (field == "caseInsensitive") return read_boolean(value, "caseInsensitive", constraint.ignores_case, complaint);
  if (field == "values") {
    has.has_values = true;
    if (value.type == jbvNull || read_strings(value, workshop, Keep::trimmed, constraint.values)) return true;
    return complain(complaint, kConstraintHint, "\"values\" of a constraint must be an array of strings");
  }
  if (field == "value") {
    if (value.type == jbvNull) return true;
    if (value.type != jbvString)
      return complain(complaint, kConstraintHint, "\"value\" of a constraint must be a string");
    constraint.value = string_of(value);
    return has.has_value = true;
  }
  return complain(complaint, kConstraintHint, "unknown field of a constraint: \"%s\"", shown(field));
}

const char* name_of_operator(const Constraint& constraint) { return flags::name_of(constraint.op).data(); }

bool read_constraint(const JsonbValue& json, Workshop& workshop, Constraint& constraint, Complaint& complaint) {
  if (!is_object(json)) return complain(complaint, kConstraintHint, "a constraint must be a JSON object");
  ConstraintFields has{};
  if (!each_field(json.val.binary.data, [&](std::string_view field, const JsonbValue& value) {
        return read_constraint_field(field, value, workshop, constraint, has, complaint);
      }))
    return false;
  if (!has.has_operator) return complain(complaint, kConstraintHint, "a constraint has no \"operator\"");
  const bool is_date = flags::compares_time(constraint.op);
  if (!has.has_name && !is_date) return complain(complaint, kConstraintHint, "a constraint has no \"contextName\"");
  const bool takes_values = flags::takes_values(constraint.op);
  if (takes_values ? !has.has_values : !has.has_value)
    return complain(complaint, kConstraintHint, "a constraint with %s needs \"%s\"", name_of_operator(constraint),
                    takes_values ? "values" : "value");
  if (const std::optional<flags::Problem> problem = flags::prepare(constraint, workshop))
    return complain(complaint, nullptr, "the value of a constraint with %s %s: \"%s\"", name_of_operator(constraint),
                    pnstrdup(problem->what.data(), problem->what.size()), shown(problem->value));
  return true;
}

// ---- variants -----------------------------------------------------------------------------------------------------

// A copy of its own in the workshop's memory.
const void* kept_json(JsonbValue& value, Workshop& workshop) {
  const Jsonb* json = JsonbValueToJsonb(&value);
  void* copy = workshop.memory.allocate(workshop.memory.owner, VARSIZE(json));
  memcpy(copy, json, VARSIZE(json));
  return copy;
}

// Whether brackets nest deeper than the parser of JSON can be trusted with on any stack.
bool is_too_deep(std::string_view json) {
  constexpr int kDeepest = 64;
  int depth = 0;
  bool in_string = false;
  for (size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (in_string) {
      if (c == '\\') ++at;
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kDeepest) return true;
  }
  return false;
}

// Unleash's form of a value; nullptr with a complaint.
const void* read_payload(const JsonbValue& json, Workshop& workshop, Complaint& complaint) {
  constexpr const char* kHint =
      "Like {\"type\": \"json\", \"value\": \"{}\"}; the types are string, csv, number and json.";
  std::string_view type;
  std::string_view text;
  const bool is_good =
      is_object(json) && each_field(json.val.binary.data, [&](std::string_view field, const JsonbValue& value) {
        if (value.type != jbvString) return false;
        if (field == "type") type = string_of(value);
        if (field == "value") text = string_of(value);
        return field == "type" || field == "value";
      });
  if (!is_good || (type != "string" && type != "csv" && type != "number" && type != "json")) {
    complain(complaint, kHint, "\"payload\" of a variant must be an object with \"type\" and \"value\"");
    return nullptr;
  }
  if (type == "string" || type == "csv") {
    JsonbValue value;
    value.type = jbvString;
    value.val.string.val = const_cast<char*>(text.data());
    value.val.string.len = static_cast<int>(text.size());
    return kept_json(value, workshop);
  }
  if (is_too_deep(text)) {
    complain(complaint, nullptr, "\"payload\" of a variant nests more than 64 levels deep");
    return nullptr;
  }
  // The parser of JSON raises; this is the one place where that is taken for an answer.
  MemoryContext caller = CurrentMemoryContext;
  const void* volatile kept = nullptr;
  PG_TRY();
  {
    const Datum parsed = DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(text.data(), text.size())));
    const Jsonb* value = DatumGetJsonbP(parsed);
    JsonbValue scalar;
    const bool is_number = JB_ROOT_IS_SCALAR(value) && JsonbExtractScalar(&const_cast<Jsonb*>(value)->root, &scalar) &&
                           scalar.type == jbvNumeric;
    if (type == "json" || is_number) {
      void* copy = workshop.memory.allocate(workshop.memory.owner, VARSIZE(value));
      memcpy(copy, value, VARSIZE(value));
      kept = copy;
    }
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(caller);
    ErrorData* error = CopyErrorData();
    if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION)) PG_RE_THROW();
    FlushErrorState();
  }
  PG_END_TRY();
  if (kept == nullptr)
    complain(complaint, kHint, "\"payload\" of a variant is not a %s: \"%s\"", type == "json" ? "JSON text" : "number",
             shown(text));
  return kept;
}

bool read_override(const JsonbValue& json, Workshop& workshop, flags::Override& to, Complaint& complaint) {
  const bool is_good =
      is_object(json) && each_field(json.val.binary.data, [&](std::string_view field, const JsonbValue& value) {
        if (field == "contextName" && value.type == jbvString) {
          to.attribute = string_of(value);
          return true;
        }
        std::span<std::string_view> values;
        if (field != "values" || !read_strings(value, workshop, Keep::all, values)) return false;
        to.values = values;
        return true;
      });
  return (is_good && !to.attribute.empty()) ||
         complain(complaint, "Like {\"contextName\": \"userId\", \"values\": [\"42\"]}.",
                  "an override of a variant must be an object with \"contextName\" and \"values\"");
}

bool read_overrides(const JsonbValue& json, Workshop& workshop, Variant& variant, Complaint& complaint) {
  if (json.type == jbvNull) return true;
  if (!is_array(json)) return complain(complaint, kVariantHint, "\"overrides\" of a variant must be an array");
  const std::span<flags::Override> all =
      workshop.memory.array<flags::Override>(JsonContainerSize(json.val.binary.data));
  variant.overrides = all;
  size_t count = 0;
  return each_element(json.val.binary.data,
                      [&](const JsonbValue& value) { return read_override(value, workshop, all[count++], complaint); });
}

bool read_weight(const JsonbValue& json, uint32_t& weight, Complaint& complaint) {
  const std::optional<std::string_view> text = json.type == jbvNumeric ? text_of_scalar(json) : std::nullopt;
  const std::optional<double> number = text ? flags::parse_number(*text) : std::nullopt;
  if (number && *number >= 0 && *number <= kMostWeight && *number == std::trunc(*number)) {
    weight = static_cast<uint32_t>(*number);
    return true;
  }
  return complain(complaint, kVariantHint, "\"weight\" of a variant must be a whole number from 0 to %u", kMostWeight);
}

struct VariantFields {
  bool has_weight;
  bool has_value;
  bool has_payload;
  std::string_view stickiness;
};

bool read_variant_field(std::string_view field, const JsonbValue& json, Workshop& workshop, Variant& variant,
                        VariantFields& has, Complaint& complaint) {
  JsonbValue value = json;
  if (field == "name") {
    if (json.type != jbvString) return complain(complaint, kVariantHint, "\"name\" of a variant must be a string");
    variant.name = string_of(json);
    return check_name(variant.name, "the name of a variant", complaint);
  }
  if (field == "weight") return has.has_weight = read_weight(json, variant.weight, complaint);
  if (field == "value") {
    variant.value = kept_json(value, workshop);
    return has.has_value = true;
  }
  if (field == "payload") {
    if (json.type == jbvNull) return true;
    has.has_payload = true;
    variant.value = read_payload(json, workshop, complaint);
    return variant.value != nullptr;
  }
  if (field == "stickiness") {
    if (json.type == jbvNull) return true;
    if (json.type != jbvString)
      return complain(complaint, kVariantHint, "\"stickiness\" of a variant must be a string");
    has.stickiness = string_of(json);
    return true;
  }
  if (field == "overrides") return read_overrides(json, workshop, variant, complaint);
  if (field == "weightType") return true;
  return complain(complaint, kVariantHint, "unknown field of a variant: \"%s\"", shown(field));
}

bool read_variant(const JsonbValue& json, Workshop& workshop, Variant& variant, std::string_view& stickiness,
                  Complaint& complaint) {
  if (!is_object(json)) return complain(complaint, kVariantHint, "a variant must be a JSON object");
  VariantFields has{};
  if (!each_field(json.val.binary.data, [&](std::string_view field, const JsonbValue& value) {
        return read_variant_field(field, value, workshop, variant, has, complaint);
      }))
    return false;
  if (variant.name.empty()) return complain(complaint, kVariantHint, "a variant has no \"name\"");
  if (!has.has_weight)
    return complain(complaint, kVariantHint, "the variant \"%s\" has no \"weight\"", shown(variant.name));
  if (has.has_value && has.has_payload)
    return complain(complaint, kVariantHint, "the variant \"%s\" has both \"value\" and \"payload\"",
                    shown(variant.name));
  stickiness = has.stickiness;
  return true;
}

bool check_variants(const flags::Variants& variants, uint64_t total, const Workshop& workshop, Complaint& complaint) {
  if (total == 0 || total > kMostWeight)
    return complain(complaint, "The share of a variant is its weight by the sum of all.",
                    "the weights of variants must sum to 1 to %u: %llu", kMostWeight,
                    static_cast<unsigned long long>(total));
  const std::span<std::string_view> names = workshop.memory.array<std::string_view>(variants.all.size());
  std::transform(variants.all.begin(), variants.all.end(), names.begin(), [](const Variant& it) { return it.name; });
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
    return complain(complaint, nullptr, "the variant \"%s\" is there twice", shown(*twice));
  return true;
}

}  // namespace

bool check_name(std::string_view name, const char* what, Complaint& complaint) {
  if (name.empty()) return complain(complaint, nullptr, "%s must not be empty: \"\"", what);
  if (name.size() > kLongestFlagName)
    return complain(complaint, nullptr, "%s is %zu bytes long, the limit is %zu: \"%s...\"", what, name.size(),
                    kLongestFlagName, shown(name));
  return true;
}

bool read_stickiness(std::string_view text, flags::Stickiness& stickiness, Complaint& complaint) {
  using By = flags::Stickiness::By;
  if (text == "default")
    stickiness.by = By::first_there;
  else if (text == "random")
    stickiness.by = By::random;
  else
    stickiness = {By::attribute, text};
  return check_name(text, "stickiness", complaint);
}

bool read_constraints(const Jsonb* json, Workshop& workshop, std::span<const Constraint>& constraints,
                      Complaint& complaint) {
  if (!is_array_of_objects(json))
    return complain(complaint, kConstraintHint, "constraints must be a JSON array of objects");
  const std::span<Constraint> all = workshop.memory.array<Constraint>(JB_ROOT_COUNT(json));
  constraints = all;
  size_t count = 0;
  return each_element(
      &json->root, [&](const JsonbValue& value) { return read_constraint(value, workshop, all[count++], complaint); });
}

bool read_variants(const Jsonb* json, Workshop& workshop, flags::Variants& variants, Complaint& complaint) {
  if (!is_array_of_objects(json)) return complain(complaint, kVariantHint, "variants must be a JSON array of objects");
  const std::span<Variant> all = workshop.memory.array<Variant>(JB_ROOT_COUNT(json));
  variants.all = all;
  if (all.empty()) return true;
  std::string_view stickiness_of_first;
  uint64_t total = 0;
  size_t count = 0;
  const bool are_good = each_element(&json->root, [&](const JsonbValue& value) {
    std::string_view stickiness;
    Variant& variant = all[count];
    if (!read_variant(value, workshop, variant, stickiness, complaint)) return false;
    if (count++ == 0) stickiness_of_first = stickiness;
    total += variant.weight;
    return true;
  });
  if (!are_good || !check_variants(variants, total, workshop, complaint)) return false;
  variants.total_weight = static_cast<uint32_t>(total);
  return stickiness_of_first.empty() || read_stickiness(stickiness_of_first, variants.stickiness, complaint);
}

bool try_expressions(Workshop& workshop, Complaint& complaint) {
  char buffer[256];
  for (flags::RegularExpression* it = workshop.expressions; it != nullptr; it = it->next) {
    const std::string_view problem = flags::problem_of(*it, buffer);
    require_memory(workshop);
    if (problem.empty()) continue;
    const char* what = pnstrdup(problem.data(), pg_mbcliplen(problem.data(), static_cast<int>(problem.size()), 200));
    return it->literals.empty()
               ? complain(complaint, "The syntax is RE2's.", "bad regular expression \"%s\": %s", shown(it->pattern),
                          what)
               : complain(complaint, nullptr, "too many values to compare without regard to case: %s", what);
  }
  return true;
}

std::optional<std::string_view> text_of_scalar(const JsonbValue& value) noexcept {
  switch (value.type) {
    case jbvString:
      return string_of(value);
    case jbvBool:
      return value.val.boolean ? "true" : "false";
    case jbvNumeric: {
      char* digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
      std::string_view text = digits;
      if (text.size() > kMostDigits) {
        pfree(digits);
        return std::nullopt;
      }
      if (text.find('.') == std::string_view::npos) return text;
      text = text.substr(0, text.find_last_not_of('0') + 1);
      return text.substr(0, text.size() - text.ends_with('.'));
    }
    default:
      return std::nullopt;
  }
}

}  // namespace pgcache
