// The memory without a design before it: one call a cycle and port.

#include "memory.h"

namespace {

struct In {
  uint32_t arvalid, awvalid, wvalid, wlast, rready, bready;
  qkloom::Request ar, aw;
  uint8_t wdata[128], wstrb[16];
};

struct Out {
  uint32_t arready, awready, wready, rvalid, bvalid, rlast, rid, rresp, bid, bresp;
  uint8_t rdata[128];
};

qkloom::Memory &memory_of(void *memory) { return *static_cast<qkloom::Memory *>(memory); }

}  // namespace

extern "C" {

QKLOOM_API void *qkloom_new(const qkloom::Parameters *parameters, uint8_t *const *storage,
                            const qkloom::MemoryPort *ports, uint32_t n_ports) {
  return new qkloom::Memory(*parameters, storage, ports, n_ports);
}

QKLOOM_API void qkloom_delete(void *memory) { delete &memory_of(memory); }

QKLOOM_API void qkloom_restart(void *memory) { memory_of(memory).restart(); }

QKLOOM_API void qkloom_faults(void *memory, const qkloom::Fault *faults, uint32_t n) {
  memory_of(memory).set_faults(faults, n);
}

QKLOOM_API void qkloom_drive(void *memory, uint32_t port, uint64_t cycle, Out *to) {
  const qkloom::MemoryPins &pins = memory_of(memory).drive(port, cycle);
  *to = {pins.arready, pins.awready, pins.wready, pins.rvalid, pins.bvalid, pins.rlast,
         pins.rid,     pins.rresp,   pins.bid,    pins.bresp,  {}};
  std::copy(pins.rdata.begin(), pins.rdata.end(), to->rdata);
}

QKLOOM_API void qkloom_sample(void *memory, uint32_t port, uint64_t cycle, const In *in) {
  qkloom::ManagerPins pins;
  pins.arvalid = in->arvalid;
  pins.awvalid = in->awvalid;
  pins.wvalid = in->wvalid;
  pins.wlast = in->wlast;
  pins.rready = in->rready;
  pins.bready = in->bready;
  pins.ar = in->ar;
  pins.aw = in->aw;
  pins.wdata = in->wdata;
  pins.wstrb = in->wstrb;
  memory_of(memory).sample(port, cycle, pins);
}

QKLOOM_API void qkloom_port_counters(void *memory, uint32_t port, qkloom::PortCounters *to) {
  *to = memory_of(memory).counters(port);
}

QKLOOM_API void qkloom_dram_counters(void *memory, uint32_t channel, qkloom::DramCounters *to) {
  *to = memory_of(memory).dram_counters(channel);
}

QKLOOM_API uint32_t qkloom_violations(void *memory, qkloom::AxiViolation *found, uint32_t room) {
  auto &all = memory_of(memory).violations;
  uint32_t n = 0;
  for (; n < room && n < all.size(); n++) found[n] = all[n];
  return n;
}
}
