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

pg_crc32c checksum(engine::Buffer memory) {
  pg_crc32c crc;
  INIT_CRC32C(crc);
  COMP_CRC32C(crc, memory.data(), memory.size());
  FIN_CRC32C(crc);
  return crc;
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

// The memory, then its checksum, then nothing.
bool read_table(int file, engine::Buffer memory) {
  pg_crc32c crc = 0;
  char more;
  return read_all(file, memory.data(), memory.size()) && read_all(file, &crc, sizeof crc) &&
         !read_all(file, &more, 1) && crc == checksum(memory) &&
         limits::LimitTable::belongs(memory.data(), memory.size());
}

}  // namespace

void save_limits(engine::Buffer memory) {
  // After a crash, or an immediate shutdown, a change may have been cut short.
  if (!pg::is_shut_down()) return;
  const int file = BasicOpenFile(kPath, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
  const pg_crc32c crc = checksum(memory);
  const bool written = file >= 0 && write_all(file, memory.data(), memory.size()) && write_all(file, &crc, sizeof crc);
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
  const bool is_good = file >= 0 && read_table(file, memory);
  if (file >= 0) close(file);
  if (unlink(kPath) != 0) {
    ereport(LOG, (errcode_for_file_access(), errmsg("could not remove \"%s\": %m", kPath)));
    return false;
  }
  if (!is_good)
    ereport(LOG, (errmsg("discarding the saved rate limits"),
                  errdetail("The file is damaged, or of another version or pgcache.rate_limit_memory.")));
  return is_good;
}

}  // namespace pgcache
