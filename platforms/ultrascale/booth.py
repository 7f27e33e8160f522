"""Booth products and running sums from LUT6_2 and CARRY8 (UG574, chapter 2).

A row of adders has one LUT per bit: from a bit of the sum so far, two bits of the operand and three
of the recoded one it makes what the carry chain propagates. The chain's DI is the bit of the sum.

A chain's carry in and the DI of its lowest bit share a pin of the slice. So that bit has its DI
from its LUT's second output; it can, because it needs one input less than the others.
"""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value

from ...rtl.formats import NumberFormat
from ...rtl.matrix.booth import Accumulator, BoothProduct
from .carry import add_lut, carry_chain

__all__ = ["build_accumulator", "build_booth_product"]


def build_booth_product(block: BoothProduct) -> Module:
    """Build the lowest digit's multiple of the operand, and a row of adders for each other digit.

    The lowest digit depends on so few bits that one LUT makes two bits of its multiple. When it has
    one bit only, it is 0 or -1, and the first row's LUTs also make by themselves what they add of
    it, so that it delays the carry chain's DI only. Either way a path has at most four LUTs.
    """
    m = Module()
    pair = [_with_sign(getattr(block, f"i_{x}"), block.parameters[x]) for x in "ab"]
    operand, recoded = pair if block.recodes_b else reversed(pair)
    n, width = len(operand), len(block.o)
    n_lowest = 2 - len(recoded) % 2  # bits of the lowest digit
    is_first = n_lowest == 1

    def bit(k: int) -> Value:
        """Return a bit of the operand: upwards it goes on with its sign, below it is 0."""
        return operand[min(k, n - 1)] if k >= 0 else Const(0, 1)

    bits = _lowest_multiple(m, bit, recoded[:n_lowest], n + n_lowest - 1)
    done, rest = bits[:n_lowest], bits[n_lowest:]
    for start in range(n_lowest, len(recoded), 2):
        digit = list(recoded[start - 1 : start + 2])
        s: list[Value] = []
        di: list[Value] = []
        for k in range(min(n + 2, width - start)):
            place = min(k, len(rest) - 1)
            name = f"bit_{start}_{k}"
            so_far = bit(place + 1) if is_first else rest[place]
            total, kept = (_sum_with_minus, _minus) if is_first else (_sum, _keep)
            if k == 0:
                o6, rest[0] = add_lut(m, name, [*digit, bit(0), so_far], _at_zero(total), kept)
            else:
                o6 = _add_lut6(m, name, [*digit, bit(k), so_far, bit(k - 1)], total)
            s.append(o6)
            di.append(rest[place])
        m.submodules[f"chain_{start}"] = chain = Module()
        sums = Signal(len(s), name=f"row_{start}")
        chain.d.comb += sums.eq(carry_chain(chain, s, di, digit[2]))
        done = [*done, *sums[:2]]
        rest = [*sums[2:]]
        is_first = False
    bits = [*done, *rest]
    bits += bits[-1:] * (width - len(bits))
    product = Signal(width, reset_less=True)
    carry = Signal(reset_less=True)
    m.d.sync += [product.eq(Cat(*bits[:width])), carry.eq(recoded[n_lowest - 1])]
    m.d.comb += [block.o.eq(product), block.o_carry.eq(carry)]
    return m


def build_accumulator(block: Accumulator) -> Module:
    """Build one LUT per bit: the sum so far, or 0, and the number."""
    m = Module()
    total = Signal(len(block.o), reset_less=True)
    s: list[Value] = []
    di: list[Value] = []
    for k in range(len(total)):
        number = block.i[min(k, len(block.i) - 1)]
        o6, o5 = add_lut(
            m,
            f"bit_{k}",
            [total[k], number, block.i_first],
            lambda total, number, is_first: (total & ~is_first) ^ number,
            lambda total, number, is_first: number,
        )
        s.append(o6)
        di.append(o5)
    sums = carry_chain(m, s, di, block.i_carry)
    with m.If(block.i_valid):
        m.d.sync += total.eq(sums)
    m.d.comb += block.o.eq(total)
    return m


def _with_sign(port: Value, number: NumberFormat) -> Sequence[Value]:
    """Return the bits of a number, the sign last."""
    return [*port, *([] if number.is_signed else [Const(0, 1)])]


def _lowest_multiple(
    m: Module, bit: Callable[[int], Value], digit: Sequence[Value], n: int
) -> list[Value]:
    """Return the lowest digit's multiple of the operand: ``n`` bits, two of a LUT."""
    bits: list[Value] = []
    for k in range(0, n, 2):
        name = f"bit_0_{k}"
        if len(digit) == 1:
            o6, o5 = add_lut(
                m,
                name,
                [digit[0], bit(k), bit(k + 1)],
                lambda b, _, high: b & ~high,
                lambda b, low, _: b & ~low,
            )
        else:
            o6, o5 = add_lut(
                m,
                name,
                [*digit, bit(k - 1), bit(k), bit(k + 1)],
                lambda b0, b1, _, low, high: _multiple(0, b0, b1, high, low),
                lambda b0, b1, below, low, _: _multiple(0, b0, b1, low, below),
            )
        bits += [o5, o6]
    return bits[:n]


def _multiple(b0: int, b1: int, b2: int, same: int, below: int) -> int:
    """Return a bit of a digit's multiple: of the operand's same bit or the one below."""
    digit = b0 + b1 - 2 * b2
    return (0, same, below)[abs(digit)] ^ b2


def _sum(b0: int, b1: int, b2: int, same: int, so_far: int, below: int) -> int:
    return so_far ^ _multiple(b0, b1, b2, same, below)


def _keep(b0: int, b1: int, b2: int, same: int, so_far: int) -> int:
    return so_far


def _sum_with_minus(b0: int, b1: int, b2: int, same: int, above: int, below: int) -> int:
    return _sum(b0, b1, b2, same, b0 & ~above, below)


def _minus(b0: int, b1: int, b2: int, same: int, above: int) -> int:
    return b0 & ~above


def _at_zero(function: Callable[..., int]) -> Callable[..., int]:
    """Return a function of the lowest bit's inputs: the operand has no bit below."""
    return lambda *inputs: function(*inputs, 0)


def _add_lut6(
    m: Module, name: str, inputs: Sequence[Value], function: Callable[..., int]
) -> Signal:
    """Add a LUT with six inputs, and so one output."""
    init = sum(function(*(row >> k & 1 for k in range(6))) << row for row in range(64))
    o = Signal(name=name)
    unused = Signal(name=f"{name}_unused")
    m.submodules[name] = Instance(
        "LUT6_2",
        p_INIT=Const(init, 64),
        **{f"i_I{k}": pin for k, pin in enumerate(inputs)},
        o_O6=o,
        o_O5=unused,
    )
    return o
