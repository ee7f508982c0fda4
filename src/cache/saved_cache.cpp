#include "cache/saved_cache.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/shared_cache.hpp"
#include "engine/index.hpp"
#include "pg/clock.hpp"
#include "pg/lwlocks.hpp"

extern "C" {
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"
}

namespace pgcache {

namespace {

constexpr const char* kPath = "pg_stat/pgcache.saved";
constexpr uint64_t kMagic = 0x70676361'63686532;  // changes with the file's form

struct Header {
  uint64_t magic;
  engine::Version begun_at;
};

struct EntryHeader {
  uint32_t value_bytes;
  uint16_t key_bytes;  // 0: the trailer, which has nothing behind it
  uint16_t database;
  int64_t expires_at;
  uint8_t kind;
  uint8_t tags;  // slots that follow the key
  uint8_t unused[6];
};

// What the postmaster adds. The version slots' numbers follow, then the databases' seals, then the checksum of them
// all.
struct Seal {
  uint64_t magic;
  pg::ClusterMoment moment;
  engine::Version sequence;
  uint64_t secret;
  uint64_t entries_bytes;  // what the worker wrote
  uint32_t entries_crc;
  uint32_t shards;
  uint32_t slots_per_shard;
  uint32_t databases;
};

struct DatabaseSeal {
  uint32_t oid;
  uint32_t number;
  engine::Version changed;  // the last thing that was done to it as a whole
};

static_assert(engine::Shareable<Header> && engine::Shareable<EntryHeader> && engine::Shareable<Seal> &&
              engine::Shareable<DatabaseSeal>);

// A file that is written from front to end, with a checksum. The first failure is kept; later writes do nothing.
struct Output {
  int file;
  bool failed;
  uint64_t bytes;
  pg_crc32c crc;
  size_t buffered;
  char buffer[64 * 1024];
};

void flush(Output& out) {
  for (size_t done = 0; !out.failed && done < out.buffered;) {
    const ssize_t written = write(out.file, out.buffer + done, out.buffered - done);
    if (written > 0)
      done += static_cast<size_t>(written);
    else if (written == 0 || errno != EINTR)
      out.failed = true;
  }
  out.buffered = 0;
}

void put(Output& out, const void* data, size_t size) {
  COMP_CRC32C(out.crc, data, size);
  out.bytes += size;
  for (const char* from = static_cast<const char*>(data); size > 0;) {
    const size_t piece = std::min(size, sizeof out.buffer - out.buffered);
    memcpy(out.buffer + out.buffered, from, piece);
    out.buffered += piece;
    from += piece;
    size -= piece;
    if (out.buffered == sizeof out.buffer) flush(out);
  }
}

struct Input {
  int file;
  bool failed;
  pg_crc32c crc;
  size_t at;
  size_t filled;
  char buffer[64 * 1024];
};

bool take(Input& in, void* data, size_t size) {
  auto* to = static_cast<char*>(data);
  for (size_t left = size; left > 0 && !in.failed;) {
    if (in.at == in.filled) {
      const ssize_t got = read(in.file, in.buffer, sizeof in.buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        in.failed = true;
        break;
      }
      in.at = 0;
      in.filled = static_cast<size_t>(got);
    }
    const size_t piece = std::min(left, in.filled - in.at);
    memcpy(to, in.buffer + in.at, piece);
    in.at += piece;
    to += piece;
    left -= piece;
  }
  if (!in.failed) COMP_CRC32C(in.crc, data, size);
  return !in.failed;
}

bool seek(Input& in, uint64_t offset) {
  in.at = in.filled = 0;
  in.failed = lseek(in.file, static_cast<off_t>(offset), SEEK_SET) < 0;
  INIT_CRC32C(in.crc);
  return !in.failed;
}

// The buffers are too large for a stack.
template <typename File>
File* open_file(int flags) {
  const int file = BasicOpenFile(kPath, flags | PG_BINARY);
  if (file < 0) return nullptr;
  auto* opened = static_cast<File*>(MemoryContextAllocZero(TopMemoryContext, sizeof(File)));
  opened->file = file;
  INIT_CRC32C(opened->crc);
  return opened;
}

// Room for one value, reused.
struct ValueBuffer {
  std::byte* bytes;
  size_t size;
};

void make_room(ValueBuffer& buffer, size_t size) {
  if (buffer.size >= size) return;
  if (buffer.bytes != nullptr) pfree(buffer.bytes);
  buffer.bytes = static_cast<std::byte*>(MemoryContextAllocHuge(TopMemoryContext, size));
  buffer.size = size;
}

void save_entry(Output& out, const engine::Key& key, ValueBuffer& buffer, engine::Milliseconds now) {
  engine::Evidence evidence;
  for (;;) {
    const engine::ReadResult read = cache.read(key, now, engine::kAnyKind, {buffer.bytes, buffer.size}, &evidence);
    if (read.status == engine::Status::buffer_too_small) {
      make_room(buffer, read.entry.value_bytes);
      continue;
    }
    if (read.status != engine::Status::ok) return;
    EntryHeader header{};
    header.value_bytes = read.entry.value_bytes;
    header.key_bytes = static_cast<uint16_t>(key.bytes.size());
    header.database = key.database;
    header.expires_at = read.entry.expires_at;
    header.kind = static_cast<uint8_t>(read.entry.kind);
    header.tags = static_cast<uint8_t>(evidence.tags.count);
    put(out, &header, sizeof header);
    put(out, key.bytes.data(), key.bytes.size());
    put(out, evidence.tags.slots, evidence.tags.count * sizeof(uint32_t));
    put(out, buffer.bytes, header.value_bytes);
    return;
  }
}

void save_entries(Output& out) {
  const engine::Milliseconds now = pg::now_for_reading();
  auto* batch = static_cast<engine::ScanBatch*>(MemoryContextAlloc(TopMemoryContext, sizeof(engine::ScanBatch)));
  ValueBuffer buffer{};
  make_room(buffer, 64 * 1024);
  for (engine::ScanCursor cursor; !out.failed && cache.scan(cursor, engine::kEveryDatabase, now, *batch);)
    for (uint32_t i = 0; i < batch->count; ++i) {
      const auto& entry = batch->entries[i];
      save_entry(out, cache.key(entry.database, batch->key(entry)), buffer, now);
    }
}

// What the sealed part of a file says. The arrays live in TopMemoryContext.
struct SealedPart {
  Seal seal;
  engine::Version* slots;
  DatabaseSeal* databases;
};

// The seal, if the file's end is whole. Never raises.
std::optional<SealedPart> read_seal(Input& in) {
  struct stat status;
  if (fstat(in.file, &status) != 0) return std::nullopt;
  const auto file_bytes = static_cast<uint64_t>(status.st_size);
  // The file ends with the seal's size, so that it can be found from there.
  uint64_t seal_bytes = 0;
  if (file_bytes < sizeof seal_bytes || !seek(in, file_bytes - sizeof seal_bytes) ||
      !take(in, &seal_bytes, sizeof seal_bytes))
    return std::nullopt;
  if (seal_bytes > file_bytes || seal_bytes < sizeof(Seal) + sizeof(pg_crc32c) + sizeof seal_bytes) return std::nullopt;

  SealedPart part{};
  if (!seek(in, file_bytes - seal_bytes) || !take(in, &part.seal, sizeof part.seal) || part.seal.magic != kMagic)
    return std::nullopt;
  const Seal& seal = part.seal;
  const uint64_t slots = uint64_t{seal.shards} * seal.slots_per_shard;
  if (seal.entries_bytes != file_bytes - seal_bytes || seal.databases > engine::kMaxDatabases ||
      sizeof(Seal) + slots * sizeof(engine::Version) + seal.databases * sizeof(DatabaseSeal) + sizeof(pg_crc32c) +
              sizeof seal_bytes !=
          seal_bytes)
    return std::nullopt;
  part.slots = static_cast<engine::Version*>(MemoryContextAllocExtended(
      TopMemoryContext, slots * sizeof(engine::Version), MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM));
  part.databases = static_cast<DatabaseSeal*>(
      MemoryContextAllocExtended(TopMemoryContext, (seal.databases + 1) * sizeof(DatabaseSeal), MCXT_ALLOC_NO_OOM));
  pg_crc32c expected = 0;
  if (part.slots == nullptr || part.databases == nullptr || !take(in, part.slots, slots * sizeof(engine::Version)) ||
      !take(in, part.databases, seal.databases * sizeof(DatabaseSeal)))
    return std::nullopt;
  pg_crc32c actual = in.crc;
  FIN_CRC32C(actual);
  if (!take(in, &expected, sizeof expected) || !EQ_CRC32C(actual, expected)) return std::nullopt;
  return part;
}

bool entries_are_whole(Input& in, const Seal& seal) {
  if (!seek(in, 0)) return false;
  for (uint64_t left = seal.entries_bytes; left > 0;) {
    char piece[8192];
    const size_t size = std::min<uint64_t>(left, sizeof piece);
    if (!take(in, piece, size)) return false;
    left -= size;
  }
  pg_crc32c crc = in.crc;
  FIN_CRC32C(crc);
  return EQ_CRC32C(crc, seal.entries_crc);
}

// Which number a database of the file has now, and since when: what was done to it or its keys after that goes before
// what was saved. 0: its entries may not come back.
struct DatabaseMap {
  engine::Version since[engine::kMaxDatabases];
  uint16_t number[engine::kMaxDatabases];
};

void map_databases(const SealedPart& part, engine::Version begun_at, DatabaseMap& map) {
  for (uint32_t i = 0; i < part.seal.databases; ++i) {
    const DatabaseSeal& sealed = part.databases[i];
    if (sealed.number >= engine::kMaxDatabases || sealed.changed > begun_at) continue;
    const std::optional<uint16_t> number = register_database(sealed.oid);
    if (!number) continue;
    // Something was done to the whole of it since this server started.
    const engine::Version registered = engine::load_relaxed(cache.database(*number).registered);
    if (cache.slot_state(cache.database_slot(*number)).stamp != registered) continue;
    map.since[sealed.number] = registered;
    map.number[sealed.number] = *number;
  }
}

bool is_current(const SealedPart& part, engine::Version begun_at, uint32_t slot) {
  return slot < part.seal.shards * part.seal.slots_per_shard && part.slots[slot] <= begun_at;
}

// False where the slot of the entry's key has changed after the worker began to write, or that of a tag: this copy may
// be out of date. Tags are known by their slots, which stay the same with the secret and the number of slots.
bool is_current(const SealedPart& part, engine::Version begun_at, uint16_t old_number, std::string_view key,
                std::span<const uint32_t> tags) {
  const uint64_t hash = engine::key_hash(pg::lockless_environment(), part.seal.secret, old_number, key);
  const engine::HashParts parts{hash};
  const uint32_t slot =
      parts.shard(part.seal.shards) * part.seal.slots_per_shard + parts.slot(part.seal.slots_per_shard / 2);
  if (!is_current(part, begun_at, slot)) return false;
  if (tags.empty()) return true;
  const engine::Geometry& geometry = cache.geometry();
  return part.seal.secret == cache.secret() && part.seal.shards == geometry.shards &&
         part.seal.slots_per_shard == geometry.slots_per_shard &&
         std::all_of(tags.begin(), tags.end(), [&](uint32_t tag) { return is_current(part, begun_at, tag); });
}

uint64_t load_entries(Input& in, const SealedPart& part, const SavedCacheState& state) {
  auto* map = static_cast<DatabaseMap*>(MemoryContextAllocZero(TopMemoryContext, sizeof(DatabaseMap)));
  ValueBuffer buffer{};
  make_room(buffer, 64 * 1024);
  uint64_t loaded = 0;
  Header header;
  if (!seek(in, 0) || !take(in, &header, sizeof header) || header.magic != kMagic) return 0;
  map_databases(part, header.begun_at, *map);
  for (;;) {
    EntryHeader entry;
    char key[engine::kMaxKeyBytes];
    if (!take(in, &entry, sizeof entry) || entry.key_bytes == 0 || entry.key_bytes > sizeof key ||
        entry.database >= engine::kMaxDatabases || entry.tags > engine::kMaxTags)
      return loaded;
    make_room(buffer, entry.value_bytes);
    uint32_t slots[engine::kMaxTags];
    const std::span<const uint32_t> tags{slots, entry.tags};
    if (!take(in, key, entry.key_bytes) || !take(in, slots, tags.size_bytes()) ||
        !take(in, buffer.bytes, entry.value_bytes))
      return loaded;
    if (engine::load_relaxed(state.stop_loading)) return loaded;
    const std::string_view key_bytes{key, entry.key_bytes};
    const engine::Milliseconds now = pg::now_for_reading();
    if (map->since[entry.database] == 0 || !is_current(part, header.begun_at, entry.database, key_bytes, tags) ||
        (entry.expires_at != 0 && entry.expires_at <= now))
      continue;
    engine::WriteRequest request;
    request.kind = static_cast<engine::Kind>(entry.kind);
    request.value = {buffer.bytes, entry.value_bytes};
    request.expiry = entry.expires_at == 0 ? engine::Expiry::never() : engine::Expiry::when(entry.expires_at);
    // Whatever was done to the key since the start goes before what was saved.
    request.mode = engine::WriteMode::if_absent;
    request.if_version = map->since[entry.database];
    request.tags = tags;
    request.restored = true;
    if (cache.write(cache.key(map->number[entry.database], key_bytes), request, now).status == engine::Status::ok)
      ++loaded;
  }
}

}  // namespace

void save_cache(SavedCacheState& state) {
  state.written = false;
  auto* out = open_file<Output>(O_WRONLY | O_CREAT | O_TRUNC);
  if (out == nullptr) {
    ereport(LOG, (errcode_for_file_access(), errmsg("could not create file \"%s\": %m", kPath)));
    return;
  }
  const Header header{kMagic, cache.sequence()};
  put(*out, &header, sizeof header);
  save_entries(*out);
  const EntryHeader trailer{};
  put(*out, &trailer, sizeof trailer);
  flush(*out);
  if (out->failed || pg_fsync(out->file) != 0) {
    ereport(LOG, (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", kPath),
                  errdetail("The cache will be empty after the restart.")));
    close(out->file);
    unlink(kPath);
    return;
  }
  close(out->file);
  FIN_CRC32C(out->crc);
  state.begun_at = header.begun_at;
  state.bytes = out->bytes;
  state.crc = out->crc;
  state.written = true;
}

void seal_saved_cache(const SavedCacheState& state, const engine::Cache& sealed) {
  const std::optional<pg::ClusterMoment> moment = pg::clean_shutdown_moment();
  auto* out = moment ? open_file<Output>(O_WRONLY) : nullptr;
  if (out == nullptr || lseek(out->file, static_cast<off_t>(state.bytes), SEEK_SET) < 0) {
    unlink(kPath);
    return;
  }
  const uint32_t slots = sealed.slot_count();
  Seal seal{};
  seal.magic = kMagic;
  seal.moment = *moment;
  seal.sequence = sealed.sequence();
  seal.secret = sealed.secret();
  seal.entries_bytes = state.bytes;
  seal.entries_crc = state.crc;
  seal.shards = sealed.geometry().shards;
  seal.slots_per_shard = sealed.geometry().slots_per_shard;
  for (uint16_t number = 0; number < engine::kMaxDatabases; ++number)
    seal.databases += sealed.database(number).oid != 0;
  put(*out, &seal, sizeof seal);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    const engine::Version changed = sealed.slot_changed(slot);
    put(*out, &changed, sizeof changed);
  }
  for (uint16_t number = 0; number < engine::kMaxDatabases; ++number) {
    const engine::Database& database = sealed.database(number);
    if (database.oid == 0) continue;
    const DatabaseSeal its{database.oid, number, sealed.slot_changed(sealed.database_slot(number))};
    put(*out, &its, sizeof its);
  }
  pg_crc32c crc = out->crc;
  FIN_CRC32C(crc);
  put(*out, &crc, sizeof crc);
  const uint64_t seal_bytes = out->bytes + sizeof seal_bytes;
  put(*out, &seal_bytes, sizeof seal_bytes);
  flush(*out);
  const bool failed = out->failed || pg_fsync(out->file) != 0;
  close(out->file);
  if (failed) unlink(kPath);
}

std::optional<SavedLife> believable_saved_cache() {
  auto* in = open_file<Input>(O_RDONLY);
  if (in == nullptr) return std::nullopt;
  const std::optional<pg::ClusterMoment> moment = pg::clean_shutdown_moment();
  const std::optional<SealedPart> part = read_seal(*in);
  close(in->file);
  pfree(in);
  const bool same = moment && part && memcmp(&*moment, &part->seal.moment, sizeof *moment) == 0;
  const SavedLife life = part ? SavedLife{part->seal.sequence, part->seal.secret} : SavedLife{};
  if (part) {
    pfree(part->slots);
    pfree(part->databases);
  }
  if (same && !pg::recovery_requested()) return life;
  ereport(LOG, (errmsg("discarding the saved cache: it is not of the moment at which this server starts")));
  unlink(kPath);
  return std::nullopt;
}

void load_cache(SavedCacheState& state) {
  if (!state.loadable) return;
  state.loadable = false;
  engine::store_relaxed(state.loading, true);
  auto* in = open_file<Input>(O_RDONLY);
  unlink(kPath);
  if (in != nullptr) {
    const std::optional<SealedPart> part = read_seal(*in);
    if (part && entries_are_whole(*in, part->seal))
      ereport(LOG, (errmsg("loaded %llu cache entries that the last shutdown saved",
                           static_cast<unsigned long long>(load_entries(*in, *part, state)))));
    else
      ereport(LOG, (errmsg("discarding the saved cache: its file is damaged")));
    close(in->file);
  }
  engine::store_relaxed(state.loading, false);
}

}  // namespace pgcache
