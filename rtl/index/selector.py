"""Coverage selector: the largest masses until they have a share of all, without sorting."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component
from ..lane.pipeline import delayed
from ..stream.connect import connect_stream
from ..stream.slice import RegisterSlice
from .code import CodeDecoder, code_width, decoder_latency
from .histogram import Histogram
from .share import GAMMA_BITS, Share

__all__ = ["MOST_CANDIDATES", "CoverageSelector"]

MOST_CANDIDATES = 1 << 24
"""Most candidates of a selection: pairs of blocks, more than 1 M tokens have."""


class CoverageSelector(Component):
    """Take candidates, the largest mass first, until they have ``gamma`` of all mass.

    ::

        i --> slice --+--> decoder --> histogram --> threshold, count and mass above it --+
                      |       +-----> total --> target --------------^                    |
                      +--> code above, or equal to, the threshold? --> rule --> slice --> o

    Candidates go by the order (code descending, number ascending), those with ``always`` first. One
    with ``count`` candidates of ``mass`` before it is taken if ``mass < target`` and ``count <
    most``, or if ``count < least``; and if it has ``always``. The target is ``ceil(gamma * total /
    2**16)``; of ``gamma = 2**16`` every mass is below it. Masses are what codes stand for.

    Since that is monotone, one code separates what is taken from what is not, and a histogram of a
    digit of the codes says which digit it has: the last bin, from the top, whose first candidate is
    taken, or would be if it is empty. Then the next digit of those in this bin. At last all
    candidates come once more, and those of that very code are taken as long as the rule says.

    So the source sends the same candidates ``passes`` times, one a cycle. Of ``n`` candidates, from
    the transfer of ``start`` to that of ``result`` it is ``passes * n + digits * 2**digit_bits +
    overhead`` cycles if nobody waits, both included. After a reset no start is taken for
    ``2**digit_bits + 1`` cycles.

    Parameters
    ----------
    candidates : int
        Most candidates of a selection, up to :data:`MOST_CANDIDATES`.
    value_width, fraction : int
        Of codes, see :mod:`~qkloom.rtl.index.code`.
    total_width : int
        All masses of a selection are less than ``2**total_width``; at least ``value_width``.
    digit_bits : int
        Bits of a digit of a code, whose histogram has ``2**digit_bits`` bins.

    Members
    -------
    start : In(stream)
        ``gamma``, in units of ``2**-16``, up to 1; ``least`` and ``most``, any numbers.
    i : In(stream)
        ``code``; ``always``: it is taken, and first; ``last``: the pass ends with it. At least one.
    o : Out(stream)
        ``taken`` of each candidate, in the order of the last pass, and ``last``.
    result : Out(stream)
        ``count`` and ``mass`` of what is taken, ``total`` mass, and whether it is ``flat``: all
        masses, those with ``always`` too, are equal. Offered when all candidates have been
        decided about, the last two of which may still wait at ``o``.

    Raises
    ------
    TypeError, ValueError
        When a parameter is out of range.
    """

    def __init__(
        self,
        *,
        candidates: int,
        value_width: int = 32,
        fraction: int = 11,
        total_width: int = 32,
        digit_bits: int = 8,
    ) -> None:
        check_count("Number of candidates", candidates, most=MOST_CANDIDATES)
        self._code_width = code_width(value_width, fraction)
        check_count("Total width", total_width)
        if total_width < value_width:
            raise ValueError(
                f"Total width must be at least the value width {value_width}, not {total_width}"
            )
        self._value = {"value_width": value_width, "fraction": fraction}
        self._total_width = total_width
        self._digit_bits = check_count("Bits of a digit", digit_bits, most=self._code_width)
        self._sums = data.StructLayout({"count": candidates.bit_length(), "mass": total_width})
        count = candidates.bit_length()
        start = data.StructLayout({"gamma": GAMMA_BITS + 1, "least": count, "most": count})
        item = data.StructLayout({"code": self._code_width, "always": 1, "last": 1})
        result = data.StructLayout(
            {"count": count, "mass": total_width, "total": total_width, "flat": 1}
        )
        super().__init__(
            {
                "start": In(stream.Signature(start)),
                "i": In(stream.Signature(item)),
                "o": Out(stream.Signature(data.StructLayout({"taken": 1, "last": 1}))),
                "result": Out(stream.Signature(result)),
            }
        )

    @property
    def digits(self) -> int:
        """Digits of a code."""
        return -(-self._code_width // self._digit_bits)

    @property
    def passes(self) -> int:
        """How often the candidates of a selection are sent."""
        return self.digits + 1

    @property
    def overhead(self) -> int:
        """Cycles of a selection beside those of candidates and bins."""
        latency = decoder_latency(**self._value)
        return self.digits * (latency + 4) + latency + self._total_width + 6

    def elaborate(self, platform: Any) -> Module:
        """Pass candidates and bins by turns; between them is what both wait for."""
        m = Module()
        m.submodules.front = front = RegisterSlice(shape=self.i.payload.shape())
        m.submodules.decoder = decoder = CodeDecoder(**self._value)
        m.submodules.histogram = histogram = Histogram(
            bin_bits=self._digit_bits,
            count_width=len(self.result.payload.count),
            mass_width=self._total_width,
        )
        m.submodules.share = share = Share(total_width=self._total_width)
        m.submodules.back = back = RegisterSlice(shape=self.o.payload.shape())
        connect_stream(m, wiring.flipped(self.i), front.i)
        connect_stream(m, back.o, wiring.flipped(self.o))
        item, result = front.o.payload, self.result.payload

        asked = Signal(self.start.payload.shape(), reset_less=True)
        threshold = Signal(self._code_width, reset_less=True)
        digit = Signal(range(max(self.digits, 2)), reset_less=True)  # 0: the highest
        is_last_digit = Signal()
        is_first = Signal(reset_less=True)
        # What comes before the candidate or the bin that is looked at; before the threshold's bin.
        ahead = Signal(self._sums, reset_less=True)
        entry = Signal(self._sums, reset_less=True)
        passes, prepares, emits = (Signal(name=n) for n in ("passes", "prepares", "emits"))

        # A candidate, and what becomes of it when its code is decoded.
        comes = Signal()
        marks = data.StructLayout({"counts": 1, "is_forced": 1, "adds": 1, "last": 1})
        here = Signal(marks)
        bin_here = Signal(self._digit_bits)
        m.d.comb += [
            comes.eq(passes & front.o.valid),
            decoder.i.eq(Mux(passes, item.code, threshold)),
            here.counts.eq(comes & ~item.always),
            here.is_forced.eq(comes & item.always & is_first),
            here.adds.eq(comes & is_first),
            here.last.eq((comes & item.last) | prepares),
        ]
        with m.Switch(digit):
            for number, (low, high) in enumerate(self._digits()):
                with m.Case(number):
                    m.d.comb += bin_here.eq(item.code[low:high])
                    with m.If(item.code[high:] != threshold[high:]):
                        m.d.comb += here.counts.eq(0)
        line = Signal(data.ArrayLayout(marks, decoder.latency))
        m.d.sync += line.eq(Cat(here, line))
        there = line[decoder.latency - 1]
        m.d.comb += [
            histogram.i.valid.eq(there.counts),
            histogram.i.payload.bin.eq(delayed(m, bin_here, decoder.latency, name="bin")),
            histogram.i.payload.mass.eq(decoder.o),
        ]
        with m.If(there.adds):
            m.d.sync += result.total.eq(result.total + decoder.o)
        # Is every code that of the one before? It is found out a cycle later.
        code = Signal(self._code_width, reset_less=True)
        has_code = Signal(reset_less=True)
        has_other = Signal(reset_less=True)
        is_equal_code = Signal(reset_less=True)
        with m.If(here.adds):
            m.d.sync += [code.eq(item.code), has_code.eq(1)]
        m.d.sync += [has_other.eq(has_code), is_equal_code.eq(item.code == code)]
        with m.If(line[0].adds & has_other & ~is_equal_code):
            m.d.sync += result.flat.eq(0)

        # A step: one that has `always`, all of a bin, or one of the threshold's code.
        step = Signal(self._sums, reset_less=True)
        step_bin = Signal(self._digit_bits, reset_less=True)
        step_is_last = Signal(reset_less=True)
        is_forced = Signal()
        is_bin = Signal()
        told = histogram.o
        m.d.sync += [
            step.count.eq(Mux(told.valid, told.payload.count, 1)),
            step.mass.eq(Mux(told.valid, told.payload.mass, decoder.o)),
            step_bin.eq(told.payload.bin),
            step_is_last.eq(told.payload.last),
            is_forced.eq(there.is_forced),
            is_bin.eq(told.valid),
        ]

        # The last pass: a candidate is compared, then decided about.
        room = Signal()
        decides = Signal()
        is_above = Signal(reset_less=True)
        is_equal = Signal(reset_less=True)
        is_last = Signal(reset_less=True)
        m.d.comb += [
            room.eq(~decides | back.i.ready),
            front.o.ready.eq(passes | (emits & room)),
            back.i.valid.eq(decides),
        ]
        with m.If(room):
            m.d.sync += [
                decides.eq(emits & front.o.valid),
                is_above.eq(item.always | (item.code > threshold)),
                is_equal.eq(~item.always & (item.code == threshold)),
                is_last.eq(item.last),
            ]

        # The rule, and what it lets through.
        below = Signal()
        rule = Signal()
        moves = Signal()
        m.d.comb += [
            below.eq(asked.gamma[-1] | (ahead.mass < share.o.payload)),
            rule.eq((below & (ahead.count < asked.most)) | (ahead.count < asked.least)),
            moves.eq(is_forced | (rule & (is_bin | (decides & back.i.ready & is_equal)))),
            back.i.payload.taken.eq(is_above | (is_equal & rule)),
            back.i.payload.last.eq(is_last),
            share.i.payload.total.eq(result.total),
            share.i.payload.gamma.eq(asked.gamma[:GAMMA_BITS]),
            result.count.eq(ahead.count),
            result.mass.eq(ahead.mass),
        ]
        with m.If(moves):
            m.d.sync += [
                ahead.count.eq(ahead.count + step.count),
                ahead.mass.eq(ahead.mass + step.mass),
            ]
        with m.If(is_bin & rule):
            m.d.sync += entry.eq(ahead)
            with m.Switch(digit):
                for number, (low, high) in enumerate(self._digits()):
                    with m.Case(number):
                        m.d.sync += threshold[low:high].eq(step_bin)

        # One register for each state: who asks for it has no LUT to wait for. While the share is
        # being made, or bins are told, it is none.
        leaves = {
            "idle": self.start.valid & ~histogram.busy,
            "pass": front.o.valid & item.last,
            "drain": there.last,
            "total": 1,
            "bins": 1,
            "settle": 1,
            "decode": there.last,
            "emit": front.o.valid & item.last & room,
            "end": decides & back.i.ready,
            "result": self.result.ready,
        }
        states = {name: Signal(name=f"is_{name}", init=name == "idle") for name in leaves}
        goes = {name: Signal(name=f"goes_{name}") for name in leaves}
        m.d.comb += [goes[name].eq(states[name] & leaves[name]) for name in leaves]
        comes_from: dict[str, Value] = {
            "idle": goes["result"],
            "pass": goes["idle"] | (goes["settle"] & ~is_last_digit),
            "drain": goes["pass"],
            "total": goes["drain"] & is_first,
            "bins": (goes["drain"] & ~is_first) | share.o.valid,
            "settle": is_bin & step_is_last,
            "decode": goes["settle"] & is_last_digit,
            "emit": goes["decode"],
            "end": goes["emit"],
            "result": goes["end"],
        }
        for name, is_now in states.items():
            m.d.sync += is_now.eq(comes_from[name] | (is_now & ~goes[name]))

        m.d.comb += [
            self.start.ready.eq(states["idle"] & ~histogram.busy),
            passes.eq(states["pass"]),
            share.i.valid.eq(states["total"]),
            histogram.sweep.eq(states["bins"]),
            is_last_digit.eq(digit == self.digits - 1),
            prepares.eq(comes_from["decode"]),
            emits.eq(states["emit"]),
            self.result.valid.eq(states["result"]),
        ]
        with m.If(states["idle"]):
            m.d.sync += [
                asked.eq(self.start.payload),
                # Nothing is above that; it stays when nothing but what is forced is taken.
                threshold.eq(-1),
                digit.eq(0),
                is_first.eq(1),
                has_code.eq(0),
                ahead.eq(0),
                result.total.eq(0),
                result.flat.eq(1),
            ]
        with m.If(states["bins"]):
            m.d.sync += [entry.eq(ahead), is_first.eq(0)]
        with m.If(states["settle"]):
            m.d.sync += ahead.eq(entry)
            with m.If(~is_last_digit):
                m.d.sync += digit.eq(digit + 1)
        return m

    def _digits(self) -> list[tuple[int, int]]:
        """Return the first bit of each digit of a code and the one behind it, the highest first."""
        ends = range(0, self._code_width, self._digit_bits)
        return [(low, min(low + self._digit_bits, self._code_width)) for low in reversed(ends)]
