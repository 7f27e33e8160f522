"""Memory banks that two readers share without ever meeting in one bank."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["Banks", "read_port", "write_port"]


def read_port(*, banks: int, depth: int, shape: object) -> wiring.Signature:
    """Return the signature of a read port, seen from the memory's user.

    ``data`` belongs to the ``bank`` and ``address`` of the cycle before, in which ``en`` was 1.
    """
    return wiring.Signature(
        {
            "en": Out(1),
            "bank": Out(range(max(banks, 2))),
            "address": Out(range(max(depth, 2))),
            "data": In(shape),
        }
    )


def write_port(*, banks: int, depth: int, shape: object) -> wiring.Signature:
    """Return the signature of a write port, seen from the memory's user."""
    return wiring.Signature(
        {
            "en": Out(1),
            "bank": Out(range(max(banks, 2))),
            "address": Out(range(max(depth, 2))),
            "data": Out(shape),
        }
    )


class Banks(Component):
    """Several memories of one write and one read port each, behind one writer and two readers.

    An accumulator updates one bank while another unit drains the bank before it. The users promise
    never to read one bank through both ports in one cycle; so one read port per memory is enough,
    which is what block RAM has.

    Parameters
    ----------
    shape : shape
        What one address holds.
    depth : int
        Addresses per bank.
    banks : int
        Number of memories.

    Members
    -------
    w : In(write_port)
        Written at the end of the cycle; the next cycle's read sees it.
    r_update, r_drain : In(read_port)
        Latency 1, one read per cycle each.

    Raises
    ------
    TypeError, ValueError
        When a count is not a positive integer.
    """

    def __init__(self, *, shape: object, depth: int, banks: int) -> None:
        check_count("Depth", depth)
        check_count("Number of banks", banks)
        self._shape, self._depth, self._banks = shape, depth, banks
        super().__init__(
            {
                "w": In(write_port(banks=banks, depth=depth, shape=shape)),
                "r_update": In(read_port(banks=banks, depth=depth, shape=shape)),
                "r_drain": In(read_port(banks=banks, depth=depth, shape=shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the memories and the selection of what was read."""
        m = Module()
        update_bank = Signal.like(self.r_update.bank)
        drain_bank = Signal.like(self.r_drain.bank)
        m.d.sync += [update_bank.eq(self.r_update.bank), drain_bank.eq(self.r_drain.bank)]
        for bank in range(self._banks):
            memory = Memory(shape=self._shape, depth=self._depth, init=[])
            m.submodules[f"bank_{bank}"] = memory
            w, r = memory.write_port(), memory.read_port()
            updates = Signal(name=f"updates_{bank}")
            drains = Signal(name=f"drains_{bank}")
            m.d.comb += [
                w.en.eq(self.w.en & (self.w.bank == bank)),
                w.addr.eq(self.w.address),
                w.data.eq(self.w.data),
                updates.eq(self.r_update.en & (self.r_update.bank == bank)),
                drains.eq(self.r_drain.en & (self.r_drain.bank == bank)),
                r.en.eq(updates | drains),
                r.addr.eq(self.r_drain.address),
            ]
            with m.If(updates):
                m.d.comb += r.addr.eq(self.r_update.address)
            with m.If(update_bank == bank):
                m.d.comb += self.r_update.data.eq(r.data)
            with m.If(drain_bank == bank):
                m.d.comb += self.r_drain.data.eq(r.data)
        return m
