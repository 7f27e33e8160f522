"""Control: registers of a kernel, and the calls that a host makes through them."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..axi import AXI4Lite
from ..component import Component
from ..stream import connect_stream
from .file import RegisterFile
from .handshake import BLOCK_REGISTERS, FINISHED, Handshake
from .register import Field, Register, check_registers, status_layout, values_layout

__all__ = ["ARGUMENTS_FROM", "Control", "all_registers", "reset_register"]

ARGUMENTS_FROM = 0x10
"""Address of the first argument (UG1393, Control Requirements for XRT-Managed Kernels)."""


def reset_register(arguments: tuple[Register, ...]) -> Register:
    """Return the register of the soft reset: the word behind the arguments.

    XRT writes all words from the first argument to the last one, and so never this one.
    """
    end = max((register.end for register in arguments), default=ARGUMENTS_FROM)
    request = Field("request", 1, "Write 1 to drop all calls; 1 until it is over. Counters stay")
    return Register("reset", end, "act", "Soft reset", fields=(request,))


def all_registers(
    arguments: tuple[Register, ...], status: tuple[Register, ...]
) -> tuple[Register, ...]:
    """Return all registers of a kernel: those of the block protocol, and of the soft reset too."""
    return (*BLOCK_REGISTERS, *arguments, reset_register(arguments), *status)


class Control(Component):
    """What a host controls a kernel by: a register file, and the block protocol in it.

    ::

        bus <--> register file --> handshake --> call
        status -->     |               ^---- finished
                       +--- reset -----+---> interrupt

    The registers are those of :func:`all_registers`. For what a host may do and when, see
    :class:`~qkloom.rtl.control.handshake.Handshake`; for how long it takes,
    :class:`~qkloom.rtl.control.file.RegisterFile`.

    Parameters
    ----------
    arguments : tuple of Register
        What a call is told; access ``rw``, from :data:`ARGUMENTS_FROM` on.
    status : tuple of Register
        What the host can read besides; access ``ro``, behind the word after the arguments.
    calls : int
        Calls that may wait or run.
    address_width : int
        Bits of an address.

    Members
    -------
    bus : In(AXI4Lite)
        The host's, 32 bits.
    status : In(struct)
        The registers of ``status``, constants excepted.
    call, finished, code, interrupt, reset, is_reset
        As of :class:`~qkloom.rtl.control.handshake.Handshake`.
    registers : tuple of Register
        All registers by address.

    Raises
    ------
    TypeError, ValueError
        When registers overlap, or have another access or place.
    """

    def __init__(
        self,
        *,
        arguments: tuple[Register, ...],
        status: tuple[Register, ...],
        calls: int = 4,
        address_width: int = 12,
    ) -> None:
        for register in status:
            if register.access != "ro":
                raise ValueError(
                    f"Status must have access ro, and {register.name} has {register.access}"
                )
        self._arguments, self._calls, self._address_width = arguments, calls, address_width
        everything = all_registers(arguments, status)
        self._registers = check_registers(everything, address_width=address_width)
        super().__init__(
            {
                "bus": In(AXI4Lite(address_width=address_width)),
                "status": In(status_layout(status)),
                "call": Out(stream.Signature(values_layout(arguments))),
                "finished": In(stream.Signature(FINISHED)),
                "code": Out(8),
                "interrupt": Out(1),
                "reset": Out(1),
                "is_reset": In(1),
            }
        )

    @property
    def registers(self) -> tuple[Register, ...]:
        """All registers by address."""
        return self._registers

    def elaborate(self, platform: Any) -> Module:
        """Connect file and handshake."""
        m = Module()
        m.submodules.file = file = RegisterFile(
            registers=self._registers, address_width=self._address_width
        )
        m.submodules.handshake = handshake = Handshake(arguments=self._arguments, calls=self._calls)
        wiring.connect(m, wiring.flipped(self.bus), file.bus)
        connect_stream(m, handshake.call, wiring.flipped(self.call))
        connect_stream(m, wiring.flipped(self.finished), handshake.finished)

        orders, state, values = handshake.orders, handshake.state, file.values
        for register in BLOCK_REGISTERS:
            m.d.comb += orders[register.name].eq(values[register.name])
            if register.access == "act":
                m.d.comb += file.status[register.name].eq(state[register.name])
        for name in handshake.arguments.shape().members:
            m.d.comb += handshake.arguments[name].eq(values[name])
        for name in self.status.shape().members:
            m.d.comb += file.status[name].eq(self.status[name])
        m.d.comb += [
            orders.reads_control.eq(file.reads.control),
            orders.resets.eq(values.reset.request),
            file.status.reset.request.eq(handshake.reset),
            handshake.is_reset.eq(self.is_reset),
            self.reset.eq(handshake.reset),
            self.code.eq(handshake.code),
            self.interrupt.eq(handshake.interrupt),
        ]
        return m
