#include "pg/privilege_hint.hpp"

#include "pg/postgres.hpp"

extern "C" {
#include "utils/elog.h"
}

namespace pgcache::pg {

namespace {

emit_log_hook_type previous_hook = nullptr;

// The functions and views of every room begin with its name; the rest is in schema pgcache.
constexpr std::string_view kRooms[] = {"cache_", "matview_", "rate_limit", "flag_", "flags", "pgcache"};
constexpr std::string_view kRefusals[] = {"permission denied for function %s", "permission denied for view %s",
                                          "permission denied for schema %s"};

bool is_ours(const ErrorData* error) {
  if (error->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE || error->hint != nullptr || error->message_id == nullptr ||
      error->message == nullptr ||
      std::find(std::begin(kRefusals), std::end(kRefusals), error->message_id) == std::end(kRefusals))
    return false;
  // The message is translated; the name stands in it as it is.
  const std::string_view message = error->message;
  return std::any_of(std::begin(kRooms), std::end(kRooms), [&](std::string_view room) {
    const size_t at = message.find(room);
    return at != std::string_view::npos && (at == 0 || message[at - 1] == ' ' || message[at - 1] == '"');
  });
}

void add_hint(ErrorData* error) {
  if (is_ours(error))
    error->hint = MemoryContextStrdup(
        error->assoc_context,
        "If this is pgcache's, a superuser or the extension's owner can run: "
        "SELECT pgcache.grant_to('the_role'); or pgcache.grant_to('the_role', 'admin') for the administrative ones.");
  if (previous_hook != nullptr) previous_hook(error);
}

}  // namespace

void install_privilege_hint() {
  previous_hook = emit_log_hook;
  emit_log_hook = add_hint;
}

}  // namespace pgcache::pg
