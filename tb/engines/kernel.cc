// A kernel between a host, which accesses its registers, and its memory. tb/kernel/pysim.py does
// the same in Python. QKLOOM_DUT is as in driver.cc.
//
// In every cycle the host and the memory drive their pins, the design settles, and both take note
// of what it drives: what the memory offers never depends on what the design does in that cycle.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "control.h"
#include "memory.h"
#include "port.h"

#include QKLOOM_DUT

namespace qkloom {

enum BusPin : uint32_t {
  awid, awaddr, awlen, awsize, awburst, awvalid, awready,
  wdata, wstrb, wlast, wvalid, wready,
  bid, bresp, bvalid, bready,
  arid, araddr, arlen, arsize, arburst, arvalid, arready,
  rid, rdata, rresp, rlast, rvalid, rready,
  n_bus_pins,
};

// Shared with native.py: numbers of ports, -1 where there is none.
struct Setup {
  const Parameters *parameters;
  uint8_t *const *storage;
  const MemoryPort *ports;
  const int32_t (*pins)[n_bus_pins];
  const uint32_t *id_masks;
  uint32_t n_ports;
  int32_t interrupt;
  int32_t control[n_bus_pins];
  uint64_t control_keys[n_channels_of_a_port];
  Pattern control_stalls;
};

class Pin {
 public:
  Pin() = default;
  explicit Pin(Port port) : port_(port) {}

  explicit operator bool() const { return port_.bits; }
  const uint8_t *bits() const { return static_cast<const uint8_t *>(port_.bits); }
  bool flag() const { return port_.bits && (*bits() & 1); }

  uint64_t number() const {
    uint64_t value = 0;
    if (port_.bits) memcpy(&value, port_.bits, std::min<uint32_t>(port_.bytes, 8));
    return value;
  }

  void set(uint64_t value) {
    if (port_.bits) memcpy(port_.bits, &value, std::min<uint32_t>(port_.bytes, 8));
  }

  void set(const std::vector<uint8_t> &bytes) {
    if (port_.bits) memcpy(port_.bits, bytes.data(), std::min<size_t>(port_.bytes, bytes.size()));
  }

 private:
  Port port_;
};

class Bus {
 public:
  Bus(Dut &dut, const int32_t *numbers, uint32_t id_mask = 0) : id_mask_(id_mask) {
    for (uint32_t i = 0; i < n_bus_pins; i++)
      if (numbers[i] >= 0) pins_[i] = Pin(dut.port(numbers[i]));
  }

  Pin &operator[](BusPin pin) { return pins_[pin]; }

  void drive(const MemoryPins &memory) {
    pins_[arready].set(memory.arready);
    pins_[awready].set(memory.awready);
    pins_[wready].set(memory.wready);
    if (memory.rvalid || had_r_) {
      pins_[rvalid].set(memory.rvalid);
      pins_[rid].set(memory.rid & id_mask_);
      pins_[rresp].set(memory.rresp);
      pins_[rlast].set(memory.rlast);
      pins_[rdata].set(memory.rdata);
      had_r_ = memory.rvalid;
    }
    if (memory.bvalid || had_b_) {
      pins_[bvalid].set(memory.bvalid);
      pins_[bid].set(memory.bid & id_mask_);
      pins_[bresp].set(memory.bresp);
      had_b_ = memory.bvalid;
    }
  }

  // Drive everything, changed or not.
  void drive_all(const MemoryPins &memory) {
    had_r_ = had_b_ = true;
    drive(memory);
  }

  const ManagerPins &sample() {
    sampled_.arvalid = pins_[arvalid].flag();
    sampled_.awvalid = pins_[awvalid].flag();
    sampled_.wvalid = pins_[wvalid].flag();
    sampled_.rready = pins_[rready].flag();
    sampled_.bready = pins_[bready].flag();
    if (sampled_.arvalid) sampled_.ar = request(araddr, arid, arlen, arsize, arburst);
    if (sampled_.awvalid) sampled_.aw = request(awaddr, awid, awlen, awsize, awburst);
    if (sampled_.wvalid) {
      sampled_.wlast = pins_[wlast].flag();
      sampled_.wdata = pins_[wdata].bits();
      sampled_.wstrb = pins_[wstrb].bits();
    }
    return sampled_;
  }

 private:
  Request request(BusPin address, BusPin id, BusPin length, BusPin size, BusPin burst) const {
    return {pins_[address].number(), uint32_t(pins_[id].number()), uint32_t(pins_[length].number()),
            uint32_t(pins_[size].number()), uint32_t(pins_[burst].number())};
  }

  Pin pins_[n_bus_pins];
  uint32_t id_mask_;
  bool had_r_ = false, had_b_ = false;
  ManagerPins sampled_;
};

class Kernel {
 public:
  explicit Kernel(const Setup &setup)
      : memory_(*setup.parameters, setup.storage, setup.ports, setup.n_ports),
        control_(setup.control_stalls, setup.control_keys, memory_.violations,
                 setup.n_ports * n_channels_of_a_port),
        control_bus_(dut_, setup.control) {
    for (uint32_t i = 0; i < setup.n_ports; i++)
      buses_.emplace_back(dut_, setup.pins[i], setup.id_masks[i]);
    if (setup.interrupt >= 0) interrupt_ = Pin(dut_.port(setup.interrupt));
  }

  void reset(uint64_t cycles) {
    memory_.restart();
    control_.restart();
    cycle_ = 0;
    dut_.reset(true);
    drive_control({});
    for (auto &bus : buses_) bus.drive_all(idle_of(bus));
    for (uint64_t i = 0; i < cycles; i++) {
      settle();
      if (i && i + 1 == cycles) {  // after an edge, which may have been the first one at all
        for (uint32_t n = 0; n < buses_.size(); n++) memory_.sample_reset(n, 0, buses_[n].sample());
        control_.sample_reset(0, sample_control());
      }
      edge();
    }
    dut_.reset(false);
  }

  // Return whether the interrupt was seen, if it was waited for.
  bool run(uint64_t cycles, bool until_interrupt) {
    for (; cycles; cycles--)
      if (step() && until_interrupt) return true;
    return false;
  }

  // Return whether the kernel answered within `limit` cycles.
  bool access(bool write, uint64_t address, uint32_t value, uint64_t limit) {
    if (control_.is_busy()) return false;
    control_.begin(write, address, value);
    for (; limit && control_.is_busy(); limit--) step();
    return !control_.is_busy();
  }

  const Control &control() const { return control_; }
  Memory &memory() { return memory_; }
  uint64_t cycle() const { return cycle_; }
#ifdef QKLOOM_WAVES
  void waves(const char *path) { dut_.waves(path); }
#endif

 private:
  bool step() {
    for (uint32_t i = 0; i < buses_.size(); i++) buses_[i].drive(memory_.drive(i, cycle_));
    drive_control(control_.drive(cycle_));
    settle();
    for (uint32_t i = 0; i < buses_.size(); i++) memory_.sample(i, cycle_, buses_[i].sample());
    control_.sample(cycle_, sample_control());
    bool interrupts = interrupt_.flag();
    edge();
    cycle_++;
    return interrupts;
  }

  const MemoryPins &idle_of(Bus &bus) { return memory_.idle(&bus - &buses_[0]); }

  void drive_control(const ControlPins &pins) {
    control_bus_[awvalid].set(pins.awvalid);
    control_bus_[wvalid].set(pins.wvalid);
    control_bus_[arvalid].set(pins.arvalid);
    control_bus_[bready].set(pins.bready);
    control_bus_[rready].set(pins.rready);
    control_bus_[awaddr].set(pins.awvalid ? pins.address : 0);
    control_bus_[araddr].set(pins.arvalid ? pins.address : 0);
    control_bus_[wdata].set(pins.wvalid ? pins.data : 0);
    control_bus_[wstrb].set(pins.wvalid ? 15 : 0);
  }

  ControlSample sample_control() {
    ControlSample in;
    in.awready = control_bus_[awready].flag();
    in.wready = control_bus_[wready].flag();
    in.arready = control_bus_[arready].flag();
    in.bvalid = control_bus_[bvalid].flag();
    in.rvalid = control_bus_[rvalid].flag();
    in.bresp = control_bus_[bresp].number();
    in.rresp = control_bus_[rresp].number();
    in.rdata = control_bus_[rdata].number();
    return in;
  }

  void settle() {
    dut_.settle();
#ifdef QKLOOM_WAVES
    dut_.sample(time_);
#endif
  }

  void edge() {
    dut_.edge();
#ifdef QKLOOM_WAVES
    dut_.sample(time_ + period / 2);
#endif
    time_ += period;
  }

  Dut dut_;
  Memory memory_;
  Control control_;
  Bus control_bus_;
  std::vector<Bus> buses_;
  Pin interrupt_;
  uint64_t cycle_ = 0, time_ = 0;
};

inline Kernel &kernel_of(void *simulation) { return *static_cast<Kernel *>(simulation); }

}  // namespace qkloom

extern "C" {

QKLOOM_API void *qkloom_new(const qkloom::Setup *setup) { return new qkloom::Kernel(*setup); }

QKLOOM_API void qkloom_delete(void *simulation) { delete &qkloom::kernel_of(simulation); }

QKLOOM_API void qkloom_reset(void *simulation, uint64_t cycles) {
  qkloom::kernel_of(simulation).reset(cycles);
}

QKLOOM_API uint32_t qkloom_run(void *simulation, uint64_t cycles, uint32_t until_interrupt) {
  return qkloom::kernel_of(simulation).run(cycles, until_interrupt != 0);
}

// Response in bits 33 and 32, data below; all ones without an answer.
QKLOOM_API uint64_t qkloom_access(void *simulation, uint32_t write, uint64_t address,
                                  uint32_t value, uint64_t limit) {
  auto &kernel = qkloom::kernel_of(simulation);
  if (!kernel.access(write != 0, address, value, limit)) return qkloom::never;
  return uint64_t(kernel.control().response) << 32 | kernel.control().data;
}

QKLOOM_API uint64_t qkloom_cycle(void *simulation) { return qkloom::kernel_of(simulation).cycle(); }

QKLOOM_API void qkloom_faults(void *simulation, const qkloom::Fault *faults, uint32_t n) {
  qkloom::kernel_of(simulation).memory().set_faults(faults, n);
}

QKLOOM_API void qkloom_port_counters(void *simulation, uint32_t port, qkloom::PortCounters *to) {
  *to = qkloom::kernel_of(simulation).memory().counters(port);
}

QKLOOM_API void qkloom_dram_counters(void *simulation, uint32_t channel, qkloom::DramCounters *to) {
  *to = qkloom::kernel_of(simulation).memory().dram_counters(channel);
}

QKLOOM_API uint32_t qkloom_violations(void *simulation, qkloom::AxiViolation *found,
                                      uint32_t room) {
  auto &all = qkloom::kernel_of(simulation).memory().violations;
  uint32_t n = 0;
  for (; n < room && n < all.size(); n++) found[n] = all[n];
  return n;
}

#ifdef QKLOOM_WAVES
QKLOOM_API void qkloom_waves(void *simulation, const char *path) {
  qkloom::kernel_of(simulation).waves(path);
}
#endif
}
