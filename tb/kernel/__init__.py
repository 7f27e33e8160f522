"""Kernels in simulation: tensors in memory, registers, and what a host does with them."""

from .simulation import KernelSimulation, start_kernel

__all__ = ["KernelSimulation", "start_kernel"]
