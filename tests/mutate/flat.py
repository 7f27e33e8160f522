"""Surroundings of units with ports that are no streams, and with buses: streams alone are left."""

from itertools import product

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from qkloom.rtl.component import Component
from qkloom.rtl.stream import Queue, RegisterSlice, connect_stream

__all__ = ["Flat", "OnMemory", "content"]

_BURSTS = 64
"""Bursts that memory keeps in mind; more than any unit asks for."""


class Flat(Component):
    """A unit of which every stream, however deep inside a bus, is one by itself.

    Parameters
    ----------
    part : type
        Class of the unit.
    parameters : tuple of (str, value)
        Its parameters.
    carried : tuple of (str, str)
        An input stream, and a plain input that comes along with its items: it is 0 without one.

    Members
    -------
    streams : stream
        Those of the unit; their names are joined by ``_``. Where something is carried, the payload
        is ``item`` and what it carries.
    levels : In(stream)
        All other plain inputs by name. They stay until the next item.
    level_x : Out(stream)
        A plain output, in every cycle.
    """

    def __init__(self, *, part, parameters, carried=()):
        self.unit = unit = part(**dict(parameters))
        carriers = dict.fromkeys(name for name, _ in carried)
        carries = {name: [x for stream_, x in carried if stream_ == name] for name in carriers}
        shapes, members, self._levels, self._carries = {}, {}, {}, carries
        for name, member, _ in _leaves(unit):
            if member.is_port and member.flow == In:
                shapes[name] = member.shape
        for name, member, _ in _leaves(unit):
            if member.is_port and member.flow == Out:
                always = stream.Signature(member.shape, always_ready=True, always_valid=True)
                members[f"level_{name}"] = Out(always)
            elif name in carries:
                fields = {"item": member.signature.members["payload"].shape}
                fields |= {x: shapes.pop(x) for x in carries[name]}
                members[name] = In(stream.Signature(data.StructLayout(fields)))
            elif not member.is_port:
                members |= self.members_of(name, member)
        self._levels = shapes
        levels = shapes | self.more_levels()
        if levels:
            layout = data.StructLayout(levels)
            members["levels"] = In(stream.Signature(layout, always_ready=True))
        super().__init__(members)

    def members_of(self, name, member):
        """Return what stands for a stream of the unit outside."""
        return {name: member.flow(member.signature)}

    def more_levels(self):
        """Return inputs besides those of the unit, by name."""
        return {}

    def level(self, m, name, wanted):
        """Return what a plain input is, of what the stimulus wants it to be."""
        return wanted

    def wire(self, m, name, inner, flow, levels):
        """Connect a stream of the unit; ``levels`` has all inputs that stay."""
        ends = (wiring.flipped(getattr(self, name)), inner)
        connect_stream(m, *(ends if flow == In else ends[::-1]))

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        levels = None
        plain = {}
        if hasattr(self, "levels"):
            shape = self.levels.payload.shape()
            kept = Signal(shape)
            levels = Signal(shape)
            m.d.comb += levels.eq(kept)
            with m.If(self.levels.valid):
                m.d.comb += levels.eq(self.levels.payload)
            m.d.sync += kept.eq(levels)
        for name, member, value in _leaves(unit):
            if member.is_port and member.flow == In:
                plain[name] = Value.cast(value)
                if name in self._levels:
                    m.d.comb += plain[name].eq(self.level(m, name, Value.cast(levels[name])))
        for name, member, value in _leaves(unit):
            if member.is_port:
                if member.flow == Out:
                    level = getattr(self, f"level_{name}").payload
                    m.d.comb += Value.cast(level).eq(Value.cast(value))
            elif name in self._carries:
                outer = getattr(self, name)
                m.d.comb += [
                    value.valid.eq(outer.valid),
                    Value.cast(value.payload).eq(Value.cast(outer.payload["item"])),
                    outer.ready.eq(value.ready),
                ]
                for x in self._carries[name]:
                    m.d.comb += plain[x].eq(Mux(outer.valid, Value.cast(outer.payload[x]), 0))
            else:
                self.wire(m, name, value, member.flow, levels)
        return m


class OnMemory(Flat):
    """A unit with buses, and memory behind them.

    What memory holds follows from the address; the two upper bits of a burst's address are the
    response that it gets. Bursts are answered in their order, in the cycles that ``answers`` has a
    bit for. A halt lasts until the unit is idle; what it puts out meanwhile is dropped.

    Members
    -------
    bus_ar, bus_aw, bus_w : Out(stream)
        What the unit asks for, and what it writes.
    levels : In(stream)
        Also ``answers``: whether memory may answer.
    """

    def members_of(self, name, member):
        if name.endswith(("_r", "_b")):
            return {}
        return super().members_of(name, member)

    def more_levels(self):
        return {"answers": 1}

    def wire(self, m, name, inner, flow, levels):
        bus = name.rpartition("_")[0]
        if name.endswith(("_ar", "_aw")):
            outer = getattr(self, name)
            asked = Queue(shape=inner.payload.shape(), depth=_BURSTS)
            m.submodules[f"{name}_asked"] = self._asked(bus)[name[-2:]] = asked
            moves = Signal(name=f"{name}_moves")
            m.d.comb += [
                moves.eq(inner.valid & inner.ready),
                asked.i.valid.eq(moves),
                asked.i.payload.eq(inner.payload),
            ]
            connect_stream(m, inner, wiring.flipped(outer))
        elif name.endswith("_w"):
            connect_stream(m, inner, wiring.flipped(getattr(self, name)))
            ended = Signal(range(_BURSTS + 1), name=f"{name}_ended")
            self._asked(bus)["w"] = (inner, ended)
        elif name.endswith("_r"):
            self._read(m, bus, inner, levels["answers"])
        elif name.endswith("_b"):
            self._acknowledge(m, bus, inner, levels["answers"])
        elif flow == Out and hasattr(self.unit, "halt"):
            self._guard(m, name, inner, self.unit.halt)
        else:
            super().wire(m, name, inner, flow, levels)

    def level(self, m, name, wanted):
        if name != "halt":
            return wanted
        # What is idle may still have been so before it saw the halt.
        ages = Signal(2, name="halt_ages")
        halts = Signal(name="halts")
        m.d.comb += halts.eq(wanted | ages.any() & ~(ages.all() & self.unit.idle))
        m.d.sync += ages.eq(Mux(halts, Cat(1, ages), 0))
        return halts

    def _guard(self, m, name, inner, halt):
        """Drop what is offered in a halt: it does not keep the rules of streams."""
        kept = RegisterSlice(shape=inner.payload.shape())
        m.submodules[f"{name}_kept"] = kept
        m.d.comb += [
            kept.i.valid.eq(inner.valid & ~halt),
            kept.i.payload.eq(inner.payload),
            inner.ready.eq(kept.i.ready),
        ]
        connect_stream(m, kept.o, wiring.flipped(getattr(self, name)))

    def _asked(self, bus):
        if not hasattr(self, "_by_bus"):
            self._by_bus = {}
        return self._by_bus.setdefault(bus, {})

    def _read(self, m, bus, r, answers):
        asked = self._asked(bus)["ar"]
        burst, width = asked.o.payload, len(r.payload.data)
        beat = Signal(8, name=f"{bus}_beat")
        place = Signal(16, name=f"{bus}_place")
        is_last = Signal(name=f"{bus}_is_last")
        valid = Signal(name=f"{bus}_answers")
        moves = Signal(name=f"{bus}_moves")
        m.d.comb += [
            valid.eq(asked.o.valid & answers),
            place.eq((burst.addr >> (width // 8 - 1).bit_length()) + beat),
            is_last.eq(beat == burst.len),
            r.valid.eq(valid),
            r.payload.id.eq(burst.id),
            # What is not valid is the complement of what would be.
            r.payload.data.eq(content(place, width) ^ ~valid.replicate(width)),
            Value.cast(r.payload.resp).eq(burst.addr[-2:]),
            r.payload.last.eq(is_last ^ ~valid),
            moves.eq(valid & r.ready),
            asked.o.ready.eq(moves & is_last),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))

    def _acknowledge(self, m, bus, b, answers):
        asked, (w, ended) = self._asked(bus)["aw"], self._asked(bus)["w"]
        valid = Signal(name=f"{bus}_acknowledges")
        m.d.comb += [
            valid.eq(asked.o.valid & (ended != 0) & answers),
            b.valid.eq(valid),
            b.payload.id.eq(asked.o.payload.id),
            Value.cast(b.payload.resp).eq(asked.o.payload.addr[-2:] ^ ~valid.replicate(2)),
            asked.o.ready.eq(valid & b.ready),
        ]
        ends = w.valid & w.ready & w.payload.last
        m.d.sync += ended.eq(ended + ends - (valid & b.ready))


def content(place, width):
    """Return what memory holds: each 16 bits of a beat another mixture of its number's."""
    low = place[:16]
    mixed = low ^ low.rotate_left(3) ^ low.rotate_left(8)
    parts = [
        mixed.rotate_left(k) ^ Const((k * 0x9E37 + 0x79B9) & 0xFFFF, 16)
        for k in range(-(-width // 16))
    ]
    return Cat(*parts)[:width]


def _leaves(component):
    """Yield name, member and value of each stream and each plain port, however deep."""
    yield from _walk((), component)


def _walk(path, interface):
    for name, member in interface.signature.members.items():
        value = getattr(interface, name)
        for index in product(*map(range, member.dimensions)):
            inner = value
            for number in index:
                inner = inner[number]
            here = "_".join(map(str, (*path, name, *index)))
            is_stream = member.is_signature and stream.Signature in (
                type(member.signature),
                type(member.signature.flip()),
            )
            if member.is_port:
                yield here, member.flow(member.shape), inner
            elif is_stream:
                yield here, member.flow(member.signature), inner
            else:
                yield from _walk((here,), inner)
