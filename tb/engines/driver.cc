// The testbench's side of a compiled simulation: drives, samples and checks whole streams.
//
// What a cycle does is described in testbench.py; pysim.py does the same in Python. QKLOOM_DUT is
// the file that makes a `Dut` of a simulated design:
//
//   Port port(uint32_t index)    bits of a port, in the order of the design's ports
//   void reset(bool on)          drive the reset
//   void settle()                clock low: propagate inputs and state to the outputs
//   void edge()                  clock high: update the state
//   void waves(const char *path), void sample(uint64_t time)        if QKLOOM_WAVES is defined

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "port.h"

#include QKLOOM_DUT

namespace qkloom {

// Shared with native.py: one stream, its items and its pattern of stalls.
struct Stream {
  uint32_t *words;      // items to send, or room for those taken
  uint64_t *cycles;     // room for the cycle of each transfer
  uint64_t capacity;    // items there is room for
  uint64_t n_items;     // items to send
  uint64_t n_awaited;   // items that the run waits for; no wait if all ones
  uint64_t key, threshold, burst;
  uint32_t n_words;     // of an item
  uint32_t top_mask;    // bits that the last word of an item has
  int32_t payload, valid, ready;  // numbers of ports; -1 where there is none
  uint32_t is_input;
  uint64_t n_moved;
  uint64_t first_valid;  // cycle; all ones if never
};

struct Violation {
  uint64_t cycle;
  uint32_t stream, rule;
};

enum Rule : uint32_t { withdrew, changed };

class Simulation {
 public:
  Simulation(Stream *streams, uint32_t n_streams) {
    for (uint32_t i = 0; i < n_streams; i++) ends_.emplace_back(streams[i], dut_);
    restart();
  }

  void set(uint32_t port, const uint32_t *words) {
    Port p = dut_.port(port);
    memcpy(p.bits, words, p.bytes);
  }

  void reset(uint64_t cycles) {
    restart();
    dut_.reset(true);
    for (; cycles; cycles--) {
      for (auto &end : ends_) end.idle();
      step();
      tick();
    }
    dut_.reset(false);
  }

  void advance(uint64_t cycles, bool to_end) {
    for (; cycles && has_room() && !(to_end && !n_awaited_); cycles--) {
      for (auto &end : ends_) end.drive(cycle_);
      step();
      for (uint32_t i = 0; i < ends_.size(); i++) sample(i);
      tick();
      cycle_++;
    }
  }

  uint64_t cycle() const { return cycle_; }
  uint32_t n_awaited() const { return n_awaited_; }
  const std::vector<Violation> &violations() const { return violations_; }
#ifdef QKLOOM_WAVES
  void waves(const char *path) { dut_.waves(path); }
#endif

 private:
  // One stream as seen from outside the design.
  struct End {
    Stream &s;
    Port payload, valid, ready;
    bool offering = false, taking = false, waiting = false;
    std::vector<uint32_t> item, held;

    End(Stream &stream, Dut &dut) : s(stream), item(s.n_words), held(s.n_words) {
      if (s.payload >= 0) payload = dut.port(s.payload);
      if (s.valid >= 0) valid = dut.port(s.valid);
      if (s.ready >= 0) ready = dut.port(s.ready);
    }

    static void put(Port port, bool value) {
      uint32_t word = value;
      if (port.bits) memcpy(port.bits, &word, port.bytes);
    }

    static bool get(Port port) { return !port.bits || (*static_cast<uint8_t *>(port.bits) & 1); }

    bool stalled(uint64_t cycle) const {
      return s.threshold && mix(s.key, s.burst > 1 ? cycle / s.burst : cycle) < s.threshold;
    }

    const uint32_t *next() const { return s.words + s.n_moved * s.n_words; }

    void idle() {
      if (!s.is_input) {
        put(ready, false);
        return;
      }
      put(valid, false);
      if (!payload.bits) return;
      std::fill(item.begin(), item.end(), 0);
      if (s.n_items) {
        const uint32_t *shown = next() - (s.n_moved == s.n_items ? s.n_words : 0);
        for (uint32_t i = 0; i < s.n_words; i++) item[i] = ~shown[i];
        item.back() &= s.top_mask;
      }
      memcpy(payload.bits, item.data(), payload.bytes);
    }

    void drive(uint64_t cycle) {
      if (!s.is_input) {
        taking = !stalled(cycle);
        put(ready, taking);
      } else if (!offering) {
        offering = s.n_moved < s.n_items && !stalled(cycle);
        if (!offering) {
          idle();
          return;
        }
        put(valid, true);
        if (payload.bits) memcpy(payload.bits, next(), payload.bytes);
      }
    }
  };

  void sample(uint32_t index) {
    End &end = ends_[index];
    Stream &s = end.s;
    if (s.is_input) {
      if (end.offering && End::get(end.ready)) {
        end.offering = false;
        move(s);
      }
      return;
    }
    bool valid = End::get(end.valid);
    bool ready = end.taking || !end.ready.bits;
    if (valid && end.payload.bits) memcpy(end.item.data(), end.payload.bits, end.payload.bytes);
    if (end.waiting && !valid) report(index, withdrew);
    if (end.waiting && valid && end.item != end.held) report(index, changed);
    end.waiting = valid && !ready;
    if (end.waiting) end.held = end.item;
    if (valid && s.first_valid == never) s.first_valid = cycle_;
    if (valid && ready) {
      memcpy(s.words + s.n_moved * s.n_words, end.item.data(), s.n_words * sizeof(uint32_t));
      move(s);
    }
  }

  void move(Stream &s) {
    s.cycles[s.n_moved++] = cycle_;
    if (s.n_moved == s.n_awaited) n_awaited_--;
  }

  bool has_room() const {
    for (auto &end : ends_)
      if (!end.s.is_input && end.s.n_moved == end.s.capacity) return false;
    return true;
  }

  void report(uint32_t stream, Rule rule) {
    constexpr size_t enough = 64;
    if (violations_.size() < enough) violations_.push_back({cycle_, stream, rule});
  }

  void step() {
    dut_.settle();
#ifdef QKLOOM_WAVES
    dut_.sample(time_);
#endif
  }

  void tick() {
    dut_.edge();
#ifdef QKLOOM_WAVES
    dut_.sample(time_ + period / 2);
#endif
    time_ += period;
  }

  void restart() {
    cycle_ = 0;
    n_awaited_ = 0;
    violations_.clear();
    for (auto &end : ends_) {
      end.offering = end.waiting = false;
      end.s.n_moved = 0;
      end.s.first_valid = never;
      if (end.s.n_awaited != never && end.s.n_awaited) n_awaited_++;
    }
  }

  Dut dut_;
  std::vector<End> ends_;
  std::vector<Violation> violations_;
  uint64_t cycle_ = 0, time_ = 0;
  uint32_t n_awaited_ = 0;
};

}  // namespace qkloom

extern "C" {

QKLOOM_API void *qkloom_new(qkloom::Stream *streams, uint32_t n_streams) {
  return new qkloom::Simulation(streams, n_streams);
}

QKLOOM_API void qkloom_delete(void *simulation) { delete static_cast<qkloom::Simulation *>(simulation); }

QKLOOM_API void qkloom_set(void *simulation, uint32_t port, const uint32_t *words) {
  static_cast<qkloom::Simulation *>(simulation)->set(port, words);
}

QKLOOM_API void qkloom_reset(void *simulation, uint64_t cycles) {
  static_cast<qkloom::Simulation *>(simulation)->reset(cycles);
}

QKLOOM_API void qkloom_advance(void *simulation, uint64_t cycles, uint32_t to_end) {
  static_cast<qkloom::Simulation *>(simulation)->advance(cycles, to_end != 0);
}

QKLOOM_API uint64_t qkloom_cycle(void *simulation) {
  return static_cast<qkloom::Simulation *>(simulation)->cycle();
}

QKLOOM_API uint32_t qkloom_n_awaited(void *simulation) {
  return static_cast<qkloom::Simulation *>(simulation)->n_awaited();
}

QKLOOM_API uint32_t qkloom_violations(void *simulation, qkloom::Violation *found, uint32_t capacity) {
  auto &all = static_cast<qkloom::Simulation *>(simulation)->violations();
  uint32_t n = 0;
  for (; n < capacity && n < all.size(); n++) found[n] = all[n];
  return n;
}

#ifdef QKLOOM_WAVES
QKLOOM_API void qkloom_waves(void *simulation, const char *path) {
  static_cast<qkloom::Simulation *>(simulation)->waves(path);
}
#endif
}
