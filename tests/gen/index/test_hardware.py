"""What a kernel that selects is told and says: what is right, and that what is wrong is noticed."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qkloom.gen.call import emitted_kernel
from qkloom.gen.chip import ChipDescription, read_chip
from qkloom.gen.index.hardware import Selecting, head_result, prepare_index
from qkloom.tb.deal import Call
from qkloom.tb.errors import InputError
from qkloom.tb.index.exact import CoverageRule
from qkloom.tb.kernel.image import CHANNEL_BYTES, Image, selection_rows
from qkloom.tb.kernel.index import record_of
from qkloom.tb.quantize import quantize


@pytest.fixture(scope="module")
def description() -> ChipDescription:
    return read_chip("u280-tiny").replace(index="coverage")


def prepared(description: ChipDescription, q: Any, k: Any) -> Selecting:
    kernel, _ = emitted_kernel(description, False)
    operands = quantize(q, k, k, description.numerics)
    call = Call(operands.q, operands.k, operands.k, operands.mantissa, operands.shift)
    return prepare_index(description, kernel, call, CoverageRule(gamma=0.6, min_budget=0))


def answered(description: ChipDescription, spoil: int | None) -> Any:
    """Let a host write the right answer into memory, but for a bit."""
    rng = np.random.default_rng(0)
    kernel, _ = emitted_kernel(description, False)
    selecting = prepared(description, rng.normal(size=(4, 50, 8)), rng.normal(size=(2, 50, 8)))
    image = Image(kernel.n_channels)
    task = selecting.place(kernel, image)
    memory = [np.zeros(size, np.uint8) for size in image.sizes]
    image.write(memory)
    counts = dict.fromkeys(("q_bytes", "k_bytes", "v_bytes"), 0)

    def call(arguments: dict[str, int], limit: int, look: Any, every: int) -> Any:
        look(every)
        rows = selection_rows(selecting.masks, task.row)
        made = [head_result(head) for head in selecting.expected]
        records = np.concatenate([record_of(head, task.record) for head in made])
        for place, content in ((task.selection, rows), (task.verdicts, records)):
            channel, offset = divmod(place, CHANNEL_BYTES)
            memory[channel][offset : offset + len(content)] = content
        if spoil is not None:
            channel, offset = divmod((task.selection, task.verdicts)[spoil], CHANNEL_BYTES)
            memory[channel][offset + 4 * spoil] ^= 1
        counts.update(q_bytes=10, k_bytes=1001, v_bytes=30)
        look(2 * every)
        return SimpleNamespace(cycles=3 * every)

    host = SimpleNamespace(read=counts.__getitem__, call=call)
    return selecting.run(task, host, memory)  # type: ignore[arg-type]


def test_the_right_answer(description: ChipDescription) -> None:
    selected = answered(description, None)
    assert selected.bit_exact
    assert selected.n_bytes == {"q": 10, "k": 1001, "v": 30}
    assert selected.head_cycles == [128, 0, 0, 0]  # all of them were there at the second look
    assert selected.k_bytes(2) == [250, 250, 250, 250]  # 500 of each KV head


@pytest.mark.parametrize("part", [0, 1])
def test_a_wrong_bit_is_noticed(description: ChipDescription, part: int) -> None:
    """Of a row, or of a record."""
    assert not answered(description, part).bit_exact


@pytest.mark.parametrize(
    ("chip", "tokens", "message"),
    [
        (
            {"index": "dense"},
            (8, 8),
            r"^u280-tiny selects no blocks; describe a chip with index",
        ),
        (
            {"index": {"method": "coverage", "tokens": 32}},
            (33, 33),
            r"at most 32, .*, not 33; ",
        ),
        ({"index": "coverage"}, (8, 9), r"^q and k must have as many tokens, .*, not 8 and 9; cut"),
    ],
)
def test_mistakes(chip: dict[str, Any], tokens: tuple[int, int], message: str) -> None:
    description = read_chip("u280-tiny").replace(**chip)
    with pytest.raises(InputError, match=message):
        prepared(description, *(np.ones((1, n, 8)) for n in tokens))
