"""Scores of blocks: the largest one of the windows that touch a block."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..check import check_count
from ..component import Component

__all__ = ["PER_BLOCK", "BlockScores", "candidate_layout", "pooling_layout"]

PER_BLOCK = 4
"""Compressed keys that begin in a block; a block's score is of these and of one more before."""


def pooling_layout(blocks: int) -> data.StructLayout:
    """Return what is to be known of a query before its scores are pooled.

    ``windows``: scores that come; ``n_blocks``: blocks up to the query's own; ``seen``: windows of
    the last one that the query may see, less 1; ``init``, ``until_local``: blocks at the beginning
    that are always taken, and blocks before the latest ones that are.
    """
    return data.StructLayout(
        {
            "windows": range(PER_BLOCK * blocks + 1),
            "n_blocks": range(blocks + 1),
            "seen": range(PER_BLOCK),
            "init": range(blocks + 1),
            "until_local": range(blocks + 1),
        }
    )


def candidate_layout(*, blocks: int, score_width: int) -> data.StructLayout:
    """Return a block that may be chosen, or the end of them.

    ``forced``: it is, whatever its ``score``. With ``end`` there is no block, but ``flat``: all
    scores of blocks were equal.
    """
    return data.StructLayout(
        {
            "block": range(max(blocks, 2)),
            "score": signed(score_width),
            "forced": 1,
            "end": 1,
            "flat": 1,
        }
    )


class BlockScores(Component):
    """Pool the scores of windows to those of blocks: the largest of 5, every 4, one before.

    Block ``b`` has the largest score of windows ``4 b - 1`` to ``4 b + 3``; of those that do not
    exist, or that begin behind the query, it has none. A block without any has the lowest number.
    Scores beyond the last block are dropped.

    One window a cycle, those included that do not exist: ``max(windows, 4 n_blocks) + 2`` cycles
    from a query to its end. From a block's last score to the block 1 cycle.

    Parameters
    ----------
    blocks : int
        Most blocks.
    score_width : int
        Bits of a score. The lowest number must not be one.

    Members
    -------
    call : In(stream)
        What is asked: :func:`pooling_layout`.
    i : In(stream)
        Scores of its windows.
    o : Out(stream)
        Its blocks in ascending order, then the end: :func:`candidate_layout`.

    Raises
    ------
    TypeError, ValueError
        When a parameter is not a positive integer.
    """

    def __init__(self, *, blocks: int, score_width: int) -> None:
        check_count("Blocks", blocks)
        check_count("Score width", score_width)
        self._blocks, self._score_width = blocks, score_width
        super().__init__(
            {
                "call": In(stream.Signature(pooling_layout(blocks))),
                "i": In(stream.Signature(signed(score_width))),
                "o": Out(
                    stream.Signature(candidate_layout(blocks=blocks, score_width=score_width))
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Step from window to window; count down what is left of everything."""
        m = Module()
        call, o = self.call.payload, self.o.payload
        lowest = -(1 << self._score_width - 1)
        windows = Signal.like(call.windows)
        blocks = Signal.like(call.n_blocks)
        init = Signal.like(call.init)
        until_local = Signal.like(call.until_local)
        seen = Signal.like(call.seen, reset_less=True)
        # What the counts say, ready in registers.
        has_window = Signal()
        has_block = Signal()
        is_last_block = Signal(reset_less=True)
        is_init = Signal(reset_less=True)
        is_local = Signal(reset_less=True)

        begins = Signal()  # the window is a block's first
        hides = Signal()  # it is behind the query
        phase = Signal(range(PER_BLOCK))
        block = Signal.like(o.block, reset_less=True)
        offers = Signal()  # a block is complete
        is_busy = Signal()
        ends = Signal()
        has_room = Signal()
        steps = Signal()
        completes = Signal()
        m.d.comb += [
            has_room.eq(~offers | self.o.ready),
            steps.eq((has_window | has_block) & (self.i.valid | ~has_window) & has_room),
            self.i.ready.eq(has_window & has_room),
            completes.eq(steps & has_block & (phase == PER_BLOCK - 1)),
            ends.eq(is_busy & ~has_window & ~has_block & ~offers),
            self.call.ready.eq(~is_busy),
        ]

        # The largest score so far: of a block's first window, together with the one before.
        score = Signal(signed(self._score_width))
        best = Signal(signed(self._score_width), reset_less=True)
        tail = Signal(signed(self._score_width), reset_less=True)
        so_far = Signal(signed(self._score_width))
        counts = Signal()
        is_larger = Signal()
        m.d.comb += [
            counts.eq(has_window & ~hides),
            is_larger.eq(counts & (score > so_far)),
            score.eq(self.i.payload),
            so_far.eq(Mux(begins, tail, best)),
        ]
        with m.If(steps):
            m.d.sync += [
                phase.eq(phase + 1),
                begins.eq(phase == PER_BLOCK - 1),
                hides.eq(is_last_block & (phase >= seen) & (phase != PER_BLOCK - 1)),
                tail.eq(Mux(counts, score, lowest)),
                best.eq(Mux(is_larger, score, so_far)),
            ]
        with m.If(steps & has_window):
            m.d.sync += [windows.eq(windows - 1), has_window.eq(windows != 1)]

        # The block that is complete; the next one's numbers come when it leaves.
        first = Signal(signed(self._score_width), reset_less=True)
        is_first = Signal()
        differs = Signal()
        with m.If(completes):
            m.d.sync += [blocks.eq(blocks - 1), has_block.eq(blocks != 1)]
            m.d.sync += is_last_block.eq(blocks == 2)
            m.d.sync += offers.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += offers.eq(0)
        with m.If(offers & self.o.ready):
            m.d.sync += [
                block.eq(block + 1),
                init.eq(init - is_init),
                is_init.eq(init > 1),
                until_local.eq(until_local - ~is_local),
                is_local.eq(until_local <= 1),
                is_first.eq(0),
                differs.eq(~is_first & (differs | (best != first))),
            ]
            with m.If(is_first):
                m.d.sync += first.eq(best)
        m.d.comb += [
            self.o.valid.eq(offers | ends),
            o.block.eq(block),
            o.score.eq(best),
            o.forced.eq(is_init | is_local),
            o.end.eq(ends),
            o.flat.eq(ends & ~differs),
        ]

        with m.If(self.call.valid & self.call.ready):
            m.d.sync += [
                windows.eq(call.windows),
                has_window.eq(call.windows != 0),
                blocks.eq(call.n_blocks),
                has_block.eq(call.n_blocks != 0),
                is_last_block.eq(call.n_blocks == 1),
                seen.eq(call.seen),
                init.eq(call.init),
                is_init.eq(call.init != 0),
                until_local.eq(call.until_local),
                is_local.eq(call.until_local == 0),
                block.eq(0),
                tail.eq(lowest),
                phase.eq(0),
                begins.eq(1),
                hides.eq(0),
                is_first.eq(1),
                differs.eq(0),
                is_busy.eq(1),
            ]
        with m.Elif(ends & self.o.ready):
            m.d.sync += is_busy.eq(0)
        return m
