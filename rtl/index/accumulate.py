"""Sums that are wider than a carry should run."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value

__all__ = ["accumulate"]

_LOWER = 20


def accumulate(
    m: Module, value: Value, width: int, *, valid: Value, begins: Value, name: str
) -> Value:
    """Return the sum, modulo ``2**width``, of unsigned values, two cycles after the last of them.

    The upper half follows a cycle later, with the carry.

    Parameters
    ----------
    m : Module
        Gets the registers.
    value : Value
        What is added when ``valid``.
    width : int
        Bits of the sum.
    begins : Value
        The sum begins with this value.
    name : str
        Prefix of the registers.
    """
    if width <= _LOWER:
        lower = Signal(width, name=f"{name}_early", reset_less=True)
        total = Signal(width, name=name, reset_less=True)
        with m.If(valid):
            m.d.sync += lower.eq((Mux(begins, 0, lower) + value)[:width])
        m.d.sync += total.eq(lower)
        return total
    early = Signal(_LOWER + 1, name=f"{name}_early", reset_less=True)  # the carry on top
    above = Signal(max(len(value) - _LOWER, 1), name=f"{name}_above", reset_less=True)
    begun = Signal(name=f"{name}_begun", reset_less=True)
    was_valid = Signal(name=f"{name}_was_valid")
    lower = Signal(_LOWER, name=f"{name}_lower", reset_less=True)
    upper = Signal(width - _LOWER, name=f"{name}_upper", reset_less=True)
    m.d.sync += was_valid.eq(valid)
    with m.If(valid):
        m.d.sync += [
            early.eq(Mux(begins, 0, early[:_LOWER]) + value[:_LOWER]),
            above.eq(value[_LOWER:]),
            begun.eq(begins),
        ]
    with m.If(was_valid):
        m.d.sync += [
            lower.eq(early),
            upper.eq((Mux(begun, 0, upper) + above + early[_LOWER])[: len(upper)]),
        ]
    return Cat(lower, upper)
