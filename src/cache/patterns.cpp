#include "cache/patterns.hpp"

#include "pg/arguments.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "utils/builtins.h"
}

namespace pgcache {

void check_pattern(const struct varlena* pattern) {
  const std::string_view bytes = pg::view_of(pattern);
  const size_t last_other = bytes.find_last_not_of('\\');
  const size_t escapes = bytes.size() - (last_other == std::string_view::npos ? 0 : last_other + 1);
  if (escapes % 2 != 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_ESCAPE_SEQUENCE), errmsg("LIKE pattern must not end with escape character"),
                    errdetail("The pattern is \"%s\".", text_to_cstring(pattern))));
}

bool matches_pattern(const struct varlena* pattern, std::string_view key) {
  text* candidate = cstring_to_text_with_len(key.data(), static_cast<int>(key.size()));
  const bool matched = DatumGetBool(
      DirectFunctionCall2Coll(textlike, C_COLLATION_OID, PointerGetDatum(candidate), PointerGetDatum(pattern)));
  pfree(candidate);
  return matched;
}

}  // namespace pgcache
