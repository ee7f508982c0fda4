// The engine against a plain map. The input is a program: settings, then operations with a clock of its own.
//
// The engine may differ from the map in one thing: an entry may be evicted, if it counts the eviction and had a reason
// for it. Never may it show a value that the map does not have.
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../unit/consistency.hpp"
#include "../unit/heap_environment.hpp"
#include "engine/cache.hpp"

namespace {

using namespace pgcache::engine;
using test::Hash;

constexpr Milliseconds kStart = 1'700'000'000'000;
constexpr uint64_t kMaxOperations = 2000;
constexpr uint32_t kDatabases = 3;
constexpr Hash kHashes[] = {test::spreading_hash, test::constant_hash, test::four_valued_hash, test::one_bucket_hash};
// While so little was ever appended, memory can't be scarce.
constexpr uint64_t kPlenty = kMinMemory / 4;
// While there are fewer, every key finds a place in the index, whatever the hash.
constexpr int64_t kAlwaysIndexed = int64_t{kMaxProbes} * kBucketEntries;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

class Input {
 public:
  Input(const uint8_t* bytes, size_t size) : at_(bytes), end_(bytes + size) {}
  [[nodiscard]] bool over() const { return at_ == end_; }
  uint32_t byte() { return over() ? 0 : *at_++; }
  uint32_t two() { return byte() << 8 | byte(); }
  uint32_t below(uint32_t bound) { return byte() % bound; }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

// Values are windows of one random text; the window tells which write it was.
class Values {
 public:
  static constexpr size_t kLongest = 1'100'000;
  static constexpr size_t kWindows = 1 << 16;

  Values() : text_(kLongest + kWindows, '\0') {
    uint64_t state = 1;
    for (char& c : text_) c = static_cast<char>(test::mixed(state += 0x9e3779b97f4a7c15));
  }
  [[nodiscard]] Bytes at(uint64_t number, size_t size) const {
    return std::as_bytes(std::span(text_.data() + number * 7919 % kWindows, size));
  }

 private:
  std::string text_;
};

const Values& values() {
  static const Values instance;
  return instance;
}

size_t pick_size(Input& input) {
  static constexpr size_t kEdges[] = {0,
                                      1,
                                      8,
                                      kMaxInlineValue - 1,
                                      kMaxInlineValue,
                                      kMaxInlineValue + 1,
                                      kSegmentBytes - 1,
                                      kSegmentBytes,
                                      kSegmentBytes + 1,
                                      kSegmentBytes + kMaxInlineValue,
                                      kSegmentBytes + kMaxInlineValue + 1,
                                      3 * kSegmentBytes - 5,
                                      100'000,
                                      kMinMemory / 4 - 1,
                                      kMinMemory / 4,
                                      kMinMemory / 4 + 1};
  const uint32_t choice = input.byte();
  if (choice < 128) return choice;
  if (choice < 200) return size_t{choice - 128} * 64;
  if (choice < 216) return input.two();
  return kEdges[choice % std::size(kEdges)];
}

using Name = std::pair<uint32_t, uint32_t>;  // which database, which key

struct Entry {
  uint64_t number = 0;  // of the write, for its value
  size_t size = 0;
  Kind kind = Kind::bytes;
  int64_t count = 0;
  Version version = 0;
  Milliseconds expires_at = 0;
};

class Program {
 public:
  // The memory holds what the last program left; an engine must not care.
  Program(Input& input, Hash hash, const test::Memory& memory, test::Locks& locks, Buffer buffer)
      : input_(input),
        memory_(memory.span()),
        buffer_(buffer),
        cache_(Cache::format(memory_, {test::Locks::lock, test::Locks::unlock, hash, &locks}, 42, 1000)) {
    for (uint32_t i = 0; i < kDatabases; ++i) register_again(i);
  }

  void run() {
    for (uint64_t i = 0; i < kMaxOperations && !input_.over(); ++i) {
      step();
      note_evictions();
      if (i % 64 == 63) inspect();
    }
    look_at_all();
    scan(static_cast<uint32_t>(writes_ % kDatabases));
    inspect();
  }

 private:
  void step() {
    switch (input_.below(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return write(pick_name(), pick_size(input_));
      case 5:
        return fill();
      case 6:
      case 7:
        return read(pick_name());
      case 8:
        return take(pick_name());
      case 9:
        return remove(pick_name());
      case 10:
        return touch(pick_name());
      case 11:
      case 12:
        return increment(pick_name());
      case 13:
        return remember(pick_name());
      case 14:
        now_ += input_.byte() < 128 ? input_.byte() : Milliseconds{input_.two()} * 1000;
        return;
      case 15:
        return expire();
      case 16:
        return input_.below(2) == 0 ? fence(input_.below(kDatabases)) : invalidate(input_.below(kDatabases));
      case 17:
        return sweep(input_.below(kDatabases));
      case 18:
        return scan(input_.below(kDatabases));
      default:
        return input_.below(4) == 0 ? forget(input_.below(kDatabases)) : look_at_all();
    }
  }

  Name pick_name() {
    const uint32_t which = input_.below(kDatabases);
    return {which, input_.below(64)};
  }

  // Keys of many lengths, the longest too.
  Key key(const Name& name) {
    const size_t size = name.second % 16 == 15 ? kMaxKeyBytes : 2 + name.second * 37 % 50;
    key_.assign(size, 'k');
    key_[0] = static_cast<char>(name.second);
    key_[1] = static_cast<char>(name.second >> 8);
    return cache_.key(numbers_[name.first], key_);
  }

  Milliseconds pick_time() {
    switch (input_.below(5)) {
      case 0:
        return now_ + input_.byte();
      case 1:
        return now_ + Milliseconds{input_.two()} * 1000;
      case 2:
        return now_ + kMaxTtl;
      case 3:
        return now_ - input_.byte();
      default:
        return now_ + 60'000;
    }
  }

  Expiry pick_expiry() {
    switch (input_.below(3)) {
      case 0:
        return Expiry::never();
      case 1:
        return Expiry::when(pick_time());
      default:
        return Expiry::keep_or(input_.below(2) == 0 ? 0 : pick_time());
    }
  }

  [[nodiscard]] bool live(const Entry& entry) const { return entry.expires_at == 0 || entry.expires_at > now_; }

  Entry* find(const Name& name) {
    const auto found = entries_.find(name);
    return found == entries_.end() || !live(found->second) ? nullptr : &found->second;
  }

  [[nodiscard]] int64_t items() const {
    int64_t sum = 0;
    for (const uint16_t number : numbers_) sum += cache_.database(number).items;
    return sum;
  }

  [[nodiscard]] uint64_t evictions() const {
    uint64_t sum = 0;
    for (const uint16_t number : numbers_) sum += cache_.database(number).evictions;
    return sum;
  }

  void write(const Name& name, size_t size) {
    const uint32_t options = input_.byte();
    WriteRequest request;
    request.kind = static_cast<Kind>(options & 3);
    if (request.kind == Kind::counter) size = sizeof(int64_t);
    if (size > Values::kLongest) size = Values::kLongest;
    request.value = values().at(++writes_, size);
    request.mode = static_cast<WriteMode>((options >> 2 & 7) % 6 % 3);
    request.expiry = pick_expiry();
    if ((options & 0xe0) == 0xe0) request.if_version = pick_version();
    store(name, request);
  }

  void store(const Name& name, const WriteRequest& request) {
    const uint64_t evictions_before = evictions();
    const int64_t items_before = items();
    const Version sequence = cache_.sequence();
    const Key where = key(name);
    const WriteResult result = cache_.write(where, request, now_);
    if (request.value.size() > cache_.geometry().max_value_bytes()) {
      require(result.status == Status::too_large, "a value over the limit is too large");
      return;
    }
    require(result.status == Status::ok || result.status == Status::refused || result.status == Status::outdated,
            "a write ends in ok, refused or outdated");
    appended_ += request.value.size() + kMaxKeyBytes;
    const bool evicted = evictions() != evictions_before;
    require(!evicted || appended_ > kPlenty || items_before >= kAlwaysIndexed, "an eviction has a reason");

    Entry* const existing = find(name);
    // The old entry may have been evicted to make room for the new one.
    const bool may_be_gone = existing != nullptr && evicted;
    const auto allowed = [&](bool present) -> std::pair<bool, bool> {  // may be ok, may be refused
      if (request.mode == WriteMode::if_absent && present) return {false, true};
      if (request.mode == WriteMode::if_present && !present) return {false, true};
      if (!request.if_version) return {true, false};
      if (present) return {existing->version == *request.if_version, existing->version != *request.if_version};
      if (*request.if_version > sequence) return {false, true};
      if (*request.if_version < std::max(changed_[name], fences_[name.first])) return {false, true};
      return {true, *request.if_version != sequence};
    };
    auto [may_be_ok, may_be_refused] = allowed(existing != nullptr);
    if (may_be_gone) {
      const auto other = allowed(false);
      may_be_ok |= other.first;
      may_be_refused |= other.second;
    }
    require(result.status == Status::ok ? may_be_ok : may_be_refused,
            "a write is refused when it must be, and only then");
    if (result.status != Status::ok) return;

    require(result.version > newest_ && result.version > sequence, "versions grow");
    newest_ = result.version;
    changed_[name] = cache_.sequence();
    Entry entry;
    entry.number = writes_;
    entry.size = request.value.size();
    entry.kind = request.kind;
    entry.version = result.version;
    entry.expires_at = request.expiry.rule == Expiry::Rule::never ? 0 : request.expiry.at;
    if (request.expiry.rule == Expiry::Rule::keep && existing != nullptr) {
      const Milliseconds kept = existing->expires_at;
      const ReadResult peeked = cache_.peek(where, now_);
      const bool as_new =
          may_be_gone && (peeked.status == Status::ok ? peeked.entry.expires_at == entry.expires_at
                                                      : entry.expires_at != 0 && entry.expires_at <= now_);
      if (!as_new) entry.expires_at = kept;
    }
    if (entry.kind == Kind::counter) std::memcpy(&entry.count, request.value.data(), sizeof entry.count);
    entries_[name] = entry;
  }

  // Many entries at once, so that short programs fill the memory.
  void fill() {
    const uint32_t which = input_.below(kDatabases);
    const uint32_t count = input_.byte() * 2;
    const size_t size = pick_size(input_) % 20'000;
    const Expiry expiry = pick_expiry();
    for (uint32_t i = 0; i < count; ++i) {
      WriteRequest request;
      request.value = values().at(++writes_, size);
      request.expiry = expiry;
      store({which, 64 + fills_++ % 4096}, request);
      note_evictions();
    }
  }

  void check_found(const Name& name, const ReadResult& result, const Entry& entry, bool with_value) {
    static_cast<void>(name);
    require(result.entry.kind == entry.kind, "an entry keeps its kind");
    require(result.entry.version == entry.version, "an entry keeps its version");
    require(result.entry.value_bytes == entry.size, "an entry keeps its size");
    require(result.entry.size_bytes >= entry.size + 1, "an entry takes more than its value");
    require(result.entry.expires_at == entry.expires_at, "an entry keeps its expiry");
    if (!with_value) return;
    if (entry.kind == Kind::counter)
      require(std::memcmp(buffer_.data(), &entry.count, sizeof entry.count) == 0, "a counter has its value");
    else
      require(
          entry.size == 0 || std::memcmp(buffer_.data(), values().at(entry.number, entry.size).data(), entry.size) == 0,
          "an entry has its value");
  }

  template <typename Operation>
  void read_or_take(const Name& name, Operation operation, bool takes) {
    const Kinds kinds = input_.below(4) == 0 ? static_cast<Kinds>(input_.below(16)) : kAnyKind;
    Entry* const existing = find(name);
    size_t room = buffer_.size();
    if (existing != nullptr && input_.below(8) == 0) room = existing->size - std::min<size_t>(existing->size, 1);
    const ReadResult result = operation(key(name), kinds, Buffer(buffer_.data(), room));
    if (existing == nullptr) {
      require(result.status == Status::not_found, "nothing is found where nothing is");
      require(result.entry.version == cache_.sequence(), "a miss has the newest version");
      return;
    }
    if ((kinds & only(existing->kind)) == 0) {
      require(result.status == Status::wrong_kind, "another kind is not read");
      return check_found(name, result, *existing, false);
    }
    if (room < existing->size) {
      require(result.status == Status::buffer_too_small, "nothing is read into too little room");
      return check_found(name, result, *existing, false);
    }
    require(result.status == Status::ok, "what is there is found");
    check_found(name, result, *existing, true);
    if (!takes) return;
    entries_.erase(name);
    changed_[name] = cache_.sequence();
  }

  void read(const Name& name) {
    read_or_take(
        name, [&](const Key& where, Kinds kinds, Buffer buffer) { return cache_.read(where, now_, kinds, buffer); },
        false);
  }

  void take(const Name& name) {
    read_or_take(
        name, [&](const Key& where, Kinds kinds, Buffer buffer) { return cache_.take(where, now_, kinds, buffer); },
        true);
  }

  void remove(const Name& name) {
    std::optional<Version> version;
    if (input_.below(4) == 0) version = pick_version();
    const Entry* const existing = find(name);
    const Status status = cache_.remove(key(name), now_, version);
    if (existing == nullptr) {
      require(status == Status::not_found, "nothing is removed where nothing is");
    } else if (version && *version != existing->version) {
      require(status == Status::refused, "another version is not removed");
      return;
    } else {
      require(status == Status::ok, "what is there is removed");
      entries_.erase(name);
    }
    if (existing != nullptr || !version) changed_[name] = cache_.sequence();
  }

  void touch(const Name& name) {
    const Expiry expiry = pick_expiry();
    Entry* const existing = find(name);
    const Status status = cache_.touch(key(name), now_, expiry);
    require(status == (existing != nullptr ? Status::ok : Status::not_found), "what is there is touched");
    if (existing == nullptr || expiry.rule == Expiry::Rule::keep) return;
    existing->expires_at = expiry.rule == Expiry::Rule::never ? 0 : expiry.at;
  }

  void increment(const Name& name) {
    static constexpr int64_t kSteps[] = {
        1, -1, 0, 1000, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
    const int64_t by = kSteps[input_.below(std::size(kSteps))];
    const bool create = input_.below(4) != 0;
    const Milliseconds ends = input_.below(2) == 0 ? 0 : pick_time();
    Entry* const existing = find(name);
    const CounterResult result =
        cache_.increment(key(name), by, ends == 0 ? Expiry::never() : Expiry::when(ends), create, now_);
    appended_ += kMaxKeyBytes;
    if (existing == nullptr && !create) {
      require(result.status == Status::not_found, "no counter is made unasked");
      return;
    }
    if (existing != nullptr && existing->kind != Kind::counter) {
      require(result.status == Status::wrong_kind && result.kind == existing->kind, "other kinds are not counted");
      return;
    }
    int64_t sum;
    if (__builtin_add_overflow(existing != nullptr ? existing->count : 0, by, &sum)) {
      require(result.status == Status::out_of_range, "overflow is refused");
      return;
    }
    require(result.status == Status::ok && result.value == sum, "a counter counts");
    Entry entry = existing != nullptr ? *existing : Entry{};
    entry.size = sizeof(int64_t);
    entry.kind = Kind::counter;
    entry.count = sum;
    if (existing == nullptr) entry.expires_at = ends;
    entry.version = cache_.sequence();
    require(entry.version > newest_, "versions grow");
    newest_ = entry.version;
    changed_[name] = entry.version;
    entries_[name] = entry;
  }

  void remember(const Name& name) {
    versions_[input_.below(std::size(versions_))] = cache_.peek(key(name), now_).entry.version;
  }

  Version pick_version() {
    const uint32_t choice = input_.below(static_cast<uint32_t>(std::size(versions_)) + 2);
    if (choice < std::size(versions_)) return versions_[choice];
    return choice == std::size(versions_) ? cache_.sequence() : cache_.sequence() + 1 + input_.byte();
  }

  void expire() {
    ExpiryCursor cursor{input_.two() % cache_.geometry().segments};
    const uint32_t steps = input_.byte();
    for (uint32_t i = 0; i < steps; ++i) {
      const int64_t before = items();
      const ExpiryStep step = cache_.expire(cursor, now_);
      require(items() == before - int64_t{step.items}, "expiry counts what it drops");
      require(step.segments <= 1, "a step gives one segment back at most");
    }
  }

  void fence(uint32_t which) {
    cache_.fence_database(numbers_[which]);
    fences_[which] = cache_.sequence();
  }

  void invalidate(uint32_t which) {
    cache_.invalidate_database(numbers_[which]);
    fences_[which] = cache_.sequence();
    std::erase_if(entries_, [which](const auto& entry) { return entry.first.first == which; });
  }

  void sweep(uint32_t which) {
    ScanCursor cursor;
    uint64_t dropped = 0;
    while (cache_.sweep_database(cursor, numbers_[which], now_, dropped)) {
    }
    int64_t expected = 0;
    for (const auto& [name, entry] : entries_) expected += name.first == which && live(entry) ? 1 : 0;
    require(cache_.database(numbers_[which]).items == expected, "after a sweep only what lives is there");
  }

  void scan(uint32_t which) {
    const auto batch = std::make_unique<ScanBatch>();
    std::set<std::string> met;
    ScanCursor cursor;
    while (cache_.scan(cursor, numbers_[which], now_, *batch))
      for (uint32_t i = 0; i < batch->count; ++i)
        require(met.emplace(batch->key(batch->entries[i])).second, "a walk meets an entry once");
    size_t expected = 0;
    for (const auto& [name, entry] : entries_) {
      if (name.first != which || !live(entry)) continue;
      ++expected;
      static_cast<void>(key(name));
      require(met.contains(key_), "a walk meets every entry");
    }
    require(met.size() == expected, "a walk meets what is there");
  }

  void forget(uint32_t which) {
    invalidate(which);
    sweep(which);
    cache_.forget_database(numbers_[which]);
    register_again(which);
  }

  void register_again(uint32_t which) {
    numbers_[which] = *cache_.register_database(++oids_);
    fences_[which] = cache_.sequence();
    evictions_[which] = 0;
    require(cache_.database(numbers_[which]).items == 0, "a new database is empty");
  }

  // What was evicted since the last operation is none of the map's any more.
  void note_evictions() {
    for (uint32_t which = 0; which < kDatabases; ++which) {
      const uint64_t counted = cache_.database(numbers_[which]).evictions;
      if (counted == evictions_[which]) continue;
      uint64_t missing = 0;
      for (auto at = entries_.lower_bound({which, 0}); at != entries_.end() && at->first.first == which;) {
        const bool gone = live(at->second) && cache_.peek(key(at->first), now_).status == Status::not_found;
        missing += gone ? 1 : 0;
        at = gone ? entries_.erase(at) : std::next(at);
      }
      require(missing <= counted - evictions_[which], "what goes missing was counted as evicted");
      evictions_[which] = counted;
    }
  }

  void look_at_all() {
    for (const auto& [name, entry] : entries_) {
      const ReadResult result = cache_.read(key(name), now_, kAnyKind, buffer_);
      if (live(entry)) {
        require(result.status == Status::ok, "what is there is found");
        check_found(name, result, entry, true);
      } else {
        require(result.status == Status::not_found, "what has ended is not found");
      }
    }
  }

  void inspect() {
    const char* const violated = test::first_violation(cache_, memory_.data());
    require(violated == nullptr, violated);
    require(work_meter.most_bytes <= kMaxBytesPerHold, "the bytes touched under a lock are bounded");
    require(work_meter.most_items <= kMaxItemsPerHold, "the items touched under a lock are bounded");
  }

  Input& input_;
  Buffer memory_;
  Buffer buffer_;
  Cache cache_;
  Milliseconds now_ = kStart;
  uint16_t numbers_[kDatabases]{};
  Version fences_[kDatabases]{};
  uint64_t evictions_[kDatabases]{};
  std::map<Name, Entry> entries_;
  std::map<Name, Version> changed_;
  Version versions_[6]{};
  Version newest_ = 0;
  uint32_t oids_ = 0;
  uint64_t writes_ = 0;
  uint32_t fills_ = 0;
  uint64_t appended_ = 0;
  std::string key_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const Hash hash = kHashes[input.below(std::size(kHashes))];
  static const test::Memory memory(kMinMemory);
  static const test::Memory buffer(Values::kLongest);
  static test::Locks locks(Cache::lock_count(kMinMemory));
  Program(input, hash, memory, locks, buffer.span()).run();
  return 0;
}
