// Constraints and variants as JSON has them, made into what is evaluated. The same code checks what is written and
// compiles what was.
#pragma once

#include "flags/flag.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/jsonb.h"
}

namespace pgcache {

constexpr size_t kLongestFlagName = 128;  // also of variants, group ids, attributes, segments, in bytes

// What is wrong with what was written; both texts in the current memory context.
struct Complaint {
  const char* message = nullptr;
  const char* hint = nullptr;
};

// False with a complaint. The results refer to the JSON, which must stay, and to the workshop's memory.
bool read_constraints(const Jsonb* json, flags::Workshop& workshop, std::span<const flags::Constraint>& constraints,
                      Complaint& complaint);

// Their stickiness is the one that they come with, unless the first one says otherwise. Without what depends on the
// flag: the group.
bool read_variants(const Jsonb* json, flags::Workshop& workshop, flags::Variants& variants, Complaint& complaint);

// Compiles each regular expression of a workshop, to see whether that can be done.
// 53200 where there is no memory for it.
bool try_expressions(flags::Workshop& workshop, Complaint& complaint);

// "default", "random", or an attribute.
bool read_stickiness(std::string_view text, flags::Stickiness& stickiness, Complaint& complaint);

// 1 to kLongestFlagName bytes.
bool check_name(std::string_view name, const char* what, Complaint& complaint);

// The text of a string, number or boolean, in the current memory context where it is not the JSON's own; nullopt for
// others, and for numbers of more than kMostDigits.
constexpr size_t kMostDigits = 1000;
std::optional<std::string_view> text_of_scalar(const JsonbValue& value) noexcept;

}  // namespace pgcache
