#include "flags/flag_context.hpp"

#include "flags/flag_json.hpp"
#include "pg/clock.hpp"

extern "C" {
#include "common/pg_prng.h"
}

namespace pgcache {

namespace {

// The number that was made into a text last, in this call: it may be looked at again and again, and be long.
const void* last_number = nullptr;
std::optional<std::string_view> text_of_last_number;

std::optional<std::string_view> text_of(const JsonbValue& value) noexcept {
  if (value.type != jbvNumeric) return text_of_scalar(value);
  if (value.val.numeric != last_number) {
    text_of_last_number = text_of_scalar(value);
    last_number = value.val.numeric;
  }
  return text_of_last_number;
}

// The field's text, where it has one.
std::optional<std::string_view> text_of_field(const JsonbContainer* object, std::string_view name) noexcept {
  JsonbValue buffer;
  const JsonbValue* value = getKeyJsonValueFromContainer(const_cast<JsonbContainer*>(object), name.data(),
                                                         static_cast<int>(name.size()), &buffer);
  return value == nullptr ? std::nullopt : text_of(*value);
}

const JsonbContainer* properties_of(const JsonbContainer* object) noexcept {
  constexpr std::string_view name = "properties";
  JsonbValue buffer;
  const JsonbValue* value = getKeyJsonValueFromContainer(const_cast<JsonbContainer*>(object), name.data(),
                                                         static_cast<int>(name.size()), &buffer);
  const bool is_object = value != nullptr && value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
  return is_object ? value->val.binary.data : nullptr;
}

std::optional<std::string_view> find_in_object(const void* source, std::string_view name) noexcept {
  const auto* object = static_cast<const JsonbContainer*>(source);
  if (const auto text = text_of_field(object, name)) return text;
  const JsonbContainer* properties = properties_of(object);
  return properties == nullptr ? std::nullopt : text_of_field(properties, name);
}

std::optional<std::string_view> find_user(const void* source, std::string_view name) noexcept {
  return name == "userId" ? std::optional(*static_cast<const std::string_view*>(source)) : std::nullopt;
}

constexpr flags::World kWorld = {
    .clock = []() noexcept -> int64_t { return pg::clock_now(); },
    .random = []() noexcept -> uint64_t { return pg_prng_uint64(&pg_global_prng_state); },
    .breathe = []() noexcept { CHECK_FOR_INTERRUPTS(); },
};

}  // namespace

std::optional<flags::Context> context_argument(FunctionCallInfo fcinfo, int number) {
  if (PG_ARGISNULL(number)) return std::nullopt;
  const Jsonb* json = PG_GETARG_JSONB_P(number);
  if (!JB_ROOT_IS_OBJECT(json)) return std::nullopt;
  last_number = nullptr;
  return flags::Context{&json->root, find_in_object};
}

flags::Context context_of_user(const std::string_view& user_id) { return {&user_id, find_user}; }

const flags::World& world() { return kWorld; }

}  // namespace pgcache
