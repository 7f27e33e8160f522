// A design in the C++ that Verilator makes. ports.h, generated, defines QKLOOM_PORTS, and
// QKLOOM_CLOCK and QKLOOM_RESET where the design has such a port, with QKLOOM_RESET_LEVEL, at which
// it resets.

#include "Vtop.h"
#include "ports.h"
#include "verilated.h"

#ifdef QKLOOM_WAVES
#include "verilated_vcd_c.h"
#endif

namespace qkloom {

template <class Bits>
Port at(Bits &port) {
  return {&port, sizeof(port)};
}

class Dut {
 public:
  Dut() { top_.eval(); }

  ~Dut() {
#ifdef QKLOOM_WAVES
    vcd_.close();
#endif
    top_.final();
  }

  Port port(uint32_t index) {
    const Port ports[] = {QKLOOM_PORTS(top_)};
    return ports[index];
  }

  void reset(bool on) {
#ifdef QKLOOM_RESET
    top_.QKLOOM_RESET = on == QKLOOM_RESET_LEVEL;
#endif
  }

  void settle() {
#ifdef QKLOOM_CLOCK
    top_.QKLOOM_CLOCK = 0;
#endif
    top_.eval();
  }

  void edge() {
#ifdef QKLOOM_CLOCK
    top_.QKLOOM_CLOCK = 1;
    top_.eval();
#endif
  }

#ifdef QKLOOM_WAVES
  void waves(const char *path) {
    top_.trace(&vcd_, 99);
    vcd_.set_time_unit("1ns");
    vcd_.set_time_resolution("1ns");
    vcd_.open(path);
  }

  void sample(uint64_t time) {
    if (vcd_.isOpen()) vcd_.dump(time);
  }
#endif

 private:
  struct Context : VerilatedContext {
    Context() {
#ifdef QKLOOM_WAVES
      traceEverOn(true);
#endif
    }
  };

  Context context_;
  Vtop top_{&context_};
#ifdef QKLOOM_WAVES
  VerilatedVcdC vcd_;
#endif
};

}  // namespace qkloom
