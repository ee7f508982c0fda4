#include "limits/saved_limits.hpp"

#include <fcntl.h>
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

bool write_all(int file, const void* data, size_t size) {
  for (const auto* from = static_cast<const char*>(data); size > 0;) {
    const ssize_t written = write(file, from, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    from += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

bool read_all(int file, void* data, size_t size) {
  for (auto* to = static_cast<char*>(data); size > 0;) {
    const ssize_t got = read(file, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

enum class Read : uint8_t { good, damaged, of_another_time };

Read read_table(int file, engine::Buffer memory) {
  Seal seal;
  char more;
  if (!read_all(file, memory.data(), memory.size()) || !read_all(file, &seal, sizeof seal) || read_all(file, &more, 1))
    return Read::damaged;
  const Seal expected = seal_of(memory, seal.moment);
  if (memcmp(&seal, &expected, sizeof seal) != 0 || !limits::LimitTable::belongs(memory.data(), memory.size()))
    return Read::damaged;
  const std::optional<pg::ClusterMoment> moment = pg::any_shutdown_moment();
  return moment && memcmp(&*moment, &seal.moment, sizeof seal.moment) == 0 ? Read::good : Read::of_another_time;
}

bool write_table(int file, engine::Buffer memory, const pg::ClusterMoment& moment) {
  const Seal seal = seal_of(memory, moment);
  return write_all(file, memory.data(), memory.size()) && write_all(file, &seal, sizeof seal);
}

}  // namespace

void save_limits(engine::Buffer memory) {
  // After a crash, or an immediate shutdown, a change may have been cut short.
  const std::optional<pg::ClusterMoment> moment = pg::any_shutdown_moment();
  if (!moment) return;
  const int file = BasicOpenFile(kPath, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
  const bool written = file >= 0 && write_table(file, memory, *moment);
  const int error = errno;
  if (file >= 0) close(file);
  if (written) return;
  unlink(kPath);
  errno = error;
  ereport(LOG, (errcode_for_file_access(), errmsg("could not save the rate limits in \"%s\": %m", kPath)));
}

bool load_limits(engine::Buffer memory) {
  const int file = BasicOpenFile(kPath, O_RDONLY | PG_BINARY);
  if (file < 0 && errno == ENOENT) return false;
  if (file < 0) ereport(LOG, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", kPath)));
  const Read read = file >= 0 ? read_table(file, memory) : Read::damaged;
  if (file >= 0) close(file);
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
