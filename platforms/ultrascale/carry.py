"""Adders from LUT6_2 and CARRY8 (UG574, chapter 2).

A LUT6_2 has two functions of I0 to I4 when I5 is 1: O5 is the table's lower half, O6 its upper one.
A CARRY8 takes per bit a propagate S and an alternative DI: carry out = S ? carry in : DI, and
O = S ^ carry in.
"""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value

from ...rtl.adder import TernaryAdder

__all__ = ["add_lut", "build_ternary_adder", "carry_chain"]


def add_lut(
    m: Module,
    name: str,
    inputs: Sequence[Value],
    o6: Callable[..., int],
    o5: Callable[..., int],
) -> tuple[Signal, Signal]:
    """Add a LUT6_2 with two functions of the same at most five inputs; return O6 and O5."""
    if len(inputs) > 5:
        raise ValueError(f"A LUT6_2 with two functions has 5 inputs, not {len(inputs)}")
    init = 0
    for row in range(32):
        bits = [row >> k & 1 for k in range(len(inputs))]
        init |= o5(*bits) << row | o6(*bits) << 32 + row
    pins = [*inputs, *[Const(0, 1)] * (5 - len(inputs)), Const(1, 1)]
    high, low = Signal(name=f"{name}_o6"), Signal(name=f"{name}_o5")
    m.submodules[name] = Instance(
        "LUT6_2",
        p_INIT=Const(init, 64),
        **{f"i_I{k}": pin for k, pin in enumerate(pins)},
        o_O6=high,
        o_O5=low,
    )
    return high, low


def carry_chain(m: Module, s: Sequence[Value], di: Sequence[Value], carry: Value) -> Value:
    """Add CARRY8 along ``s`` and ``di``, lowest bit first; return the sums."""
    sums: list[Value] = []
    for start in range(0, len(s), 8):
        n = min(8, len(s) - start)
        o = Signal(n, name=f"o_{start}")
        co = Signal(name=f"co_{start}")
        unused = Signal(15 - n, name=f"unused_{start}")
        m.submodules[f"carry_{start}"] = Instance(
            "CARRY8",
            p_CARRY_TYPE="SINGLE_CY8",
            i_CI=carry,
            i_CI_TOP=Const(0, 1),
            i_S=Cat(*s[start : start + n], Const(0, 8 - n)),
            i_DI=Cat(*di[start : start + n], Const(0, 8 - n)),
            o_O=Cat(o, unused[7:]),
            o_CO=Cat(unused[:7], co),
        )
        sums.append(o)
        carry = co
    return Cat(*sums)


def build_ternary_adder(adder: TernaryAdder) -> Module:
    """Build one LUT per bit.

    The three bits of a place make a sum bit and a majority. The majority belongs to the place
    above: there it is the carry chain's DI, and one more input of the sum bit. The lowest place has
    that input free, and the chain its carry in: room for two units of a constant.
    """
    m = Module()
    width, n, constant, subtracts = adder.parameters.values()
    zero, one = Const(0, 1), Const(1, 1)
    if n == 3:
        from_below, carry, fixed = (zero, one)[constant > 0], (zero, one)[constant > 1], 0
    else:
        from_below, carry, fixed = zero, zero, constant % (1 << width)
    if subtracts:  # minus a word is its complement, plus 1
        carry = adder.i_subtract
    s, di = [], []
    for bit in range(width):
        inputs = [adder.i[word * width + bit] for word in range(n)]
        if subtracts:
            inputs.append(adder.i_subtract)
        fixed_bit = fixed >> bit & 1

        def place(*bits: int, fixed_bit: int = fixed_bit) -> int:
            ones = list(bits[:n])
            if subtracts:
                ones[-1] ^= bits[n]
            return sum(ones) + fixed_bit

        o6, o5 = add_lut(
            m,
            f"bit_{bit}",
            [*inputs, from_below],
            lambda *bits, place=place: (place(*bits[:-1]) + bits[-1]) & 1,
            lambda *bits, place=place: place(*bits[:-1]) >> 1,
        )
        s.append(o6)
        di.append(from_below)
        from_below = o5
    m.d.comb += adder.o.eq(carry_chain(m, s, di, carry))
    return m
