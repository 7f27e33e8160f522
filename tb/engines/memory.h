// Memory behind AXI4 ports, cycle by cycle. tb/memory/model.py does the same in Python, and says
// what all of it means; a test holds both equal.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "dram.h"

namespace qkloom {

enum Channel : uint32_t { ar, aw, w, r, b, n_channels_of_a_port };

enum Response : uint32_t { okay, exokay, slverr, decerr };

enum Order : uint32_t { in_order, bursts, beats };

// The rules of tb/memory/rules.py.
enum AxiRule : uint32_t {
  withdrew,
  changed,
  crossed,
  no_increment,
  too_wide,
  ended_early,
  went_on,
  beside_lanes,
  valid_in_reset,
  outside,
  unasked,
};

struct AxiViolation {
  uint64_t cycle, address;
  uint32_t stream, rule;
};

class Violations : public std::vector<AxiViolation> {
 public:
  void report(uint64_t cycle, uint32_t stream, AxiRule rule, uint64_t address = 0) {
    constexpr size_t enough = 64;
    if (size() < enough) push_back({cycle, address, stream, rule});
  }
};

// Shared with native.py.
struct Pattern {
  uint64_t threshold, burst;

  bool stalls(uint64_t key, uint64_t cycle) const {
    return threshold && mix(key, burst > 1 ? cycle / burst : cycle) < threshold;
  }
};

// Shared with native.py: the model's numbers.
struct Parameters {
  Timing timing;
  uint64_t narrow, narrow_atom;  // a bit for each channel; of those an atom takes that long
  uint64_t n_channels, channel_bits, storage_bytes;
  uint64_t latency, outstanding, write_buffer, order;
  Pattern refusals, gaps;
  uint64_t delay_threshold, delay_most;
};

enum FaultKind : uint32_t { fault_slverr, fault_decerr, fault_stall };

// Shared with native.py: of one port, or of all if -1.
struct Fault {
  uint32_t kind, reads, writes;
  int32_t port;
  uint64_t beat;  // all ones if any
  uint64_t first, last;

  bool concerns(uint32_t number, bool write) const {
    return (port < 0 || uint32_t(port) == number) && (write ? writes : reads);
  }
};

// Shared with native.py.
struct PortCounters {
  uint64_t read_bursts, read_beats, read_bytes;
  uint64_t write_bursts, write_beats, write_bytes;
  uint64_t reads_left, writes_left;
  uint64_t read_pending, write_pending;
  uint64_t ar_blocked, aw_blocked, w_blocked, r_blocked, b_blocked;
  uint64_t r_starved, w_starved;
};

struct Request {
  uint64_t address;
  uint32_t id, length, size, burst;

  bool operator!=(const Request &other) const {
    return address != other.address || id != other.id || length != other.length ||
           size != other.size || burst != other.burst;
  }
};

// What a manager drives; `wdata` and the strobes need to be there only while wvalid is 1.
struct ManagerPins {
  bool arvalid = false, awvalid = false, wvalid = false, wlast = false;
  bool rready = false, bready = false;
  Request ar{}, aw{};
  const uint8_t *wdata = nullptr;
  const uint8_t *wstrb = nullptr;
};

// What the memory drives.
struct MemoryPins {
  bool arready = false, awready = false, wready = false, rvalid = false, bvalid = false;
  bool rlast = false;
  uint32_t rid = 0, rresp = 0, bid = 0, bresp = 0;
  std::vector<uint8_t> rdata;
};

// Shared with native.py.
struct MemoryPort {
  uint64_t keys[n_channels_of_a_port];
  uint64_t order_key, delay_key;
  uint32_t bytes;  // of a beat
};

class Memory {
 public:
  Memory(const Parameters &parameters, uint8_t *const *storage, const MemoryPort *ports,
         uint32_t n_ports)
      : p_(parameters), storage_(storage, storage + parameters.n_channels),
        drams_(parameters.n_channels) {
    for (uint32_t i = 0; i < n_ports; i++) ports_.emplace_back(*this, ports[i], i);
    restart();
  }

  Memory(const Memory &) = delete;

  void restart() {
    violations.clear();
    for (uint64_t i = 0; i < drams_.size(); i++) {
      Timing timing = p_.timing;
      if (p_.narrow >> i & 1) timing.atom = p_.narrow_atom;
      drams_[i].restart(timing, timing.refresh_interval * (i + 1) / drams_.size());
    }
    for (auto &port : ports_) port.restart();
  }

  void set_faults(const Fault *faults, uint32_t n) { faults_.assign(faults, faults + n); }

  // Lay out what port `i` gets in this cycle.
  const MemoryPins &drive(uint32_t i, uint64_t cycle) { return ports_[i].drive(cycle); }

  // What port `i` gets in a reset.
  const MemoryPins &idle(uint32_t i) const { return ports_[i].pins(); }

  // Take note of what the manager at port `i` does in this cycle.
  void sample(uint32_t i, uint64_t cycle, const ManagerPins &pins) {
    ports_[i].sample(cycle, pins);
  }

  void sample_reset(uint32_t i, uint64_t cycle, const ManagerPins &pins) {
    if (pins.arvalid) violations.report(cycle, i * n_channels_of_a_port + ar, valid_in_reset);
    if (pins.awvalid) violations.report(cycle, i * n_channels_of_a_port + aw, valid_in_reset);
    if (pins.wvalid) violations.report(cycle, i * n_channels_of_a_port + w, valid_in_reset);
  }

  PortCounters counters(uint32_t i) const { return ports_[i].counters_now(); }
  const DramCounters &dram_counters(uint32_t i) const { return drams_[i].counters; }

  Violations violations;

 private:
  struct Burst {
    Request request;
    uint64_t done = 0;  // beats that have moved
    uint32_t response = okay;
    std::vector<uint64_t> ready;  // when each beat may be offered; of a write, its response alone
    std::vector<uint8_t> data, strobes;
  };

  class Port {
   public:
    PortCounters counters{};

    Port(Memory &memory, const MemoryPort &port, uint32_t number)
        : m_(memory), p_(port), number_(number), held_data_(port.bytes),
          held_strobes_((port.bytes + 7) / 8) {
      pins_.rdata.resize(port.bytes);
    }

    void restart() {
      counters = {};
      pins_.arready = pins_.awready = pins_.wready = pins_.rvalid = pins_.bvalid = false;
      idle_r();
      idle_b();
      for (auto *bursts : {&reads_, &writing_, &answers_})
        while (!bursts->empty()) release(*bursts, 0);
      reading_ = nullptr;
      read_wake_ = answer_wake_ = 0;
      draining_.clear();
      n_writes_ = 0;
      ar_waits_ = aw_waits_ = w_waits_ = false;
    }

    const MemoryPins &pins() const { return pins_; }

    PortCounters counters_now() const {
      PortCounters now = counters;
      now.reads_left = reads_.size();
      now.writes_left = writing_.size() + answers_.size();
      return now;
    }

    const MemoryPins &drive(uint64_t cycle) {
      const Parameters &p = m_.p_;
      bool reads_stall = false, writes_stall = false;
      for (const Fault &fault : m_.faults_) {
        if (fault.kind != fault_stall) continue;
        reads_stall |= fault.concerns(number_, false) && counters.read_beats >= fault.beat;
        writes_stall |= fault.concerns(number_, true) && counters.write_beats >= fault.beat;
      }
      pins_.arready = !reads_stall && reads_.size() < p.outstanding && !refuses(ar, cycle);
      pins_.awready = !writes_stall && writing_.size() + answers_.size() < p.outstanding &&
                      !refuses(aw, cycle);
      while (!draining_.empty() && draining_.front() <= cycle) draining_.pop_front();
      pins_.wready = !writes_stall && !writing_.empty() && draining_.size() < p.write_buffer &&
                     !refuses(w, cycle);
      if (!pins_.rvalid && !reads_.empty() && !reads_stall && !p.gaps.stalls(p_.keys[r], cycle))
        offer_read(cycle);
      if (!pins_.bvalid && answer_wake_ <= cycle && !answers_.empty() && !writes_stall &&
          !p.gaps.stalls(p_.keys[b], cycle))
        offer_answer(cycle);
      return pins_;
    }

    void sample(uint64_t cycle, const ManagerPins &in) {
      if (!reads_.empty()) counters.read_pending++;
      if (!writing_.empty() || !answers_.empty()) counters.write_pending++;
      // What was offered first: a burst that is asked for now cannot answer now.
      if (pins_.rvalid) {
        if (in.rready) take_read();
        else counters.r_blocked++;
      } else if (!reads_.empty()) {
        counters.r_starved++;
      }
      if (pins_.bvalid) {
        if (in.bready) take_answer();
        else counters.b_blocked++;
      }
      if (in.wvalid) {
        watch_write(cycle, in);
        if (pins_.wready) write(cycle, in);
        else counters.w_blocked++;
      } else {
        if (w_waits_) report(cycle, w, withdrew);
        if (!writing_.empty()) counters.w_starved++;
      }
      w_waits_ = in.wvalid && !pins_.wready;
      watch(cycle, aw, in.awvalid, pins_.awready, in.aw, aw_waits_, held_aw_, counters.aw_blocked);
      watch(cycle, ar, in.arvalid, pins_.arready, in.ar, ar_waits_, held_ar_, counters.ar_blocked);
      if (in.awvalid && pins_.awready) {
        check(cycle, aw, in.aw);
        writing_.push_back(acquire(in.aw));
        counters.write_bursts++;
      }
      if (in.arvalid && pins_.arready) {
        check(cycle, ar, in.ar);
        read(cycle, in.ar);
      }
    }

   private:
    // Bytes [low, high) of memory that a beat transfers, and where its first lane is.
    struct Span {
      uint64_t base, low, high;
    };

    Span span(const Request &request, uint64_t beat) const {
      uint64_t size = std::min<uint64_t>(uint64_t(1) << request.size, p_.bytes);
      uint64_t aligned = (request.address & ~(size - 1)) + beat * size;
      return {aligned & ~uint64_t(p_.bytes - 1), beat ? aligned : request.address, aligned + size};
    }

    bool is_inside(uint64_t address) const {
      return address >> m_.p_.channel_bits < m_.p_.n_channels &&
             (address & ((uint64_t(1) << m_.p_.channel_bits) - 1)) < m_.p_.storage_bytes;
    }

    uint8_t *at(uint64_t address) const {
      return m_.storage_[address >> m_.p_.channel_bits] +
             (address & ((uint64_t(1) << m_.p_.channel_bits) - 1));
    }

    bool refuses(Channel channel, uint64_t cycle) const {
      return m_.p_.refusals.stalls(p_.keys[channel], cycle);
    }

    void report(uint64_t cycle, Channel channel, AxiRule rule, uint64_t address = 0) {
      m_.violations.report(cycle, number_ * n_channels_of_a_port + channel, rule, address);
    }

    // A stream of requests: what is offered stays.
    void watch(uint64_t cycle, Channel channel, bool valid, bool ready, const Request &request,
               bool &waits, Request &held, uint64_t &blocked) {
      if (waits && !valid) report(cycle, channel, withdrew);
      if (waits && valid && held != request) report(cycle, channel, changed);
      waits = valid && !ready;
      if (!waits) return;
      held = request;
      blocked++;
    }

    void watch_write(uint64_t cycle, const ManagerPins &in) {
      size_t n_data = held_data_.size(), n_strobes = held_strobes_.size();
      if (w_waits_ && (in.wlast != held_last_ || memcmp(in.wdata, held_data_.data(), n_data) ||
                       memcmp(in.wstrb, held_strobes_.data(), n_strobes)))
        report(cycle, w, changed);
      if (pins_.wready) return;
      held_last_ = in.wlast;
      memcpy(held_data_.data(), in.wdata, n_data);
      memcpy(held_strobes_.data(), in.wstrb, n_strobes);
    }

    void check(uint64_t cycle, Channel channel, const Request &request) {
      if (request.burst != 1) report(cycle, channel, no_increment, request.address);
      if (uint64_t(1) << request.size > p_.bytes)
        report(cycle, channel, too_wide, request.address);
      if ((span(request, request.length).high - 1) >> 12 != request.address >> 12)
        report(cycle, channel, crossed, request.address);
    }

    uint32_t fault_at(bool write, uint64_t beat, uint64_t low, uint64_t high) const {
      for (const Fault &fault : m_.faults_)
        if (fault.kind != fault_stall && fault.concerns(number_, write) &&
            (fault.beat == never || fault.beat == beat) && fault.first < high && low <= fault.last)
          return fault.kind == fault_slverr ? slverr : decerr;
      return okay;
    }

    // When the bus has carried each beat of a burst that was asked for in `cycle`, all told.
    void schedule(uint64_t cycle, Channel channel, Burst &burst, uint64_t index) {
      const Parameters &p = m_.p_;
      uint64_t arrival = cycle << 16, end = arrival, last = never;
      uint64_t key = p_.delay_key + (channel == aw), extra = 0;
      if (p.delay_threshold && mix(key, 2 * index) < p.delay_threshold)
        extra = mix(key, 2 * index + 1) % (p.delay_most + 1);
      bool all_inside = true;
      burst.ready.clear();
      for (uint64_t beat = 0; beat <= burst.request.length; beat++) {
        Span s = span(burst.request, beat);
        if (!is_inside(s.base)) {
          if (all_inside) report(cycle, channel, outside, s.low);
          all_inside = false;
        } else {
          Dram &dram = m_.drams_[s.base >> p.channel_bits];
          uint64_t offset = s.base & ((uint64_t(1) << p.channel_bits) - 1);
          uint64_t from = s.low >> Dram::atom_bits, to = (s.high - 1) >> Dram::atom_bits;
          for (uint64_t atom = from; atom <= to; atom++) {
            if (atom == last) continue;
            last = atom;
            end = dram.access(offset - s.base + (atom << Dram::atom_bits), arrival, channel == aw);
          }
        }
        uint64_t done = std::max((end + 0xFFFF) >> 16, cycle + 1);
        if (channel == aw && beat == burst.request.length) draining_.push_back(done);
        if (channel == aw) burst.ready.clear();
        burst.ready.push_back(done - 1 + p.latency + extra);
      }
    }

    void read(uint64_t cycle, const Request &request) {
      Burst *burst = acquire(request);
      schedule(cycle, ar, *burst, counters.read_bursts++);
      reads_.push_back(burst);
      read_wake_ = std::min(read_wake_, burst->ready[0]);
    }

    void write(uint64_t cycle, const ManagerPins &in) {
      Burst &burst = *writing_.front();
      Span s = span(burst.request, burst.done);
      uint64_t begin = s.low - s.base, end = s.high - s.base, n_written = 0;
      for (size_t i = 0; i < held_strobes_.size(); i++)
        n_written += __builtin_popcount(in.wstrb[i]);
      bool is_beside = false;
      for (uint64_t lane = 0; lane < p_.bytes && end - begin < p_.bytes; lane++)
        is_beside |= strobe(in.wstrb, lane) && (lane < begin || lane >= end);
      if (is_beside) report(cycle, w, beside_lanes, s.low);
      bool is_last = burst.done == burst.request.length;
      if (in.wlast && !is_last) report(cycle, w, ended_early, s.low);
      if (!in.wlast && is_last) report(cycle, w, went_on, s.low);
      uint32_t response = is_inside(s.base) ? fault_at(true, counters.write_beats, s.low, s.high)
                                            : uint32_t(decerr);
      if (burst.response == okay) burst.response = response;
      burst.data.insert(burst.data.end(), in.wdata, in.wdata + p_.bytes);
      for (size_t i = 0; i < held_strobes_.size(); i++)
        burst.strobes.push_back(response == okay ? in.wstrb[i] : 0);
      counters.write_beats++;
      counters.write_bytes += n_written;
      burst.done++;
      if (!is_last) return;
      schedule(cycle, aw, burst, n_writes_++);
      answers_.push_back(&burst);
      answer_wake_ = std::min(answer_wake_, burst.ready[0]);
      writing_.pop_front();
    }

    // Of the bursts whose turn it may be, take one that is ready; an ID's bursts stay in order.
    Burst *choose(const std::deque<Burst *> &bursts_of_all, uint64_t cycle, uint64_t key,
                  bool reads, uint64_t *wake) {
      uint64_t n = 0;
      *wake = never;
      size_t scope = m_.p_.order == in_order ? 1 : bursts_of_all.size();
      for (size_t i = 0; i < scope; i++) {
        Burst *burst = bursts_of_all[i];
        bool is_first = true;
        for (size_t j = 0; j < i && is_first; j++)
          is_first = bursts_of_all[j]->request.id != burst->request.id;
        if (!is_first) continue;
        uint64_t ready = burst->ready[reads ? burst->done : 0];
        *wake = std::min(*wake, ready);
        if (ready <= cycle) candidates_[n++] = burst;
      }
      return n ? candidates_[n > 1 ? mix(key, cycle) % n : 0] : nullptr;
    }

    void offer_read(uint64_t cycle) {
      Burst *burst = nullptr;
      if (m_.p_.order == bursts && reading_) {
        if (reading_->ready[reading_->done] <= cycle) burst = reading_;
      } else if (read_wake_ <= cycle) {
        burst = choose(reads_, cycle, p_.order_key, true, &read_wake_);
      }
      if (!burst) return;
      Span s = span(burst->request, burst->done);
      pins_.rvalid = true;
      pins_.rid = burst->request.id;
      pins_.rlast = burst->done == burst->request.length;
      pins_.rresp = is_inside(s.base) ? fault_at(false, counters.read_beats, s.low, s.high)
                                      : uint32_t(decerr);
      std::fill(pins_.rdata.begin(), pins_.rdata.end(), idle_byte);
      if (pins_.rresp == okay)
        memcpy(pins_.rdata.data() + (s.low - s.base), at(s.low), s.high - s.low);
      reading_ = burst;
    }

    void take_read() {
      Span s = span(reading_->request, reading_->done);
      counters.read_beats++;
      counters.read_bytes += s.high - s.low;
      if (reading_->done++ == reading_->request.length) {
        release(reads_, std::find(reads_.begin(), reads_.end(), reading_) - reads_.begin());
        reading_ = nullptr;
      }
      read_wake_ = 0;
      idle_r();
    }

    void offer_answer(uint64_t cycle) {
      Burst *burst = choose(answers_, cycle, p_.order_key + 1, false, &answer_wake_);
      if (!burst) return;
      // Only now: whoever does not wait for the answer reads what was there before.
      for (uint64_t beat = 0; beat <= burst->request.length; beat++) store(*burst, beat);
      pins_.bvalid = true;
      pins_.bid = burst->request.id;
      pins_.bresp = burst->response;
      answering_ = burst;
    }

    void store(const Burst &burst, uint64_t beat) {
      Span s = span(burst.request, beat);
      if (!is_inside(s.base)) return;
      const uint8_t *data = burst.data.data() + beat * p_.bytes;
      const uint8_t *strobes = burst.strobes.data() + beat * held_strobes_.size();
      uint8_t *target = at(s.base);
      for (uint64_t lane = 0; lane < p_.bytes; lane += 8) {
        if (p_.bytes >= 8 && strobes[lane / 8] == 0xFF) {
          memcpy(target + lane, data + lane, 8);
          continue;
        }
        for (uint64_t l = lane; l < std::min<uint64_t>(lane + 8, p_.bytes); l++)
          if (strobe(strobes, l)) target[l] = data[l];
      }
    }

    static bool strobe(const uint8_t *strobes, uint64_t lane) {
      return strobes[lane / 8] >> lane % 8 & 1;
    }

    void take_answer() {
      release(answers_, std::find(answers_.begin(), answers_.end(), answering_) - answers_.begin());
      answer_wake_ = 0;
      idle_b();
    }

    // Between two offers, values that nobody should take for one.
    void idle_r() {
      pins_.rvalid = false;
      pins_.rlast = true;
      pins_.rid = ~uint32_t(0);
      pins_.rresp = decerr;
      std::fill(pins_.rdata.begin(), pins_.rdata.end(), idle_byte);
    }

    void idle_b() {
      pins_.bvalid = false;
      pins_.bid = ~uint32_t(0);
      pins_.bresp = decerr;
    }

    Burst *acquire(const Request &request) {
      if (spare_.empty()) spare_.push_back(new_burst());
      Burst *burst = spare_.back();
      spare_.pop_back();
      burst->request = request;
      burst->done = 0;
      burst->response = okay;
      burst->data.clear();
      burst->strobes.clear();
      return burst;
    }

    Burst *new_burst() {
      bursts_.emplace_back();
      return &bursts_.back();
    }

    void release(std::deque<Burst *> &bursts_of_all, size_t index) {
      spare_.push_back(bursts_of_all[index]);
      bursts_of_all.erase(bursts_of_all.begin() + index);
    }

    static constexpr uint8_t idle_byte = 0xAA;

    Memory &m_;
    MemoryPort p_;
    uint32_t number_;
    MemoryPins pins_;
    std::deque<Burst> bursts_;
    std::vector<Burst *> spare_;
    std::deque<Burst *> reads_, writing_, answers_;
    Burst *reading_ = nullptr, *answering_ = nullptr;
    Burst *candidates_[256];
    uint64_t read_wake_ = 0, answer_wake_ = 0;  // no choice before these cycles
    std::deque<uint64_t> draining_;  // when the bus has carried each write that waits for it
    uint64_t n_writes_ = 0;
    bool ar_waits_ = false, aw_waits_ = false, w_waits_ = false, held_last_ = false;
    Request held_ar_{}, held_aw_{};
    std::vector<uint8_t> held_data_, held_strobes_;
  };

  Parameters p_;
  std::vector<uint8_t *> storage_;
  std::vector<Dram> drams_;
  std::deque<Port> ports_;
  std::vector<Fault> faults_;
};

}  // namespace qkloom
