"""An emitted design: what every simulation engine, report and package is handed."""

from dataclasses import dataclass

from ..rtl.component import Component

__all__ = ["Design", "Port"]


@dataclass(frozen=True)
class Port:
    """One port of the top module; ``clk`` and ``rst`` of the clock domains are not listed.

    Members
    -------
    name : str
        Name in RTLIL and Verilog: the path in the signature joined by ``__``, as in ``i__payload``.
    width : int
        Bits.
    is_input : bool
        Whether the surroundings drive it.
    is_signed : bool
        Whether the bits are two's complement.
    """

    name: str
    width: int
    is_input: bool
    is_signed: bool


@dataclass(frozen=True)
class Design:
    """A component together with everything that emission made of it.

    Members
    -------
    name : str
        Top module.
    component : Component
        The same hardware, to be elaborated in place by the Amaranth simulator.
    rtlil : str
        Every module of the design, shared modules once.
    verilog : str or None
        The same as Verilog; ``None`` unless asked for.
    ports : tuple of Port
        The flattened signature of the top component, in declaration order, without ports that have
        no bits and without the constant side of an always ready or always valid stream.
    boundaries : tuple of str
        Modules that compiled simulators keep as units (``Component.keep_boundary``).
    digest : str
        SHA-256 of ``rtlil``, in hexadecimal.
    primitives : str
        Verilog models of the target's primitives in it, if it has any: for simulation.
    """

    name: str
    component: Component
    rtlil: str
    verilog: str | None
    ports: tuple[Port, ...]
    boundaries: tuple[str, ...]
    digest: str
    primitives: str = ""
