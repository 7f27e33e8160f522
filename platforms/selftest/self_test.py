"""The self test: a core between ROMs, and a verdict."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...rtl.component import Component
from ...rtl.core import Core
from ...rtl.stream import connect_stream, payload_shape
from .checker import Checker
from .contents import Contents, make_contents
from .feed import Feed

__all__ = ["SelfTest"]


class SelfTest(Component):
    """Compute one attention call again and again, and compare every bit of every output.

    ::

        ROM: jobs    --+
        ROM: queries --+--> CORE --> checker <-- ROM: outputs
        ROM: keys    --+               |
        ROM: values  --+               +--> passed, failed, calls

    Parameters
    ----------
    seed : int
        Of the tensors that are attended to.
    contents : Contents, optional
        What the ROMs hold instead.
    patience : int
        Cycles without an output that are allowed; a power of two.
    lanes, size, block_rows, head_dim, tokens, p_width, segments, fraction, row_width, out_width
        As of :class:`~qkloom.rtl.core.Core`.

    Members
    -------
    spoil : In(1)
        Expect something wrong of the outputs that leave now: ``failed`` must follow.
    passed : Out(1)
        The call was computed at least once, and no output ever differed.
    failed : Out(1)
        An output differed, or none came; it stays until a reset.
    calls : Out(32)
        How often the call was computed, modulo 2^32.
    contents : Contents
        What the ROMs hold.

    Raises
    ------
    TypeError, ValueError
        When a parameter does not suit the core, or the contents do not suit its streams.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        contents: Contents | None = None,
        patience: int = 1 << 16,
        lanes: tuple[str, ...],
        size: int,
        block_rows: int,
        head_dim: int,
        tokens: int,
        p_width: int,
        segments: int,
        fraction: int,
        row_width: int,
        out_width: int,
    ) -> None:
        own = ("seed", "contents", "patience")
        core = {name: value for name, value in self.parameters.items() if name not in own}
        self._core = Core(**core)
        self._contents = contents = contents or make_contents(self._core, seed=seed)
        self._feeds = {
            name: Feed(shape=payload_shape(getattr(self._core, name)), words=words)
            for name, words in (
                ("i_job", contents.jobs),
                ("i_query", contents.queries),
                ("i_key", contents.keys),
                ("i_value", contents.values),
            )
        }
        self._checker = Checker(
            shape=payload_shape(self._core.o), words=contents.outputs, patience=patience
        )
        super().__init__({"spoil": In(1), "passed": Out(1), "failed": Out(1), "calls": Out(32)})

    @property
    def contents(self) -> Contents:
        """What the ROMs hold."""
        return self._contents

    def elaborate(self, platform: Any) -> Module:
        """Connect ROMs, core and checker."""
        m = Module()
        m.submodules.core = core = self._core
        m.submodules.checker = checker = self._checker
        for name, feed in self._feeds.items():
            m.submodules[f"feed_{name.removeprefix('i_')}"] = feed
            connect_stream(m, feed.o, getattr(core, name))
        wiring.connect(m, core.o, checker.i)
        m.d.comb += [
            checker.spoil.eq(self.spoil),
            self.passed.eq(checker.passed),
            self.failed.eq(checker.failed),
            self.calls.eq(checker.rounds),
        ]
        return m
