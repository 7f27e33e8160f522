// One pseudo-channel of HBM2: when its data bus carries what. tb/memory/dram.py does the same.
//
// Times are in units, 2^16 to a cycle of the kernel. Accesses are served in the order in which they
// come; a row may be opened while the accesses before it still occupy the bus.

#pragma once

#include <algorithm>
#include <cstdint>

#include "port.h"

namespace qkloom {

// Shared with native.py: all of it in units.
struct Timing {
  uint64_t atom;  // on the bus
  uint64_t refresh_interval, refresh;
  uint64_t activate, precharge, row_cycle;
  uint64_t turnaround;
};

// Shared with native.py.
struct DramCounters {
  uint64_t reads, writes;  // atoms
  uint64_t hits, opened, conflicts, refreshes;
  uint64_t busy;  // units
};

class Dram {
 public:
  static constexpr uint32_t atom_bits = 5, row_bit = 14, n_banks = 16;

  void restart(const Timing &timing, uint64_t first_refresh) {
    t_ = timing;
    refresh_at_ = first_refresh;
    bus_free_ = 0;
    wrote_ = false;
    std::fill(rows_, rows_ + n_banks, never);
    std::fill(used_, used_ + n_banks, 0);
    std::fill(activable_, activable_ + n_banks, 0);
    counters = {};
  }

  // Transfer an atom that was asked for at `arrival`; return when the bus has carried it.
  uint64_t access(uint64_t offset, uint64_t arrival, bool writes) {
    uint64_t start = std::max(arrival, bus_free_ + (writes != wrote_ ? t_.turnaround : 0));
    while (start >= refresh_at_) {
      uint64_t end = refresh_at_ + t_.refresh;
      std::fill(rows_, rows_ + n_banks, never);
      std::fill(activable_, activable_ + n_banks, end);
      start = std::max(start, end);
      refresh_at_ += t_.refresh_interval;
      counters.refreshes++;
    }
    // From the top: 14 bits of row, a bank group, 2 bits of bank, 5 of column, a bank group.
    uint32_t bank = (offset >> 10 & 14) | (offset >> atom_bits & 1);
    uint64_t row = offset >> row_bit;
    if (rows_[bank] == row) {
      counters.hits++;
    } else {
      uint64_t opens = std::max(arrival, activable_[bank]);
      if (rows_[bank] == never) {
        counters.opened++;
      } else {
        opens = std::max(opens, used_[bank]) + t_.precharge;
        counters.conflicts++;
      }
      rows_[bank] = row;
      activable_[bank] = opens + t_.row_cycle;
      start = std::max(start, opens + t_.activate);
    }
    bus_free_ = used_[bank] = start + t_.atom;
    wrote_ = writes;
    counters.busy += t_.atom;
    (writes ? counters.writes : counters.reads)++;
    return bus_free_;
  }

  DramCounters counters;

 private:
  Timing t_;
  uint64_t refresh_at_, bus_free_;
  bool wrote_;
  uint64_t rows_[n_banks], used_[n_banks], activable_[n_banks];
};

}  // namespace qkloom
