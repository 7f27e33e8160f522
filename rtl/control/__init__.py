"""Control: what a host writes and reads, and how it starts calls."""

from .control import Control, all_registers, reset_register
from .file import RegisterFile
from .handshake import BLOCK_REGISTERS, FINISHED, Handshake
from .kernel_map import KernelRegisters, kernel_registers, pointer_names
from .register import Field, Register, check_registers, status_layout, values_layout

__all__ = [
    "BLOCK_REGISTERS",
    "FINISHED",
    "Control",
    "Field",
    "Handshake",
    "KernelRegisters",
    "Register",
    "RegisterFile",
    "all_registers",
    "check_registers",
    "kernel_registers",
    "pointer_names",
    "reset_register",
    "status_layout",
    "values_layout",
]
