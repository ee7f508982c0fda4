#include "segments.hpp"

namespace pgcache::engine {

namespace {

constexpr uint64_t stack_head(uint64_t previous, uint32_t segment) noexcept {
  return ((previous >> 32) + 1) << 32 | segment;
}

}  // namespace

void Segments::format() const noexcept {
  for (uint32_t segment = 0; segment < count_; ++segment) {
    metas_[segment] = SegmentMeta{};
    metas_[segment].next = segment + 1 < count_ ? segment + 1 : kNone;
  }
  stack_->head = count_ > 0 ? 0 : kNone;
  stack_->free = count_;
}

uint32_t Segments::pop_free() const noexcept {
  auto head = atomic(stack_->head);
  uint64_t seen = head.load(std::memory_order_acquire);
  for (;;) {
    const auto segment = static_cast<uint32_t>(seen);
    if (segment == kNone) return kNone;
    // Another process may take the segment meanwhile and change `next`; the count of changes then makes this one retry.
    const uint32_t next = load_relaxed(metas_[segment].next);
    if (head.compare_exchange_weak(seen, stack_head(seen, next), std::memory_order_acquire)) {
      atomic(stack_->free).fetch_sub(1, std::memory_order_relaxed);
      return segment;
    }
  }
}

void Segments::push_free_chain(uint32_t first, uint32_t last, uint32_t count) const noexcept {
  auto head = atomic(stack_->head);
  uint64_t seen = head.load(std::memory_order_relaxed);
  do {
    store_relaxed(metas_[last].next, static_cast<uint32_t>(seen));
  } while (
      !head.compare_exchange_weak(seen, stack_head(seen, first), std::memory_order_release, std::memory_order_relaxed));
  atomic(stack_->free).fetch_add(count, std::memory_order_relaxed);
}

void Segments::append(Shard& shard, QueueName name, uint32_t ttl_class, uint32_t segment) const noexcept {
  Queue& queue = shard.queue(name);
  SegmentMeta& meta = metas_[segment];
  meta.queue = name;
  meta.ttl_class = static_cast<uint8_t>(ttl_class);
  meta.previous = queue.tail;
  store_relaxed(meta.next, kNone);
  if (queue.tail != kNone)
    store_relaxed(metas_[queue.tail].next, segment);
  else
    queue.head = segment;
  queue.tail = segment;
  add_relaxed(queue.segments, 1);
}

void Segments::detach(Shard& shard, uint32_t segment) const noexcept {
  SegmentMeta& meta = metas_[segment];
  Queue& queue = shard.queue(meta.queue);
  store_relaxed(meta.previous == kNone ? queue.head : metas_[meta.previous].next, meta.next);
  (meta.next == kNone ? queue.tail : metas_[meta.next].previous) = meta.previous;
  add_relaxed(queue.segments, UINT32_MAX);
}

void Segments::pin(const LargeValue& value) const noexcept {
  atomic(metas_[value.first].pins).fetch_add(1, std::memory_order_relaxed);
}

void Segments::unpin(const LargeValue& value) const noexcept {
  // The copy made under the pin must be over before the chain can serve another value.
  if (atomic(metas_[value.first].pins).fetch_sub(1, std::memory_order_acq_rel) == (kDoomed | 1))
    push_free_chain(value.first, value.last, value.segments);
}

void Segments::release(const LargeValue& value) const noexcept {
  // Nobody can pin it any more: pins are taken under the lock that the caller holds, through the index.
  if (atomic(metas_[value.first].pins).fetch_or(kDoomed, std::memory_order_acq_rel) == 0)
    push_free_chain(value.first, value.last, value.segments);
}

void Segments::copy_out(const LargeValue& value, std::byte* to) const noexcept {
  uint64_t left = value.value_bytes;
  uint32_t segment = value.first;
  for (uint32_t i = 0; i < value.segments; ++i) {
    const auto piece = static_cast<size_t>(std::min<uint64_t>(left, kSegmentBytes));
    std::memcpy(to, bytes(segment), piece);
    to += piece;
    left -= piece;
    segment = load_relaxed(metas_[segment].next);
  }
}

}  // namespace pgcache::engine
