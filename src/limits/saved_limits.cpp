#include "limits/saved_limits.hpp"

#include <cstdio>

#include <unistd.h>

#include "limits/limit_table.hpp"
#include "pg/control_file.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "port/pg_crc32c.h"
#include "storage/fd.h"
}

namespace pgcache {

namespace {

constexpr const char* kPath = "pg_stat/pgcache.limits";

// Follows the memory, and ends the file.
struct Seal {
  pg::ClusterMoment moment;
  uint32_t unused;
  pg_crc32c crc;  // of all before it
};
static_assert(engine::Shareable<Seal>);

Seal seal_of(engine::Buffer memory, const pg::ClusterMoment& moment) {
  Seal seal{.moment = moment, .unused = 0, .crc = 0};
  INIT_CRC32C(seal.crc);
  COMP_CRC32C(seal.crc, memory.data(), memory.size());
  COMP_CRC32C(seal.crc, &seal, offsetof(Seal, crc));
  FIN_CRC32C(seal.crc);
  return seal;
}

enum class Read : uint8_t { good, damaged, of_another_time };

Read read_table(FILE* file, engine::Buffer memory) {
  Seal seal;
  if (fread(memory.data(), memory.size(), 1, file) != 1 || fread(&seal, sizeof seal, 1, file) != 1 ||
      fgetc(file) != EOF)
    return Read::damaged;
  const Seal expected = seal_of(memory, seal.moment);
  if (memcmp(&seal, &expected, sizeof seal) != 0 || !limits::LimitTable::belongs(memory.data(), memory.size()))
    return Read::damaged;
  const std::optional<pg::ClusterMoment> moment = pg::any_shutdown_moment();
  return moment && memcmp(&*moment, &seal.moment, sizeof seal.moment) == 0 ? Read::good : Read::of_another_time;
}

// False with errno.
bool write_file(engine::Buffer memory, const Seal& seal) {
  FILE* file = AllocateFile(kPath, PG_BINARY_W);
  if (file == nullptr) return false;
  const bool written = fwrite(memory.data(), memory.size(), 1, file) == 1 && fwrite(&seal, sizeof seal, 1, file) == 1;
  const int error = errno;
  const bool closed = FreeFile(file) == 0;
  if (!written) errno = error;
  return written && closed;
}

}  // namespace

void save_limits(engine::Buffer memory) {
  // After a crash, or an immediate shutdown, a change may have been cut short.
  const std::optional<pg::ClusterMoment> moment = pg::any_shutdown_moment();
  if (!moment || write_file(memory, seal_of(memory, *moment))) return;
  ereport(LOG, (errcode_for_file_access(), errmsg("could not save the rate limits in \"%s\": %m", kPath)));
  unlink(kPath);
}

bool load_limits(engine::Buffer memory) {
  FILE* file = AllocateFile(kPath, PG_BINARY_R);
  if (file == nullptr && errno == ENOENT) return false;
  if (file == nullptr) ereport(LOG, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", kPath)));
  const Read read = file != nullptr ? read_table(file, memory) : Read::damaged;
  if (file != nullptr) FreeFile(file);
  if (unlink(kPath) != 0) {
    ereport(LOG, (errcode_for_file_access(), errmsg("could not remove \"%s\": %m", kPath)));
    return false;
  }
  if (read != Read::good)
    ereport(LOG, (errmsg("discarding the saved rate limits"),
                  read == Read::damaged
                      ? errdetail("The file is damaged, or of another version or pgcache.rate_limit_memory.")
                      : errdetail("The server has run without them since it was written.")));
  return read == Read::good;
}

}  // namespace pgcache
