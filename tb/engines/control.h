// A host's accesses to the registers of a kernel over AXI4-Lite, one at a time.
// tb/kernel/control.py does the same.

#pragma once

#include <cstdint>

#include "memory.h"

namespace qkloom {

// What the kernel drives.
struct ControlSample {
  bool awready, wready, arready, bvalid, rvalid;
  uint32_t bresp, rresp, rdata;
};

// What the host drives: bits of the channels that are valid or ready.
struct ControlPins {
  bool awvalid = false, wvalid = false, arvalid = false, bready = false, rready = false;
  uint64_t address = 0;
  uint32_t data = 0;
};

class Control {
 public:
  Control(const Pattern &stalls, const uint64_t *keys, Violations &violations, uint32_t stream)
      : stalls_(stalls), keys_(keys, keys + n_channels_of_a_port), violations_(violations),
        stream_(stream) {}

  uint32_t response = okay, data = 0;

  void restart() {
    pins_ = {};
    for (bool &is_left : left_) is_left = false;
    b_waits_ = r_waits_ = false;
  }

  bool is_busy() const { return left_[aw] || left_[w] || left_[b] || left_[ar] || left_[r]; }

  void begin(bool write, uint64_t address, uint32_t value) {
    pins_.address = address;
    pins_.data = value;
    if (write) left_[aw] = left_[w] = left_[b] = true;
    else left_[ar] = left_[r] = true;
  }

  const ControlPins &drive(uint64_t cycle) {
    offer(aw, pins_.awvalid, cycle);
    offer(w, pins_.wvalid, cycle);
    offer(ar, pins_.arvalid, cycle);
    pins_.bready = !stalls(b, cycle);
    pins_.rready = !stalls(r, cycle);
    return pins_;
  }

  void sample(uint64_t cycle, const ControlSample &in) {
    take(aw, pins_.awvalid, in.awready);
    take(w, pins_.wvalid, in.wready);
    take(ar, pins_.arvalid, in.arready);
    bool is_written = left_[b] && !left_[aw] && !left_[w], is_read = left_[r] && !left_[ar];
    watch(cycle, b, in.bvalid, in.bresp, is_written, b_waits_, held_b_);
    watch(cycle, r, in.rvalid, uint64_t(in.rresp) << 32 | in.rdata, is_read, r_waits_, held_r_);
    b_waits_ = in.bvalid && !pins_.bready;
    r_waits_ = in.rvalid && !pins_.rready;
    if (is_written && in.bvalid && pins_.bready) {
      left_[b] = false;
      response = in.bresp;
    }
    if (is_read && in.rvalid && pins_.rready) {
      left_[r] = false;
      response = in.rresp;
      data = in.rdata;
    }
  }

  void sample_reset(uint64_t cycle, const ControlSample &in) {
    if (in.bvalid) violations_.report(cycle, stream_ + b, valid_in_reset);
    if (in.rvalid) violations_.report(cycle, stream_ + r, valid_in_reset);
  }

 private:
  bool stalls(Channel channel, uint64_t cycle) const {
    return stalls_.stalls(keys_[channel], cycle);
  }

  void offer(Channel channel, bool &valid, uint64_t cycle) {
    if (!valid) valid = left_[channel] && !stalls(channel, cycle);
  }

  void take(Channel channel, bool &valid, bool ready) {
    if (!valid || !ready) return;
    valid = left_[channel] = false;
  }

  void watch(uint64_t cycle, Channel channel, bool valid, uint64_t payload, bool is_asked,
             bool waits, uint64_t &held) {
    if (waits && !valid) violations_.report(cycle, stream_ + channel, withdrew);
    if (waits && valid && payload != held) violations_.report(cycle, stream_ + channel, changed);
    if (valid && !waits && !is_asked) violations_.report(cycle, stream_ + channel, unasked);
    held = payload;
  }

  Pattern stalls_;
  std::vector<uint64_t> keys_;
  Violations &violations_;
  uint32_t stream_;
  ControlPins pins_;
  bool left_[n_channels_of_a_port] = {};
  bool b_waits_ = false, r_waits_ = false;
  uint64_t held_b_ = 0, held_r_ = 0;
};

}  // namespace qkloom
