"""What comes with the Verilog of a kernel: registers, scripts, constraints."""

from ..platforms.calls import call_constants, call_guide
from ..platforms.host.check import argument_channels
from ..platforms.registers import register_files
from ..platforms.vitis import vitis_files
from ..platforms.vivado import spread_over_slrs, vivado_files
from ..rtl.kernel.kernel import Kernel, channel_pins
from .chip import ChipDescription
from .vectors.kernel import BENCH_FILES

__all__ = ["kernel_files"]


def kernel_files(
    description: ChipDescription, kernel: Kernel, has_bench: bool = False
) -> dict[str, str]:
    """Return registers for host software, and for a chip on UltraScale+ what Vivado and Vitis need.

    Parameters
    ----------
    description : ChipDescription
        The chip.
    kernel : Kernel
        Its hardware.
    has_bench : bool
        Whether a testbench in SystemVerilog comes with it.
    """
    top, name = description.identifier, description.name
    files = register_files(
        top=top,
        registers=kernel.registers,
        constants=call_constants(kernel),
        guide=call_guide(kernel),
    )
    if description.target != "ultrascale":
        return files
    sources = [f"{name}.v"]
    pins = {number: channel_pins(number) for number in range(kernel.n_channels)}
    ports = {name: pins[channel] for name, channel in argument_channels(kernel).items()}
    lanes = [f"engine/core/lane_{number}" for number in range(description.n_lanes)]
    return {
        **files,
        **vitis_files(
            top=top,
            sources=sources,
            arguments=kernel.arguments,
            ports=ports,
            channels={pin: f"HBM[{number}]" for number, pin in pins.items()},
            data_width=description.data_width,
            clock_mhz=description.clock_mhz,
        ),
        **vivado_files(
            top=top,
            sources=sources,
            clock_mhz=description.clock_mhz,
            groups=spread_over_slrs(lanes) if description.is_spread else {},
            crossings=["*/sll_*/q_reg*"] if description.is_spread else (),
            bench=BENCH_FILES if has_bench else (),
        ),
    }
