"""Every call is either passed on, cut to the sequencer's widths, or refused with the right code."""

import random

import pytest

from qkloom.gen.emit import emit
from qkloom.rtl.control.kernel_map import kernel_registers
from qkloom.rtl.kernel.code import Code
from qkloom.rtl.kernel.intake import Intake
from qkloom.tb.simulate import from_bits, simulate, to_bits

CHANNELS = {"q": 2, "k": 1, "v": 2, "o": 4}
HEADS, TOKENS, HEAD_DIM, SIZE, WIDTH = 12, 100, 32, 4, 8
PRODUCT_DIM = 24
ALIGN = 32
CAUSAL, TABLE, GEMM, SPARSE, INDEX = 1, 2, 4, 8, 16
INDEX_TOKENS, BLOCK = 80, 16


def intake(gemm=False, sparse=False, index=False, **changes):
    counts = {f"{name}_channels": n for name, n in CHANNELS.items()}
    registers = kernel_registers(**counts, gemm=gemm, sparse=sparse, index=index)
    given = dict(
        arguments=registers.arguments,
        channels=tuple(CHANNELS.items()),
        heads=HEADS,
        tokens=TOKENS,
        head_dim=HEAD_DIM,
        size=SIZE,
        stream_width=WIDTH,
        data_width=8 * ALIGN,
        product_dim=PRODUCT_DIM if gemm else 0,
        sparse=sparse,
        **({"index_tokens": INDEX_TOKENS, "block": BLOCK} if index else {}),
    )
    return Intake(**{**given, **changes})


def call(rng=None, **changes):
    """Return a call that can be computed, as registers have it, with some of them changed."""
    rng = rng or random.Random(0)
    kv_heads = rng.randint(1, 4)
    causal = rng.randrange(2)
    pointers = [f"{name}_{k}" for name, n in CHANNELS.items() for k in range(n)]
    return {
        **{name: rng.getrandbits(59) * ALIGN for name in [*pointers, "factors", "table"]},
        "flags": causal | rng.choice([0, TABLE]),
        "heads": kv_heads * rng.randint(1, HEADS // kv_heads),
        "kv_heads": kv_heads,
        "n_q": rng.choice([1, TOKENS, rng.randint(1, TOKENS)]),
        "n_kv": rng.choice([1, TOKENS, rng.randint(1, TOKENS)]),
        "q_start": rng.choice([-TOKENS, TOKENS, rng.randint(-TOKENS, TOKENS)]) if causal else 0,
        "head_dim": SIZE * rng.randint(1, HEAD_DIM // SIZE),
        "query_bits": rng.randint(2, WIDTH),
        **changes,
    }


def product(rng=None, **changes):
    """Return a product of matrices that can be computed, some of its numbers changed."""
    rng = rng or random.Random(0)
    head_dim = SIZE * rng.randint(1, PRODUCT_DIM // SIZE)
    kv_heads = rng.randint(1, min(4, TOKENS // head_dim))
    heads = kv_heads * rng.randint(1, min(HEADS, TOKENS // head_dim) // kv_heads)
    given = {
        "flags": GEMM,
        "heads": heads,
        "kv_heads": kv_heads,
        "n_kv": heads * head_dim,
        "q_start": 0,
        "head_dim": head_dim,
        "chunks": rng.randint(1, HEADS),
    }
    return call(rng, **{**given, **changes})


def payload(dut, given):
    shape = dut.i.payload.shape()
    names = ("causal", "table", "gemm", "sparse", "index")
    flags = {name: given["flags"] >> k & 1 for k, name in enumerate(names)}
    return to_bits(shape, {**given, "flags": flags})


def passed_on(given):
    """Return what the sequencer is told of a call."""
    pointers = {name: [given[f"{name}_{k}"] for k in range(n)] for name, n in CHANNELS.items()}
    return {
        "call": {
            "kv_heads": given["kv_heads"],
            "group": given["heads"] // given["kv_heads"],
            "n_q": given["n_q"],
            "n_kv": given["n_kv"],
            "q_start": given["q_start"],
            "causal": given["flags"] & CAUSAL,
            "d_tiles": given["head_dim"] // SIZE,
            "planes": given["query_bits"],
            **(
                {"gemm": given["flags"] >> 2 & 1, "chunks": given["chunks"]}
                if "chunks" in given
                else {}
            ),
            **({"selects": given["flags"] >> 4} if "verdicts" in given else {}),
        },
        **pointers,
        "factors": given["factors"],
        "table": given["table"],
        "paged": given["flags"] >> 1 & 1,
        **(
            {"selection": given["selection"], "sparse": given["flags"] >> 3 & 1}
            if "selection" in given
            else {}
        ),
        **(
            {
                "verdicts": given["verdicts"],
                "heads": given["heads"],
                "rule": {
                    "gamma": given["gamma"],
                    "limit": given["limit"],
                    "least": given["fewest"],
                    "most": given["most"],
                },
            }
            if "verdicts" in given
            else {}
        ),
    }


def run(calls, gemm=False, sparse=False, index=False, **pace):
    dut = intake(gemm, sparse, index)
    logs = simulate(
        dut,
        inputs={"i": [payload(dut, given) for given in calls]},
        outputs=["o", "refused"],
        cycles=4000,
        idle=60,
        pace=pace,
    )
    tasks = [from_bits(dut.o.payload.shape(), bits) for bits in logs["o"].items]
    return tasks, logs


REFUSALS = [
    ({"heads": 0}, Code.HEADS),
    ({"heads": HEADS + 1, "kv_heads": 1}, Code.HEADS),
    ({"heads": 1 << 16 | 4, "kv_heads": 1}, Code.HEADS),
    ({"kv_heads": 0}, Code.HEADS),
    ({"heads": 3, "kv_heads": 6}, Code.HEADS),
    ({"heads": 7, "kv_heads": 3}, Code.HEADS),
    ({"n_q": 0}, Code.QUERIES),
    ({"n_q": TOKENS + 1}, Code.QUERIES),
    ({"n_q": 1 << 31}, Code.QUERIES),
    ({"n_kv": 0}, Code.KEYS),
    ({"n_kv": TOKENS + 1}, Code.KEYS),
    ({"n_kv": 1 << 7}, Code.KEYS),
    ({"flags": CAUSAL, "q_start": TOKENS + 1}, Code.START),
    ({"flags": CAUSAL, "q_start": -TOKENS - 1}, Code.START),
    ({"flags": CAUSAL, "q_start": -(1 << 31)}, Code.START),
    ({"flags": 0, "q_start": 1}, Code.START),
    ({"flags": 0, "q_start": -1}, Code.START),
    ({"head_dim": 0}, Code.HEAD_DIM),
    ({"head_dim": HEAD_DIM + SIZE}, Code.HEAD_DIM),
    ({"head_dim": SIZE + 1}, Code.HEAD_DIM),
    ({"query_bits": 0}, Code.BITS),
    ({"query_bits": 1}, Code.BITS),
    ({"query_bits": WIDTH + 1}, Code.BITS),
    ({"query_bits": 1 << 31}, Code.BITS),
    *(
        ({f"{name}_{k}": at}, Code.ALIGNMENT)
        for (name, n), at in zip(CHANNELS.items(), (1, 2, 4, 16), strict=True)
        for k in range(n)
    ),
    ({"factors": 8}, Code.ALIGNMENT),
    ({"flags": TABLE, "table": 16, "q_start": 0}, Code.ALIGNMENT),
    ({"flags": GEMM, "q_start": 0}, Code.KIND),
    ({"flags": SPARSE, "q_start": 0}, Code.KIND),
]

BEYOND = [
    *(
        ({"kv_heads": 1, name: 1 << bit | 4}, code)
        for name, code in {
            "heads": Code.HEADS,
            "kv_heads": Code.HEADS,
            "n_q": Code.QUERIES,
            "n_kv": Code.KEYS,
            "head_dim": Code.HEAD_DIM,
            "query_bits": Code.BITS,
        }.items()
        for bit in range(7, 32)
    ),
    *(
        ({"flags": CAUSAL, "q_start": q_start}, Code.START)
        for bit in range(7, 31)
        for q_start in (1 << bit, ~(1 << bit))
    ),
    *(
        ({"flags": CAUSAL, "q_start": q_start}, Code.START)
        for q_start in ((1 << 31) - 9, 9 - (1 << 31))
    ),
    *(
        ({name: 1 << bit, "flags": TABLE, "q_start": 0}, Code.ALIGNMENT)
        for name in [
            *(f"{t}_{k}" for t, n in CHANNELS.items() for k in range(n)),
            "factors",
            "table",
        ]
        for bit in range(5)
    ),
]
"""Calls of which one bit is wrong."""


class TestPassed:
    @pytest.mark.parametrize("pace", [1, 0.4])
    def test_random(self, pace):
        rng = random.Random(1)
        calls = [call(rng) for _ in range(60)]
        tasks, logs = run(calls, i=pace, o=pace)
        assert tasks == [passed_on(given) for given in calls]
        assert logs["refused"].valid_cycles == []

    @pytest.mark.parametrize("heads", [1, 5, HEADS])
    def test_latency(self, heads):
        _, logs = run([call(heads=heads, kv_heads=1)])
        assert logs["o"].cycles == [4 + heads]

    def test_a_table_that_is_not_used(self):
        given = call(flags=0, table=1, q_start=0)
        tasks, _ = run([given])
        assert tasks == [passed_on(given)]

    def test_never_taken(self):
        tasks, logs = run([call()], o=0)
        assert logs["o"].valid_cycles and not tasks
        assert len(logs["i"].items) == 1  # the call that is offered; no other is taken


class TestRefused:
    @pytest.mark.parametrize(("changes", "code"), REFUSALS)
    def test_has_a_code(self, changes, code):
        good = call()
        tasks, logs = run([call(**changes), good])
        assert logs["refused"].items == [code]
        assert tasks == [passed_on(good)]
        assert len(logs["i"].items) == 2

    def test_random(self):
        rng = random.Random(2)
        calls = [(call(rng), None) for _ in range(20)]
        # Changes to a fixed call: with another one, some of them would be allowed.
        calls += [(call(**changes), code) for changes, code in REFUSALS]
        rng.shuffle(calls)
        tasks, logs = run([given for given, _ in calls], i=0.5, o=0.5, refused=0.3)
        assert logs["refused"].items == [code for _, code in calls if code]
        assert tasks == [passed_on(given) for given, code in calls if not code]

    def test_any_bit(self):
        tasks, logs = run([call(**changes) for changes, _ in BEYOND])
        assert tasks == []
        assert logs["refused"].items == [code for _, code in BEYOND]

    def test_lowest_code_first(self):
        mistakes = {"heads": 0, "n_q": 0, "n_kv": 0, "head_dim": 0, "query_bits": 0, "q_0": 1}
        for name, code in zip(
            ["heads", "n_q", "n_kv", "head_dim", "query_bits", "q_0"],
            [Code.HEADS, Code.QUERIES, Code.KEYS, Code.HEAD_DIM, Code.BITS, Code.ALIGNMENT],
            strict=True,
        ):
            _, logs = run([call(**mistakes)])
            assert logs["refused"].items == [code]
            del mistakes[name]


def test_conversion():
    emit(intake(), verilog=True)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("heads", "Heads"),
        ("tokens", "Tokens"),
        ("head_dim", "Head dimension"),
        ("size", "Size"),
        ("stream_width", "Stream width"),
        ("data_width", "Data width"),
    ],
)
def test_errors(parameter, name):
    with pytest.raises(ValueError, match=rf"^{name} must be a positive integer, not 0$"):
        intake(**{parameter: 0})
    with pytest.raises(TypeError, match=rf"^{name} must be a positive integer, not '4'$"):
        intake(**{parameter: "4"})


PRODUCT_REFUSALS = [
    ({"flags": GEMM | CAUSAL}, Code.KIND),
    ({"flags": GEMM | TABLE}, Code.KIND),
    ({"chunks": 0}, Code.CHUNKS),
    ({"chunks": HEADS + 1}, Code.CHUNKS),
    ({"chunks": 1 << 31}, Code.CHUNKS),
    ({"head_dim": PRODUCT_DIM + SIZE, "heads": 1, "kv_heads": 1}, Code.HEAD_DIM),
    ({"n_kv": 1}, Code.KEYS),
    ({"n_kv": TOKENS, "head_dim": 24, "heads": 4, "kv_heads": 1}, Code.KEYS),
    ({"n_kv": TOKENS, "head_dim": 24, "heads": 5, "kv_heads": 1}, Code.KEYS),
    ({"n_kv": 1, "head_dim": 24, "heads": HEADS, "kv_heads": 1}, Code.KEYS),
    ({"n_kv": TOKENS + 1}, Code.KEYS),
    ({"n_q": 0}, Code.QUERIES),
    ({"heads": 7, "kv_heads": 3}, Code.HEADS),
    ({"q_start": 1}, Code.START),
]


class TestProducts:
    @pytest.mark.parametrize("pace", [1, 0.4])
    def test_random_beside_attention(self, pace):
        rng = random.Random(3)
        calls = [
            product(rng) if rng.randrange(2) else call(rng, chunks=rng.getrandbits(4))
            for _ in range(60)
        ]
        tasks, logs = run(calls, gemm=True, i=pace, o=pace)
        assert tasks == [passed_on(given) for given in calls]
        assert logs["refused"].valid_cycles == []

    @pytest.mark.parametrize(("changes", "code"), PRODUCT_REFUSALS)
    def test_has_a_code(self, changes, code):
        good = product()
        tasks, logs = run([product(**changes), good], gemm=True)
        assert logs["refused"].items == [code]
        assert tasks == [passed_on(good)]

    def test_attention_is_not_bound_by_them(self):
        given = call(chunks=0, flags=0, q_start=0, head_dim=HEAD_DIM, n_kv=1)
        tasks, _ = run([given], gemm=True)
        assert tasks == [passed_on(given)]


class TestSelections:
    @pytest.mark.parametrize("gemm", [False, True])
    def test_random_beside_others(self, gemm):
        rng = random.Random(4)
        calls = []
        for _ in range(60):
            given = product(rng) if gemm and rng.randrange(2) else call(rng, chunks=1)
            sparse = rng.choice([0, SPARSE]) * (not given["flags"] & GEMM)
            place = rng.getrandbits(59) * ALIGN if sparse else rng.getrandbits(64)
            if not gemm:
                del given["chunks"]
            given |= {"flags": given["flags"] | sparse, "selection": place}
            calls.append(given)
        tasks, logs = run(calls, gemm=gemm, sparse=True)
        assert tasks == [passed_on(given) for given in calls]
        assert logs["refused"].valid_cycles == []

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            (call(flags=SPARSE | CAUSAL, selection=ALIGN // 2, chunks=0), Code.ALIGNMENT),
            (product(flags=GEMM | SPARSE, selection=0), Code.KIND),
        ],
    )
    def test_refused(self, given, code):
        _, logs = run([given], gemm=True, sparse=True)
        assert logs["refused"].items == [code]


def index_call(rng=None, **changes):
    """Return an index call: of the last queries of a sequence, up to a block of them."""
    rng = rng or random.Random(0)
    n_kv = rng.choice([1, INDEX_TOKENS, rng.randint(1, INDEX_TOKENS)])
    n_q = rng.choice([1, min(BLOCK, n_kv)])
    fewest = rng.randint(0, INDEX_TOKENS // BLOCK)
    given = {
        "flags": CAUSAL | INDEX | rng.choice([0, TABLE]),
        "n_q": n_q,
        "n_kv": n_kv,
        "q_start": n_kv - n_q,
        "selection": rng.getrandbits(59) * ALIGN,
        "verdicts": rng.getrandbits(59) * ALIGN,
        "gamma": rng.choice([0, 1 << 16, rng.randrange(1 << 16)]),
        "limit": rng.getrandbits(32),
        "fewest": fewest,
        "most": rng.randint(max(fewest, 1), INDEX_TOKENS // BLOCK),
        "chunks": rng.getrandbits(3),
    }
    return call(rng, **given | changes)


class TestIndexCalls:
    def test_random_beside_others(self):
        rng = random.Random(7)
        calls = []
        for _ in range(80):
            given = index_call(rng)
            kind = rng.choice([index_call, call, product])
            if kind is not index_call:
                of_index = ("verdicts", "gamma", "limit", "fewest", "most", "selection")
                odd = {name: given[name] | 1 for name in ("verdicts", "selection")}
                given = {name: given[name] for name in of_index} | odd
                few = {"fewest": 1, "most": 2, "gamma": 3}  # what the widths hold
                given = {"chunks": 1} | kind(rng) | given | few
            calls.append(given)
        tasks, logs = run(calls, gemm=True, sparse=True, index=True)
        assert tasks == [passed_on(given) for given in calls]
        assert logs["refused"].valid_cycles == []

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"flags": CAUSAL | INDEX | GEMM}, Code.KIND),
            ({"flags": CAUSAL | INDEX | SPARSE}, Code.KIND),
            ({"flags": INDEX, "n_q": 8, "n_kv": 8, "q_start": 0}, Code.KIND),
            ({"n_q": BLOCK + 1, "n_kv": 40, "q_start": 40 - BLOCK - 1}, Code.QUERIES),
            ({"n_q": 1, "n_kv": INDEX_TOKENS + 1, "q_start": INDEX_TOKENS}, Code.KEYS),
            ({"n_q": 4, "n_kv": 40, "q_start": 35}, Code.START),
            ({"n_q": 4, "n_kv": 40, "q_start": 37}, Code.START),
            ({"n_q": 5, "n_kv": 4, "q_start": -1}, Code.START),
            ({"gamma": (1 << 16) + 1}, Code.RULE),
            ({"gamma": 1 << 31}, Code.RULE),
            ({"fewest": 6, "most": 6}, Code.RULE),
            ({"fewest": 0, "most": 0}, Code.RULE),
            ({"fewest": 3, "most": 2}, Code.RULE),
            ({"fewest": 1, "most": 6}, Code.RULE),
            ({"fewest": 1, "most": 1 << 31}, Code.RULE),
            ({"selection": 1}, Code.ALIGNMENT),
            ({"verdicts": ALIGN // 2}, Code.ALIGNMENT),
        ],
    )
    def test_refused(self, changes, code):
        tasks, logs = run([index_call(**changes)], gemm=True, sparse=True, index=True)
        assert logs["refused"].items == [code] and tasks == []

    def test_a_kernel_without_them(self):
        given = call(flags=CAUSAL | INDEX)
        _, logs = run([given])
        assert logs["refused"].items == [Code.KIND]
