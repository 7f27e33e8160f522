"""Simulation of a kernel with its registers and its memory."""

from .simulation import KernelSimulation, start_kernel

__all__ = ["KernelSimulation", "start_kernel"]
