// A design in the C++ that Yosys' write_cxxrtl makes. ports.h, generated, defines QKLOOM_TOP,
// QKLOOM_PORTS, and QKLOOM_CLOCK and QKLOOM_RESET where the design has such a port, with
// QKLOOM_RESET_LEVEL, at which it resets.

#include "design.cc"
#include "ports.h"

#ifdef QKLOOM_WAVES
#include <cxxrtl/cxxrtl_vcd.h>

#include <cstdio>
#endif

namespace qkloom {

template <size_t Bits>
Port at(cxxrtl::value<Bits> &port) {
  return {port.data, sizeof(port.data)};
}

template <size_t Bits>
Port at(cxxrtl::wire<Bits> &port) {  // an output that is a register
  return {port.curr.data, sizeof(port.curr.data)};
}

class Dut {
 public:
  Dut() { top_.step(); }

  Port port(uint32_t index) {
    const Port ports[] = {QKLOOM_PORTS(top_)};
    return ports[index];
  }

  void reset(bool on) {
#ifdef QKLOOM_RESET
    top_.QKLOOM_RESET.set<bool>(on == QKLOOM_RESET_LEVEL);
#endif
  }

  void settle() {
#ifdef QKLOOM_CLOCK
    top_.QKLOOM_CLOCK.set<bool>(false);
#endif
    top_.step();
  }

  // All registers see the clock at once, since it goes through ports only: they take what settle()
  // left at their inputs, and what follows from it can wait for the next settle(). A step() would
  // evaluate everything once more.
  void edge() {
#ifdef QKLOOM_CLOCK
    top_.QKLOOM_CLOCK.set<bool>(true);
#ifdef QKLOOM_WAVES
    top_.step();
#else
    top_.eval();
    top_.commit();
#endif
#endif
  }

#ifdef QKLOOM_WAVES
  ~Dut() {
    flush(0);
    if (file_) fclose(file_);
  }

  void waves(const char *path) {
    file_ = fopen(path, "w");
    cxxrtl::debug_items items;
    top_.debug_info(&items, nullptr, "top ");
    vcd_.timescale(1, "ns");
    vcd_.add(items);
  }

  void sample(uint64_t time) {
    if (!file_) return;
    vcd_.sample(time);
    flush(1 << 20);
  }

 private:
  void flush(size_t limit) {
    if (!file_ || vcd_.buffer.size() <= limit) return;
    fwrite(vcd_.buffer.data(), 1, vcd_.buffer.size(), file_);
    vcd_.buffer.clear();
  }

  cxxrtl::vcd_writer vcd_;
  FILE *file_ = nullptr;
#endif

 private:
  QKLOOM_TOP top_;
};

}  // namespace qkloom
