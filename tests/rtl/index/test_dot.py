import re
from random import Random

import pytest
from amaranth.back import rtlil

from qkloom.rtl.formats import F16, I4, I8, U8, Fixed, Integer
from qkloom.rtl.index.dot import DotProduct
from qkloom.tb.simulate import from_bits, simulate, to_bits

KINDS = [
    (4, 16, I8, I8),
    (1, 1, I8, I8),
    (3, 9, Integer(12), Integer(12)),
    (5, 5, U8, U8),
    (2, 6, I4, U8),
]


def beats(layout, vectors, width):
    """Return the beats of vectors, the last of them done."""
    return [
        to_bits(
            layout,
            {
                "x": vector[k : k + width],
                "last": k + width == len(vector),
                "done": k + width == len(vector) and number == len(vectors) - 1,
            },
        )
        for number, vector in enumerate(vectors)
        for k in range(0, len(vector), width)
    ]


@pytest.mark.parametrize(("width", "head_dim", "held", "streaming"), KINDS)
class TestBehaviour:
    def run(self, groups, width, head_dim, held, streaming, **pace):
        """Multiply each (held vector, vectors); return logs and sums."""
        dut = DotProduct(width=width, head_dim=head_dim, held=held, streaming=streaming)
        of = {name: getattr(dut, name).payload.shape() for name in ("i_held", "i", "o")}
        inputs = {
            "i_held": [b for vector, _ in groups for b in beats(of["i_held"], [vector], width)],
            "i": [b for _, vectors in groups for b in beats(of["i"], vectors, width)],
        }
        logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=20_000, idle=80, pace=pace)
        return dut, logs, [from_bits(of["o"], x) for x in logs["o"].items]

    def draw(self, rng, n, width, head_dim, held, streaming):
        groups = []
        for _ in range(n):
            length = width * rng.randint(1, head_dim // width)
            extreme = rng.random() < 0.3

            def vector(of, length=length, extreme=extreme):
                ends = (of.min_raw, of.max_raw)
                one = rng.choice(ends)
                return [one if extreme else rng.randint(*ends) for _ in range(length)]

            groups.append((vector(held), [vector(streaming) for _ in range(rng.randint(1, 9))]))
        return groups

    @pytest.mark.parametrize(("pace"), [{}, {"i": 0.4}, {"o": 0.3}, {"i_held": 0.1, "o": 0.8}])
    def test_sums(self, width, head_dim, held, streaming, pace):
        kind = (width, head_dim, held, streaming)
        groups = self.draw(Random(width), 12, *kind)
        _, _, sums = self.run(groups, *kind, **pace)
        assert sums == [
            sum(x * y for x, y in zip(vector, other, strict=True))
            for vector, others in groups
            for other in others
        ]

    def test_rate_and_latency(self, width, head_dim, held, streaming):
        n = head_dim // width
        vectors = [[1] * head_dim] * 40
        dut, logs, _ = self.run([(vectors[0], vectors)] * 2, width, head_dim, held, streaming)
        # The next vector to hold is there before it is needed: a beat a cycle throughout.
        assert logs["i"].cycles == list(range(n, n + 80 * n))
        assert logs["o"].cycles == [c + dut.latency for c in logs["i"].cycles[n - 1 :: n]]

    def test_conversion(self, width, head_dim, held, streaming):
        rtlil.convert(DotProduct(width=width, head_dim=head_dim, held=held, streaming=streaming))


def test_never_ready():
    dut = DotProduct(width=2, head_dim=2)
    vector = to_bits(dut.i.payload.shape(), {"x": [1, 2], "last": 1, "done": 0})
    inputs = {"i_held": [vector & 0x1FFFF], "i": [vector] * 99}
    logs = simulate(dut, inputs=inputs, outputs=["o"], cycles=99, pace={"o": 0})
    first = 1 + dut.latency
    assert logs["o"].valid_cycles == list(range(first, 99))
    assert len(logs["i"].items) == dut.latency + 1  # as many as there is room for


def test_latency():
    assert DotProduct(width=32, head_dim=128).latency == 11
    assert DotProduct(width=32, head_dim=128).sum_width == 23


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"width": 0}, ValueError, "Width must be a positive integer, not 0"),
        ({"head_dim": "8"}, TypeError, "Head dimension must be a positive integer, not '8'"),
        (
            {"head_dim": 6},
            ValueError,
            "Head dimension must be a multiple of the width, 4, not 6",
        ),
        ({"held": F16}, TypeError, "Operand a must be an integer format, not F16"),
        ({"streaming": Fixed(4, 4)}, TypeError, "Operand b must be an integer format, not "),
        ({"streaming": Integer(19)}, ValueError, "Operand b must fit 18 signed bits, not be I19"),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        DotProduct(**{"width": 4, "head_dim": 8} | change)
