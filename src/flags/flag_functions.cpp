// flag_enabled and its kin: what asks.
#include "flags/flag_context.hpp"
#include "flags/flag_settings.hpp"
#include "flags/flag_statistics.hpp"
#include "flags/generations.hpp"
#include "flags/shared_flags.hpp"
#include "pg/arguments.hpp"
#include "pg/compat.hpp"
#include "pg/function.hpp"
#include "pg/rows.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
}

namespace pgcache {

namespace {

using flags::Answer;
using flags::ErrorCode;
using flags::Reason;

constexpr Answer kNotFound{false, Reason::error, ErrorCode::flag_not_found, nullptr};
constexpr Answer kInvalidContext{false, Reason::error, ErrorCode::invalid_context, nullptr};

std::string_view name_argument(FunctionCallInfo fcinfo) {
  return PG_ARGISNULL(0) ? std::string_view("NULL") : pg::view_of(PG_GETARG_TEXT_PP(0));
}

// A flag, asked for: counted, and warned of where the answer is the fallback.
struct Question {
  flags::Flag* flag;  // nullptr: there is none
  Answer answer;
};

// `evaluation`: nullptr where there is no context to evaluate it for.
Question ask(FunctionCallInfo fcinfo, flags::Evaluation* evaluation, FlagSet& set) {
  const std::string_view name = name_argument(fcinfo);
  flags::Flag* flag = PG_ARGISNULL(0) ? nullptr : find_flag(set, name);
  const Answer answer = flag == nullptr         ? kNotFound
                        : evaluation == nullptr ? kInvalidContext
                                                : evaluation->answer(*flag);
  require_memory(set.workshop);
  if (likely(flag != nullptr))
    count(set, *flag, answer);
  else
    count_fallback_without_flag(set);
  const Question asked{flag, answer};
  if (unlikely(answer.error != ErrorCode::none)) warn_of_fallback(answer.error, name, environment_setting());
  return asked;
}

// (flag, …, fallback)
Datum enabled_or_fallback(FunctionCallInfo fcinfo, const flags::Context* context) {
  FlagSet& set = current_flags();
  std::optional<flags::Evaluation> evaluation;
  if (likely(context != nullptr)) evaluation.emplace(*context, world(), set.workspace);
  const Answer answer = ask(fcinfo, evaluation ? &*evaluation : nullptr, set).answer;
  if (likely(answer.error == ErrorCode::none)) PG_RETURN_BOOL(answer.is_enabled);
  if (PG_ARGISNULL(2)) PG_RETURN_NULL();
  PG_RETURN_BOOL(PG_GETARG_BOOL(2));
}

Datum text_or_nothing(std::string_view text, bool& is_null) {
  is_null = text.empty();
  return is_null ? Datum{0} : PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
}

// (variant, value, enabled, reason, error_code)
constexpr pg::Column kVariantColumns[] = {
    {"variant", TEXTOID}, {"value", JSONBOID}, {"enabled", BOOLOID}, {"reason", TEXTOID}, {"error_code", TEXTOID}};

TupleDesc variant_row() {
  static TupleDesc type = nullptr;
  if (unlikely(type == nullptr)) type = pg::permanent_row_type(kVariantColumns);
  return type;
}

}  // namespace

}  // namespace pgcache

// (flag, context, fallback)
PGCACHE_FUNCTION(pgcache_flag_enabled) {
  using namespace pgcache;
  require_flags();
  const std::optional<flags::Context> context = context_argument(fcinfo, 1);
  return enabled_or_fallback(fcinfo, context ? &*context : nullptr);
}

// (flag, user_id, fallback)
PGCACHE_FUNCTION(pgcache_flag_enabled_for) {
  using namespace pgcache;
  require_flags();
  if (PG_ARGISNULL(1)) return enabled_or_fallback(fcinfo, nullptr);
  const std::string_view user_id = pg::view_of(PG_GETARG_TEXT_PP(1));
  const flags::Context context = context_of_user(user_id);
  return enabled_or_fallback(fcinfo, &context);
}

// (flag, context, fallback)
PGCACHE_FUNCTION(pgcache_flag_variant) {
  using namespace pgcache;
  require_flags();
  const std::optional<flags::Context> context = context_argument(fcinfo, 1);
  FlagSet& set = current_flags();
  std::optional<flags::Evaluation> evaluation;
  if (context) evaluation.emplace(*context, world(), set.workspace);
  const Question asked = ask(fcinfo, evaluation ? &*evaluation : nullptr, set);
  bool is_override = false;
  flags::Variant* variant =
      asked.answer.is_enabled ? evaluation->variant(*asked.flag, asked.answer, is_override) : nullptr;
  count_variant(variant);

  Datum values[std::size(kVariantColumns)];
  bool nulls[std::size(kVariantColumns)] = {};
  values[0] = text_or_nothing(variant == nullptr ? std::string_view{} : variant->name, nulls[0]);
  values[1] = variant == nullptr ? PG_GETARG_DATUM(2) : PointerGetDatum(variant->value);
  nulls[1] = variant == nullptr ? PG_ARGISNULL(2) : variant->value == nullptr;
  values[2] = BoolGetDatum(asked.answer.is_enabled);
  values[3] = text_or_nothing(flags::name_of(flags::reason_with(asked.answer, variant, is_override)), nulls[3]);
  values[4] = text_or_nothing(flags::name_of(asked.answer.error), nulls[4]);
  return HeapTupleGetDatum(heap_form_tuple(variant_row(), values, nulls));
}

// (context) → (flag, enabled, variant, value, reason)
PGCACHE_FUNCTION(pgcache_flag_evaluate_all) {
  using namespace pgcache;
  require_flags();
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  const std::optional<flags::Context> context = context_argument(fcinfo, 0);
  FlagSet& set = current_flags();
  for (flags::Flag& flag : set.flags) {
    CHECK_FOR_INTERRUPTS();
    compile_flag(set, flag);
    Answer answer = kInvalidContext;
    bool is_override = false;
    flags::Variant* variant = nullptr;
    if (context) {
      flags::Evaluation evaluation(*context, world(), set.workspace);
      answer = evaluation.answer(flag);
      variant = evaluation.variant(flag, answer, is_override);
      require_memory(set.workshop);
    }
    count(set, flag, answer);
    count_variant(variant);
    if (unlikely(answer.error != ErrorCode::none)) warn_of_fallback(answer.error, flag.name, environment_setting());
    Datum values[5];
    bool nulls[5] = {};
    values[0] = text_or_nothing(flag.name, nulls[0]);
    values[1] = BoolGetDatum(answer.is_enabled);
    values[2] = text_or_nothing(variant == nullptr ? std::string_view{} : variant->name, nulls[2]);
    values[3] = variant == nullptr ? Datum{0} : PointerGetDatum(variant->value);
    nulls[3] = variant == nullptr || variant->value == nullptr;
    values[4] = text_or_nothing(flags::name_of(flags::reason_with(answer, variant, is_override)), nulls[4]);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  return Datum{0};
}
