"""The boards that `qkloom build` makes bitstreams for."""

from collections.abc import Callable
from dataclasses import dataclass

from ..rtl.component import Component
from .ulx3s.constraints import constraints
from .ulx3s.top import CLOCK_HZ, Ulx3sSelfTest

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True)
class Board:
    """A board, and the design for it.

    Members
    -------
    name, summary : str
        What it is called, and what the design does.
    device : str
        The FPGA, as its maker writes it.
    options : tuple of str
        The same for nextpnr-ecp5.
    clock_mhz : float
        Of the board's oscillator, which the design must keep up with.
    top : callable
        Makes the design.
    constraints : callable
        Makes the preference file: where its ports are.
    guide : str
        How to load the bitstream, and what is to be seen then.
    """

    name: str
    summary: str
    device: str
    options: tuple[str, ...]
    clock_mhz: float
    top: Callable[[], Component]
    constraints: Callable[[], str]
    guide: str


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="ulx3s",
            summary="Attention that checks itself, bit by bit, on a ULX3S board",
            device="LFE5U-85F-6BG381C",
            options=("--85k", "--package", "CABGA381", "--speed", "6"),
            clock_mhz=CLOCK_HZ / 1e6,
            top=Ulx3sSelfTest,
            constraints=constraints,
            guide="""\
Load it with openFPGALoader or fujprog:

    openFPGALoader -b ulx3s ulx3s.bit

| LED | |
|---|---|
| D0 | running: goes out when something failed |
| D1 | passed: the attention call was computed at least once, right in all bits |
| D2 | failed: an output differed, or none came; it stays until a restart |
| D3 to D7 | calls computed, in units of 65,536 |

Button FIRE 1 restarts the test. Button FIRE 2 makes it expect something wrong, so that D2 comes on.
""",
        ),
    )
}
