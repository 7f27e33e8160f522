// What every driver of a compiled simulation has in common.

#pragma once

#include <cstdint>

namespace qkloom {

// Little-endian bits, as the simulator keeps them.
struct Port {
  void *bits = nullptr;
  uint32_t bytes = 0;
};

constexpr uint64_t never = ~uint64_t(0);
constexpr uint64_t period = 10;  // time units of a cycle in waves

// The hash of stalls.py.
inline uint64_t mix(uint64_t key, uint64_t index) {
  uint64_t z = key + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (z ^ (z >> 31)) >> 32;
}

}  // namespace qkloom

// Everything else stays inside, so that the compiler may inline it or leave it out.
#define QKLOOM_API __attribute__((visibility("default")))
