// flag_explain: all that an answer could be made of, by the same steps that make it.
#include "flags/flag_context.hpp"
#include "flags/flag_json.hpp"
#include "flags/flag_settings.hpp"
#include "flags/generations.hpp"
#include "flags/shared_flags.hpp"
#include "pg/arguments.hpp"
#include "pg/function.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
}

namespace pgcache {

namespace {

using flags::Answer;
using flags::Evaluation;

// ISO 8601, in the session's time zone.
const char* text_of_moment(int64_t time) {
  return JsonEncodeDateTime(static_cast<char*>(palloc(MAXDATELEN + 1)), TimestampTzGetDatum(time), TIMESTAMPTZOID,
                            nullptr);
}

// Of what may be as long as the context.
std::optional<std::string_view> beginning_of(std::optional<std::string_view> text) {
  constexpr int kShown = 1000;
  if (!text || text->size() <= kShown) return text;
  return psprintf("%.*s...", pg_mbcliplen(text->data(), static_cast<int>(text->size()), kShown), text->data());
}

// JSON as text, which jsonb_in makes into a value. Commas come by themselves.
class Writer {
 public:
  Writer() { initStringInfo(&text_); }

  template <typename Fields>
  void object(Fields fields) {
    open('{');
    fields();
    close('}');
  }

  template <typename Elements>
  void array(Elements elements) {
    open('[');
    elements();
    close(']');
  }

  void name(const char* field) {
    string(field);
    appendStringInfoChar(&text_, ':');
    needs_comma_ = false;
  }

  void string(std::optional<std::string_view> value) {
    comma();
    if (value)
      escape_json(&text_, pnstrdup(value->data(), value->size()));
    else
      appendStringInfoString(&text_, "null");
  }

  void boolean(bool value) { raw(value ? "true" : "false"); }
  void number(int64_t value) { raw(psprintf("%lld", static_cast<long long>(value))); }
  void percent(flags::Points points) {
    raw(psprintf("%u.%03u", points / flags::kPointsAPercent, points % flags::kPointsAPercent));
  }
  void time(int64_t time, int64_t none) {
    if (time == none)
      raw("null");
    else
      moment(time);
  }
  void moment(int64_t time) { string(text_of_moment(time)); }
  void json(const void* value) {
    if (value == nullptr) return raw("null");
    auto* jsonb = static_cast<Jsonb*>(const_cast<void*>(value));
    raw(JsonbToCString(nullptr, &jsonb->root, static_cast<int>(VARSIZE(jsonb))));
  }
  void raw(const char* value) {
    comma();
    appendStringInfoString(&text_, value);
  }

  Datum result() const { return DirectFunctionCall1(jsonb_in, CStringGetDatum(text_.data)); }

 private:
  void comma() {
    if (std::exchange(needs_comma_, true)) appendStringInfoChar(&text_, ',');
  }
  void open(char bracket) {
    comma();
    appendStringInfoChar(&text_, bracket);
    needs_comma_ = false;
  }
  void close(char bracket) {
    appendStringInfoChar(&text_, bracket);
    needs_comma_ = true;
  }

  StringInfoData text_;
  bool needs_comma_ = false;
};

class Explanation {
 public:
  Explanation(Writer& writer, Evaluation& evaluation) : out_(writer), evaluation_(evaluation) {}

  void flag(const flags::Flag& flag) {
    out_.name("state"), out_.string(flags::name_of(evaluation_.state(flag)));
    schedule(flag);
    out_.name("prerequisites"), out_.array([&] {
      for (const flags::Prerequisite& it : flag.prerequisites) prerequisite(it);
    });
    out_.name("strategies"), out_.array([&] {
      for (const flags::Strategy& it : flag.strategies) strategy(it);
    });
  }

 private:
  void schedule(const flags::Flag& flag) {
    out_.name("schedule");
    if (flag.on_at == flags::kNoBeginning && flag.off_at == flags::kNoEnd) return out_.raw("null");
    out_.object([&] {
      out_.name("onAt"), out_.time(flag.on_at, flags::kNoBeginning);
      out_.name("offAt"), out_.time(flag.off_at, flags::kNoEnd);
      out_.name("now"), out_.moment(evaluation_.now());
    });
  }

  void prerequisite(const flags::Prerequisite& prerequisite) {
    const Answer answer = evaluation_.answer(*prerequisite.flag);
    const flags::Variant* variant = evaluation_.variant(*prerequisite.flag, answer);
    out_.object([&] {
      out_.name("feature"), out_.string(prerequisite.flag->name);
      out_.name("expected"), out_.boolean(prerequisite.is_enabled);
      out_.name("variants"), strings(prerequisite.variants);
      out_.name("enabled"), out_.boolean(answer.is_enabled);
      out_.name("variant"), out_.string(variant == nullptr ? std::nullopt : std::optional(variant->name));
      out_.name("passed"), out_.boolean(evaluation_.is_met(prerequisite, answer));
    });
  }

  void strategy(const flags::Strategy& strategy) {
    out_.object([&] {
      out_.name("id"), out_.number(strategy.id);
      out_.name("passed"), out_.boolean(evaluation_.passes(strategy) == flags::Passed::yes);
      out_.name("constraints"), constraints(strategy.constraints);
      out_.name("segments"), out_.array([&] {
        for (const flags::Segment* it : strategy.segments) segment(it);
      });
      out_.name("rollout"), rollout(strategy);
    });
  }

  void segment(const flags::Segment* segment) {
    out_.object([&] {
      out_.name("segment"), out_.string(segment == nullptr ? std::nullopt : std::optional(segment->name));
      out_.name("passed"), out_.boolean(segment != nullptr && evaluation_.passes(*segment));
      if (segment == nullptr) return;
      out_.name("constraints"), constraints(segment->constraints);
    });
  }

  void constraints(std::span<const flags::Constraint> all) {
    out_.array([&] {
      for (const flags::Constraint& it : all) constraint(it);
    });
  }

  void constraint(const flags::Constraint& constraint) {
    const bool is_date = flags::compares_time(constraint.op);
    const std::string_view attribute = is_date ? "currentTime" : constraint.attribute;
    std::optional<std::string_view> actual = evaluation_.context().attribute(attribute);
    if (is_date && !actual) actual = text_of_moment(evaluation_.now());
    out_.object([&] {
      out_.name("contextName"), out_.string(attribute);
      out_.name("operator"), out_.string(flags::name_of(constraint.op));
      if (flags::takes_values(constraint.op))
        out_.name("values"), strings(constraint.values);
      else
        out_.name("value"), out_.string(constraint.value);
      out_.name("inverted"), out_.boolean(constraint.is_inverted);
      out_.name("caseInsensitive"), out_.boolean(constraint.ignores_case);
      out_.name("actual"), out_.string(beginning_of(actual));
      out_.name("passed"), out_.boolean(evaluation_.passes(constraint));
    });
  }

  void rollout(const flags::Strategy& strategy) {
    const flags::Bucket bucket = evaluation_.bucket(strategy);
    const bool is_random = !bucket.attribute;
    out_.object([&] {
      out_.name("attribute"), out_.string(is_random ? "random" : *bucket.attribute);
      out_.name("value"), out_.string(beginning_of(bucket.value));
      out_.name("groupId"), out_.string(strategy.group_id);
      out_.name("bucket");
      if (is_random || bucket.value)
        out_.percent(bucket.point);
      else
        out_.raw("null");
      out_.name("threshold"), out_.percent(strategy.rollout);
      out_.name("passed"), out_.boolean(evaluation_.reaches(strategy) == flags::Passed::yes);
    });
  }

  void strings(std::span<const std::string_view> all) {
    out_.array([&] {
      for (const std::string_view& it : all) out_.string(it);
    });
  }

  Writer& out_;
  Evaluation& evaluation_;
};

void explain_answer(Writer& out, const flags::Flag& flag, const flags::Context& context, FlagSet& set) {
  Evaluation evaluation(context, world(), set.workspace);
  const Answer answer = evaluation.answer(flag);
  bool is_override;
  const flags::Variant* variant = evaluation.variant(flag, answer, is_override);
  const bool has_error = answer.error != flags::ErrorCode::none;
  out.name("enabled"), out.boolean(answer.is_enabled);
  out.name("reason"), out.string(flags::name_of(flags::reason_with(answer, variant, is_override)));
  out.name("errorCode"), out.string(has_error ? std::optional(flags::name_of(answer.error)) : std::nullopt);
  if (flag.problem != nullptr) out.name("problem"), out.string(flag.problem);
  out.name("variant"), out.string(variant == nullptr ? std::nullopt : std::optional(variant->name));
  out.name("value"), out.json(variant == nullptr ? nullptr : variant->value);
  Explanation(out, evaluation).flag(flag);
  require_memory(set.workshop);
}

}  // namespace

}  // namespace pgcache

// (flag, context)
PGCACHE_FUNCTION(pgcache_flag_explain) {
  using namespace pgcache;
  require_flags();
  const std::optional<flags::Context> context = context_argument(fcinfo, 1);
  FlagSet& set = current_flags();
  const std::string_view name = PG_ARGISNULL(0) ? std::string_view{} : pg::view_of(PG_GETARG_TEXT_PP(0));
  const flags::Flag* flag = PG_ARGISNULL(0) ? nullptr : find_flag(set, name);
  Writer out;
  out.object([&] {
    out.name("flag"), out.string(PG_ARGISNULL(0) ? std::nullopt : std::optional(name));
    out.name("environment"), out.string(environment_setting());
    if (flag != nullptr && context) return explain_answer(out, *flag, *context, set);
    out.name("enabled"), out.boolean(false);
    out.name("reason"), out.string(flags::name_of(flags::Reason::error));
    out.name("errorCode"), out.string(flags::name_of(flag == nullptr ? flags::ErrorCode::flag_not_found
                                                                     : flags::ErrorCode::invalid_context));
  });
  return out.result();
}
