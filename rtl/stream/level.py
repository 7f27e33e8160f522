"""How many are inside: a counter, and what is asked of it ready in registers."""

from typing import NamedTuple

from amaranth.hdl import Module, Signal, ValueLike

__all__ = ["Level", "count_level"]


class Level(NamedTuple):
    """A number of things, from 0 to a most.

    Members
    -------
    n : Signal
        How many there are.
    has_some : Signal
        There is one at least; a register.
    has_room : Signal
        There is room for one at least; a register.
    """

    n: Signal
    has_some: Signal
    has_room: Signal


def count_level(
    m: Module, n: Signal, *, most: int, comes: ValueLike, goes: ValueLike, name: str = ""
) -> Level:
    """Count in ``n``, which begins at its reset value, what comes and what goes.

    Both are bits. Nothing may come without room, nor go without being there, but for one that comes
    and goes in the same cycle. A comparison of the counter would stand in the way of every stream
    that asks; so its two answers are registers beside it.
    """
    has_some = Signal(name=f"{name}has_some", init=n.init > 0)
    has_room = Signal(name=f"{name}has_room", init=n.init < most)
    comes_only = Signal(name=f"{name}comes_only")
    goes_only = Signal(name=f"{name}goes_only")
    m.d.comb += [comes_only.eq(comes & ~goes), goes_only.eq(goes & ~comes)]
    with m.If(comes_only):
        m.d.sync += [n.eq(n + 1), has_some.eq(1), has_room.eq(n != most - 1)]
    with m.If(goes_only):
        m.d.sync += [n.eq(n - 1), has_room.eq(1), has_some.eq(n != 1)]
    return Level(n, has_some, has_room)
