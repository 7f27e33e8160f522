"""How far attention is from what averages foretell: the Jensen-Shannon divergence of a head."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..formats import Integer, ceil_log2
from ..lane.job import index
from ..lane.numerics import Numerics
from ..lane.pipeline import delayed, shift_right, shift_stages
from ..lane.reciprocal import Reciprocal
from ..lane.scale import Scale
from ..product import Product
from .accumulate import accumulate
from .exp2 import Exp2Table
from .log2 import Log2
from .numerics import IndexNumerics

__all__ = ["Divergence"]

_RECIPROCAL = 17
_AMOUNT = 6


class Divergence(Component):
    r"""Compare the attention that blocks have with the softmax of their mean scores.

    ::

        i --> mean * factor --> x --> memory --> 2**(x - highest) --> memory --+--> shares p, v
         \--> vertical -----------> memory ------------------------------------+        |
                      o <-- sum <-- p * (log p - log s) + v * (log v - log s) + s <------+

    With shares ``p`` foretold, ``v`` measured and ``s = p + v``, the sum in binary logarithms is
    ``2 D**2 / ln 2``, where ``D`` is the square root of the divergence that FlexPrefill compares
    with ``tau``; comparing squares needs no root. What has no share adds nothing: 0 log 0 is 0.
    Against real numbers, ``D`` is wrong by less than 2e-4 where it is above 0.02, and else by less
    than 4e-3.

    Three times over the blocks, one a cycle: ``3 n`` cycles and about 90.

    Parameters
    ----------
    blocks : int
        Most blocks of a head.
    mass_width, mean_width : int
        Bits of a block's attention, and of its mean score (signed, up to 27).
    mean_fraction : int
        Bits of a mean score below a score's last place.
    fraction : int
        Fraction bits of a base-2 score.

    Members
    -------
    i : In(stream)
        Of each block, ``vertical`` attention and ``mean`` score; ``last`` of a head; ``mantissa``
        and ``shift``, the head's score factor.
    o : Out(stream)
        The sum, in units of ``2**-divergence_fraction``.

    Raises
    ------
    TypeError, ValueError
        When a parameter is no positive integer, or too large.
    """

    def __init__(
        self,
        *,
        blocks: int,
        mass_width: int,
        mean_width: int,
        mean_fraction: int,
        fraction: int,
    ) -> None:
        for name, value, most in (
            ("Blocks", blocks, 1 << 16),
            ("Mass width", mass_width, 32),
            ("Mean width", mean_width, 27),
            ("Mean fraction", mean_fraction, 63),
            ("Fraction", fraction, 12),
        ):
            check_count(name, value, most=most)
        self._blocks, self._mass_width, self._mean_width = blocks, mass_width, mean_width
        self._mean_fraction, self._fraction = mean_fraction, fraction
        block = data.StructLayout(
            {
                "vertical": mass_width,
                "mean": signed(mean_width),
                "last": 1,
                "mantissa": Numerics.mantissa_width,
                "shift": Numerics.shift_width,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(block)),
                "o": Out(stream.Signature(IndexNumerics.divergence_fraction + 2)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Walk over the blocks three times."""
        m = Module()
        block = self.i.payload
        x_width = Numerics.max_width + self._fraction
        power_width = IndexNumerics.exp_fraction + 1
        address = index(self._blocks)
        m.submodules.masses = masses = Memory(
            shape=self._mass_width, depth=max(self._blocks, 2), init=[]
        )
        m.submodules.powers = powers = Memory(
            shape=max(power_width, x_width), depth=max(self._blocks, 2), init=[]
        )
        mass_w, mass_r = masses.write_port(), masses.read_port()
        power_w, power_r = powers.write_port(), powers.read_port()
        m.submodules.scale = scale = Scale(
            row_width=1, score_width=self._mean_width, fraction=self._fraction
        )
        m.submodules.exp2 = exp2 = Exp2Table(
            fraction=self._fraction, exp_fraction=IndexNumerics.exp_fraction
        )

        # Where it is: filling, then walks, each with a time behind for what is on the way.
        fills, looks, compares = Signal(init=1), Signal(), Signal()
        number = Signal(address)  # of the block
        last = Signal(address, reset_less=True)
        wait = Signal(range(64))
        left = Signal(address, reset_less=True)  # behind this one
        at_last = Signal(reset_less=True)
        moves = Signal()
        m.d.comb += moves.eq((fills & self.i.valid) | looks | compares)
        ends = Signal()
        m.d.comb += [
            ends.eq(Mux(fills, block.last, at_last)),
            self.i.ready.eq(fills),
        ]
        with m.If(moves):
            m.d.sync += [
                number.eq(Mux(ends, 0, number + 1)),
                left.eq(left - 1),
                at_last.eq(left == 1),
            ]
        with m.Else():
            m.d.sync += [left.eq(last), at_last.eq(last == 0)]
        begins = Signal()
        m.d.comb += begins.eq(number == 0)

        # First walk: masses as they are, mean scores as base-2 scores; the highest of them.
        at_x = scale.latency
        mean_shift = Signal(Numerics.shift_width)
        wide_shift = Signal(Numerics.shift_width + 1)
        m.d.comb += [
            wide_shift.eq(block["shift"] + self._mean_fraction),
            mean_shift.eq(Mux(wide_shift[-1], -1, wide_shift)),
            scale.i.scores[0].eq(block.mean),
            scale.i.mantissa.eq(block.mantissa),
            scale.i["shift"].eq(mean_shift),
            mass_w.en.eq(fills & self.i.valid),
            mass_w.addr.eq(number),
            mass_w.data.eq(block.vertical),
        ]
        arrived = _late(m, fills & self.i.valid, at_x, name="arrived")
        arrived_begins = delayed(m, begins, at_x, name="arrived_begins")
        arrived_at = delayed(m, number, at_x, name="arrived_at")
        highest = Signal(signed(x_width), reset_less=True)
        x = scale.o[0]
        with m.If(arrived & (arrived_begins | (x > highest))):
            m.d.sync += highest.eq(x)
        in_masses = accumulate(
            m,
            block.vertical,
            self._mass_width + 1,
            valid=fills & self.i.valid,
            begins=begins,
            name="of_masses",
        )

        # Second walk: powers of the distances to it.
        at_y = 2
        y = Signal(Numerics.max_width + 1 + self._fraction, reset_less=True)
        looked = power_r.data[:x_width].as_signed()
        m.d.sync += y.eq(highest - looked)
        m.d.comb += exp2.i.eq(y)
        at_power = at_y + exp2.latency
        is_power = _late(m, looks, at_power, name="is_power")
        power_begins = delayed(m, begins, at_power, name="power_begins")
        power_at = delayed(m, number, at_power, name="power_at")
        in_powers = accumulate(
            m,
            exp2.o,
            power_width + ceil_log2(self._blocks) + 1,
            valid=is_power,
            begins=power_begins,
            name="of_powers",
        )
        m.d.comb += [
            power_w.en.eq(arrived | is_power),
            power_w.addr.eq(Mux(is_power, power_at, arrived_at)),
            power_w.data.eq(Mux(is_power, exp2.o, x)),
            mass_r.addr.eq(number),
            power_r.addr.eq(number),
        ]

        # Then reciprocals of both sums.
        totals = [in_masses, in_powers]
        m.submodules.reciprocal = reciprocal = Reciprocal(
            sum_width=max(len(total) for total in totals), tag=1
        )
        asks, asks_powers = Signal(), Signal()
        m.d.comb += [
            reciprocal.i.valid.eq(asks | asks_powers),
            reciprocal.i.payload.l.eq(Mux(asks_powers, in_powers, in_masses)),
            reciprocal.i.payload.tag.eq(asks_powers),
        ]
        factors = data.StructLayout({"r": _RECIPROCAL, "amount": _AMOUNT})
        of_masses = Signal(factors, reset_less=True)
        of_powers = Signal(factors, reset_less=True)
        found = reciprocal.o.payload
        drops = [
            max(width - IndexNumerics.product_width, 0) for width in (self._mass_width, power_width)
        ]
        for factor, tag, drop in ((of_masses, 0, drops[0]), (of_powers, 1, drops[1])):
            with m.If(reciprocal.o.valid & (found.tag == tag)):
                m.d.sync += [
                    factor.r.eq(found.r),
                    factor.amount.eq(found.e + (_RECIPROCAL - IndexNumerics.share_fraction - drop)),
                ]

        # Third walk: shares, their logarithms, and the sum.
        shares = [
            self._share(m, port.data, drop, factor, name=name)
            for port, drop, factor, name in (
                (power_r, drops[1], of_powers, "p"),
                (mass_r, drops[0], of_masses, "v"),
            )
        ]
        at_share = 1 + Product.latency + shift_stages(_AMOUNT)
        terms, at_terms = self._terms(m, shares)
        at_sum = at_share + at_terms
        is_term = _late(m, compares, at_sum, name="is_term")
        term_begins = delayed(m, begins, at_sum, name="term_begins")
        total = Signal(signed(IndexNumerics.divergence_fraction + 3), reset_less=True)
        with m.If(is_term):
            m.d.sync += total.eq((Mux(term_begins, 0, total) + terms)[: len(total)].as_signed())
        m.d.comb += self.o.payload.eq(Mux(total < 0, 0, total))

        with m.FSM():
            with m.State("fill"), m.If(self.i.valid & block.last):
                m.d.sync += [last.eq(number), fills.eq(0), wait.eq(at_x + 2)]
                m.next = "scaled"
            with m.State("scaled"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += looks.eq(1)
                    m.next = "look"
            with m.State("look"), m.If(at_last):
                m.d.sync += [looks.eq(0), wait.eq(at_power + 3)]
                m.next = "powered"
            with m.State("powered"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += [asks.eq(1), wait.eq(reciprocal.latency + 2)]
                    m.next = "masses"
            with m.State("masses"):
                m.d.sync += [asks.eq(0), asks_powers.eq(1)]
                m.next = "divide"
            with m.State("divide"):
                m.d.sync += [asks_powers.eq(0), wait.eq(wait - 1)]
                with m.If(wait == 0):
                    m.d.sync += compares.eq(1)
                    m.next = "compare"
            with m.State("compare"), m.If(at_last):
                m.d.sync += [compares.eq(0), wait.eq(at_sum + 1)]
                m.next = "summed"
            with m.State("summed"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "tell"
            with m.State("tell"), m.If(self.o.ready):
                m.d.sync += [self.o.valid.eq(0), fills.eq(1)]
                m.next = "fill"
        return m

    def _share(self, m: Module, number: Value, drop: int, factor: data.View, *, name: str) -> Value:
        """Return a number's share of all, so many cycles after its address."""
        width = IndexNumerics.product_width
        m.submodules[f"share_{name}"] = product = Product(
            a=Integer(width, is_signed=False), b=Integer(_RECIPROCAL, is_signed=False)
        )
        m.d.comb += [product.i_a.eq(number[drop : drop + width]), product.i_b.eq(factor.r)]
        (share,) = shift_right(
            m, [product.o[: width + _RECIPROCAL]], factor.amount, name=f"{name}_share"
        )
        return share[: IndexNumerics.share_fraction + 1]

    def _terms(self, m: Module, shares: list[Value]) -> tuple[Value, int]:
        """Return what a block adds to the sum, and the cycles from its shares to that."""
        width, split = IndexNumerics.share_fraction + 1, IndexNumerics.log_split
        both = Signal(width + 1, name="s", reset_less=True)
        m.d.sync += both.eq(shares[0] + shares[1])
        logs = []
        for name, value in (("s", both), ("p", shares[0]), ("v", shares[1])):
            m.submodules[f"log_{name}"] = log = Log2(width=width + 1)
            late = value if name == "s" else delayed(m, value, 1, name=f"{name}_for_log")
            m.d.comb += log.i.eq(late)
            logs.append(log)
        latency = logs[0].latency
        log_s = logs[0].o
        high_parts: list[Value] = []
        low_parts: list[Value] = []
        for name, value, log in (("p", shares[0], logs[1]), ("v", shares[1], logs[2])):
            distance = Signal(signed(len(log_s) + 2), name=f"{name}_distance", reset_less=True)
            m.d.sync += distance.eq(log.o - log_s + (1 << IndexNumerics.log_fraction))
            late = delayed(m, value, latency + 2, name=f"{name}_for_product")
            for part, bits, parts in (
                ("high", distance[split:].as_signed(), high_parts),
                ("low", distance[:split], low_parts),
            ):
                m.submodules[f"{name}_{part}"] = product = Product(
                    a=Integer(width, is_signed=False),
                    b=Integer(len(bits), is_signed=part == "high"),
                )
                m.d.comb += [product.i_a.eq(late), product.i_b.eq(bits)]
                parts.append(product.o)
        # The sum of all blocks is small: what does not fit its width cancels.
        total = signed(IndexNumerics.divergence_fraction + 3)
        high = Signal(total, reset_less=True)
        low = Signal(total, reset_less=True)
        terms = Signal(total, reset_less=True)
        m.d.sync += [
            high.eq(high_parts[0] + high_parts[1]),
            low.eq((low_parts[0] >> split) + (low_parts[1] >> split)),
            terms.eq(high + low),
        ]
        return terms, 1 + latency + 1 + Product.latency + 2


def _late(m: Module, valid: Value, cycles: int, *, name: str) -> Signal:
    """Return a strobe some cycles later; it is 0 after a reset."""
    line = Signal(cycles, name=name)
    m.d.sync += line.eq(Cat(valid, line))
    return line[-1]
