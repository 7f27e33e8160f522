"""Counting rows and tiles, with the answer to "is it the last?" at hand."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value, ValueLike

__all__ = ["Count", "count_to"]


class Count(NamedTuple):
    """Where a count is.

    Members
    -------
    index : Signal
        From 0 to one less than there are.
    is_last : Signal
        It is the last one; two LUTs behind registers.
    """

    index: Signal
    is_last: Signal


def count_to(m: Module, n: Value, *, moves: ValueLike, name: str) -> Count:
    """Count from 0 to ``n - 1`` and begin anew, a step with each ``moves``.

    ``n`` is 1 or more, and stays the same from the first to the last. Whether the next one will be
    the last is found out a step ahead: a comparison of counts would be in the way of all that
    waits for the end.
    """
    index = Signal(len(n), name=name)
    is_first = Signal(name=f"{name}_is_first", init=1)
    ahead = Signal(max(len(n), 2), name=f"{name}_ahead", init=2)  # of the next one, from 1 on
    next_is_last = Signal(name=f"next_{name}_is_last", reset_less=True)
    is_last = Signal(name=f"{name}_is_last")
    m.d.comb += is_last.eq(Mux(is_first, n == 1, next_is_last))
    with m.If(moves):
        m.d.sync += [
            index.eq(Mux(is_last, 0, index + 1)),
            is_first.eq(is_last),
            ahead.eq(Mux(is_last, 2, ahead + 1)),
            next_is_last.eq(ahead == n),
        ]
    return Count(index, is_last)
