"""Delays, shifts and trees of a pipeline: a register behind every level."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike

from ..choice import Choice
from ..delay import Delay
from ..formats import Integer, ceil_log2, wrap

__all__ = ["chosen", "delayed", "shift_right", "shift_stages", "tree", "tree_stages"]


def delayed(m: Module, value: ValueLike, cycles: int, *, name: str) -> Value:
    """Return the bits of ``value`` some cycles later, through a delay line, ``<name>_delay``."""
    value = Value.cast(value)
    if not cycles or not len(value):
        return value
    m.submodules[f"{name}_delay"] = line = Delay(width=len(value), cycles=cycles)
    m.d.comb += line.i.eq(value)
    return line.o


def chosen(m: Module, values: Sequence[Value], select: Value, *, name: str) -> Value:
    """Return one of ``values``, of the shape of the first, through a choice, ``<name>_choice``."""
    shape = values[0].shape()
    m.submodules[f"{name}_choice"] = choice = Choice(width=shape.width, n=len(values))
    # The words of a choice are bits: each is extended to the common shape first.
    for number, value in enumerate(values):
        m.d.comb += choice.i.word_select(number, shape.width).eq(value)
    m.d.comb += choice.select.eq(select)
    return choice.o.as_signed() if shape.signed else choice.o


def shift_stages(amount_width: int) -> int:
    """Return the latency of :func:`shift_right`: two bits of the amount per cycle."""
    return (amount_width + 1) // 2


def shift_right(
    m: Module, values: Sequence[Value], amount: Value, *, name: str, keep: int | None = None
) -> list[Value]:
    """Shift all ``values`` right by one ``amount``, two of its bits per cycle, coarse ones first.

    Parameters
    ----------
    m : Module
        Gets the registers.
    values : sequence of Value
        Signed ones shift arithmetically.
    amount : Value
        Unsigned, arrives with the values.
    name : str
        Prefix of the registers.
    keep : int, optional
        Bits of a result, which saturates. Each stage keeps only those that later ones can need, and
        notes whether the number was beyond them: a choice behind the last register.

    Returns
    -------
    list of Value
        The results, ``shift_stages(len(amount))`` cycles later.
    """
    low = len(amount)
    beyond: dict[int, Value] = {}
    negative: dict[int, Value] = {}
    dropped: dict[int, Value] = {}  # bits of the stage before that were not kept
    while low:
        high, low = low, (low - 1) // 2 * 2
        by = Cat(Const(0, low), amount[low:high])
        shifted: list[Value] = []
        for i, value in enumerate(values):
            needed = len(value) if keep is None else min(len(value), keep + (1 << low) - 1)
            is_signed = value.shape().signed
            register = Signal(Shape(needed, is_signed), name=f"{name}_{low}_{i}", reset_less=True)
            result = Signal(Shape(len(value), is_signed), name=f"{name}_full_{low}_{i}")
            kept = Integer(needed, is_signed=is_signed)
            m.d.comb += result.eq(value >> by)
            m.d.sync += register.eq(wrap(result, kept))
            if needed < len(value):  # and so in all later stages
                is_beyond = Signal(name=f"{name}_is_beyond_{low}_{i}", reset_less=True)
                is_negative = Signal(name=f"{name}_is_negative_{low}_{i}", reset_less=True)
                sign = negative.get(i, result[-1] & is_signed)
                above = result[needed - is_signed :]
                if low:  # many bits, found out about a stage later
                    late = Signal.like(above, name=f"{name}_above_{low}_{i}", reset_less=True)
                    m.d.sync += late.eq(above)
                    above = Const(0, 0)
                else:
                    late = Const(0, 0)
                all_above = Cat(above, dropped.get(i, Const(0, 0)))
                m.d.sync += [
                    is_beyond.eq(
                        beyond.get(i, 0) | (all_above ^ sign.replicate(len(all_above))).any()
                    ),
                    is_negative.eq(sign),
                ]
                beyond[i], negative[i], dropped[i] = is_beyond, is_negative, late
            shifted.append(register)
        if low:
            rest = Signal(low, name=f"{name}_amount_{low}", reset_less=True)
            m.d.sync += rest.eq(amount[:low])
            amount = rest
        values = shifted
    results = list(values)
    for i, is_beyond in beyond.items():
        kept = Integer(len(results[i]), is_signed=results[i].shape().signed)
        saturated = Signal(kept, name=f"{name}_{i}")
        end = Mux(negative[i], kept.min_raw, kept.max_raw)
        m.d.comb += saturated.eq(Mux(is_beyond, end, results[i]))
        results[i] = saturated
    return results


def tree_stages(n: int) -> int:
    """Return the latency of :func:`tree` over ``n`` values."""
    return ceil_log2(n)


def tree(
    m: Module, values: Sequence[Value], combine: Callable[[Value, Value], Value], *, name: str
) -> Value:
    """Combine ``values`` pairwise, one level per cycle.

    The result comes ``tree_stages(len(values))`` cycles later. ``combine`` may use its operands
    several times if ``values`` are signals.
    """
    level = 0
    while len(values) > 1:
        combined: list[Value] = []
        for i in range(0, len(values), 2):
            pair = values[i : i + 2]
            result = pair[0] if len(pair) == 1 else combine(*pair)
            register = Signal(result.shape(), name=f"{name}_{level}_{i // 2}", reset_less=True)
            m.d.sync += register.eq(result)
            combined.append(register)
        values, level = combined, level + 1
    return values[0]
