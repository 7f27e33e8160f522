// The rules of tb/cache/exact.py for a whole list of visits that is known to be right.
//
// No visit costs more than a few memory accesses, however many slots there are: what may be evicted
// stands in a heap (next-use) or in the order of visits (lru), entries that no longer hold included.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

enum Policy { NONE, LIVENESS, LRU, NEXT_USE };
enum Kind : std::uint8_t { HIT, FILL, BYPASS };

struct Slot {
  std::int32_t block, next, age;
  std::uint32_t pins;
};

// Free slots of a tier, a bit each.
class Pool {
 public:
  Pool(std::int32_t first, std::int32_t n) : first_(first), n_free_(n), words_((n + 63) / 64) {
    for (std::int32_t k = 0; k < n; ++k) words_[k / 64] |= std::uint64_t{1} << k % 64;
  }
  bool empty() const { return n_free_ == 0; }
  void put(std::int32_t slot) {
    words_[(slot - first_) / 64] |= std::uint64_t{1} << (slot - first_) % 64;
    ++n_free_;
  }
  std::int32_t take_lowest() {
    std::size_t k = 0;
    while (!words_[k]) ++k;
    const std::int32_t slot = first_ + 64 * std::int32_t(k) + __builtin_ctzll(words_[k]);
    words_[k] &= words_[k] - 1;
    --n_free_;
    return slot;
  }

 private:
  std::int32_t first_, n_free_;
  std::vector<std::uint64_t> words_;
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

struct Rules {
  std::int32_t policy, hot, cold, threshold, lookahead;
  std::int32_t horizon;  // windows; below 0: all
};

EXPORT void qkloom_replay(const Rules *rules, std::int64_t n, const std::int32_t *window,
                          const std::int32_t *block, const std::int32_t *jobs,
                          const std::int32_t *distance, std::int32_t *left, std::int64_t n_blocks,
                          std::uint8_t *kind, std::int32_t *slot, std::int32_t *victim) {
  const std::int32_t n_slots = rules->hot + rules->cold;
  const Policy policy = Policy(rules->policy);
  std::vector<Slot> slots(n_slots, Slot{-1, 0, -1, 0});
  std::vector<std::int32_t> place(n_blocks, -1);
  std::vector<std::pair<std::int32_t, std::int32_t>> heap;  // (next, block): latest at the top
  Pool hot(0, rules->hot), cold(rules->hot, rules->cold);
  std::int64_t oldest = 0;  // visit that lru looks at next

  for (std::int64_t i = 0; i < n; ++i) {
    if (i >= rules->lookahead && slot[i - rules->lookahead] >= 0) {
      const std::int32_t number = slot[i - rules->lookahead];
      Slot &s = slots[number];
      if (--s.pins == 0) {
        if (left[s.block] == 0) {
          place[s.block] = -1;
          s.block = s.age = -1;
          (number < rules->hot ? hot : cold).put(number);
        } else if (policy == NEXT_USE) {
          heap.emplace_back(s.next, s.block);
          std::push_heap(heap.begin(), heap.end());
        }
      }
    }
    const std::int32_t b = block[i];
    const bool is_hot = left[b] > rules->threshold;
    left[b] -= jobs[i];
    const bool known = distance[i] > 0 && (rules->horizon < 0 || distance[i] <= rules->horizon);
    const std::int32_t next = window[i] + (known ? distance[i] : std::max(rules->horizon, 0) + 1);
    std::int32_t chosen = place[b], leaving = -1;
    kind[i] = HIT;
    if (chosen < 0) {
      kind[i] = FILL;
      Pool &preferred = is_hot ? hot : cold, &other = is_hot ? cold : hot;
      if (policy == NONE) {
      } else if (!preferred.empty()) {
        chosen = preferred.take_lowest();
      } else if (!other.empty() && (policy != LIVENESS || is_hot)) {
        chosen = other.take_lowest();
      } else if (policy == LRU) {
        for (; oldest <= i - rules->lookahead && chosen < 0; ++oldest)
          if (slot[oldest] >= 0 && slots[slot[oldest]].age == oldest) chosen = slot[oldest];
      } else if (policy == NEXT_USE && left[b] > 0) {
        for (; !heap.empty(); heap.pop_back()) {
          const auto top = heap.front();
          const std::int32_t at = place[top.second];
          if (at >= 0 && slots[at].pins == 0 && slots[at].next == top.first) {
            if (std::make_pair(next, b) < top) chosen = at;
            break;
          }
          std::pop_heap(heap.begin(), heap.end());
        }
      }
      if (chosen < 0) {
        kind[i] = BYPASS;
      } else if ((leaving = slots[chosen].block) >= 0) {
        place[leaving] = -1;
      }
    }
    if (chosen >= 0) {
      Slot &s = slots[chosen];
      s.block = b;
      s.next = next;
      s.age = std::int32_t(i);
      ++s.pins;
      place[b] = chosen;
    }
    slot[i] = chosen;
    victim[i] = leaving;
  }
}

// Plain LRU, which admits always and knows nothing of the future: which visits find their block.
EXPORT void qkloom_lru(std::int64_t n_slots, std::int64_t n, const std::int32_t *block,
                       std::int64_t n_blocks, std::uint8_t *hit) {
  std::vector<std::int64_t> last(n_blocks, -1);  // visit of each block that is held
  std::int64_t oldest = 0, held = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    hit[i] = last[block[i]] >= 0;
    if (!hit[i] && held++ == n_slots) {
      while (last[block[oldest]] != oldest) ++oldest;
      last[block[oldest++]] = -1;
      --held;
    }
    last[block[i]] = i;
  }
}
