import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.rtl.lane.numerics import Numerics
from qkloom.tb.attention import attention, compare
from qkloom.tb.exact import count_macs, exact_attention
from qkloom.tb.quantize import quantize
from qkloom.tb.tensors import default_tensors

# The lane's arithmetic once more, number by number in Python's own integers.


def rs(v, s):
    return (((v << 1) >> s) + 1) >> 1


def slow_p_max(p_width, stream_width):
    if p_width <= stream_width or p_width == 2 * stream_width:
        return 2**p_width - 1
    b = math.ceil(p_width / 2)
    high = min(2 ** (stream_width - 1) - 1, 2 ** (p_width - b))
    return min(2**p_width - 1, high * 2**b + 2**b // 2 - 1)


def slow_exp2(y, p_width, segments, fraction, stream_width):
    n, frac = y >> fraction, y & (1 << fraction) - 1
    if n > p_width + 1:
        return 0
    full = slow_p_max(p_width, stream_width) << 2
    rem_bits = fraction - int(math.log2(segments))
    i, rem = frac >> rem_bits, frac & (1 << rem_bits) - 1
    x0, x1 = i / segments, (i + 1) / segments
    y0, y1 = 2**-x0, 2**-x1
    dev = ((y0 + y1) / 2 - 2 ** -((x0 + x1) / 2)) / 2
    base, slope = math.floor(full * (y0 - dev) + 0.5), math.floor(full * (y0 - y1) + 0.5)
    return rs(base - rs(slope * rem, rem_bits), n + 2)


def slow_row(q, k, v, mantissa, shift, setting, tiles, sees):
    """Attend with one query; ``tiles`` are ranges of keys, ``sees(key)`` says which are visible."""
    fraction = setting[2]
    limit = (2**15 - 1) << fraction
    m, total, acc = -(2**15), 0, [0] * len(q)
    for tile in tiles:
        x = {}
        for key in filter(sees, tile):
            score = sum(a * b for a, b in zip(q, k[key], strict=True))
            x[key] = min(max(rs(score * mantissa, shift), -limit), limit)
        own = max([-(2**15), *((value + 2**fraction - 1) >> fraction for value in x.values())])
        new = max(m, own)
        old, s = min(new - m, 63), min(new - own, 63)
        p = {key: slow_exp2((own << fraction) - value, *setting) for key, value in x.items()}
        total = rs(total, old) + rs(sum(p.values()) << 4, s)
        acc = [
            rs(a, old) + rs(sum(p[key] * v[key][d] for key in p) << 4, s) for d, a in enumerate(acc)
        ]
        m = new
    if not total:
        return [0] * len(q)
    e = total.bit_length() - 1
    r = (2**35 - 1) // (total * 2**18 // 2**e)
    assert 2**16 <= r < 2**17
    aligned = [a * 2**18 // 2**e for a in acc]
    aligned = [min(max(a, -(2**26)), 2**26 - 1) for a in aligned]
    return [min(max((a * r + 2**18) >> 19, -(2**23)), 2**23 - 1) for a in aligned]


def slow_attention(q, k, v, mantissa, shift, n, *, block_rows, causal, q_start, block_mask=None):
    group = len(q) // len(k)
    out = np.zeros(q.shape, int)
    setting = n.p_width, n.segments, n.fraction, n.stream_width
    for head, i in np.ndindex(q.shape[:2]):
        tiles = []
        for block, first in enumerate(range(0, k.shape[1], block_rows)):
            if block_mask is None or block_mask[i // block_rows][block]:
                stop = min(first + block_rows, k.shape[1])
                tiles += [range(t, min(t + n.size, stop)) for t in range(first, stop, n.size)]
        out[head, i] = slow_row(
            q[head, i].tolist(),
            k[head // group].tolist(),
            v[head // group].tolist(),
            mantissa[head],
            shift[head],
            setting,
            tiles,
            (lambda key, last=q_start + i: key <= last) if causal else (lambda key: True),
        )
    return out


@st.composite
def calls(draw):
    stream_width, stationary_width = draw(st.sampled_from(list(product((8, 4), repeat=2))))
    n = Numerics(
        size=(size := draw(st.sampled_from([1, 2, 4]))),
        head_dim=8,
        tokens=32,
        stream_width=stream_width,
        stationary_width=stationary_width,
        p_width=draw(st.sampled_from(Numerics.p_widths(stream_width))),
        segments=draw(st.sampled_from([4, 8, 16, 32, 64])),
        fraction=draw(st.integers(6, 12)),
    )
    kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    n_q, n_kv = draw(st.integers(1, 6)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    end, k_end = 1 << stream_width - 1, 1 << stationary_width - 1
    spread = draw(st.sampled_from([1, -(-end // 4), end]))  # even rows, peaks, full range
    head_dim = draw(st.integers(1, 8))
    q = rng.integers(-spread, spread, size=(kv_heads * group, n_q, head_dim)).astype(np.int8)
    k, v = rng.integers(-k_end, k_end, size=(2, kv_heads, n_kv, head_dim)).astype(np.int8)
    mantissa = rng.integers(0, 1 << 17, size=len(q)).tolist()
    shift = rng.integers(draw(st.sampled_from([4, 12])), 26, size=len(q)).tolist()
    block_rows = size * draw(st.integers(1, 3))
    options = {
        "block_rows": block_rows,
        "causal": draw(st.booleans()),
        "q_start": draw(st.integers(-3, 14)),
    }
    if draw(st.booleans()):
        blocks = -(-n_q // block_rows), -(-n_kv // block_rows)
        options["block_mask"] = rng.random(blocks) < 0.6
    return (q, k, v, mantissa, shift, n), options


@settings(max_examples=300, deadline=None, derandomize=True)
@given(calls())
def test_equals_the_specification(call):
    arguments, options = call
    fast = exact_attention(*arguments, **options)
    assert fast.tolist() == slow_attention(*arguments, **options).tolist()


EXTREME = Numerics(size=4, head_dim=8, tokens=64, p_width=16, segments=8, fraction=10)


@pytest.mark.parametrize("p_width", [7, 8, 14, 15, 16])
def test_all_equal_is_the_mean(p_width):
    n = Numerics(size=4, head_dim=8, tokens=64, p_width=p_width)
    q = np.full((1, 3, 8), -128, np.int8)
    v = np.full((1, 64, 8), -128, np.int8)
    out = exact_attention(q, q[:, :1].repeat(64, 1), v, [1 << 16], [16], n, block_rows=8)
    # The reciprocal never rounds up, so the mean of equals may lack 2**-16 of itself.
    assert (abs(out + (128 << 16)) <= 128 + 1).all()
    v[0, ::2] = 127
    out = exact_attention(q, q[:, :1].repeat(64, 1), v, [1 << 16], [16], n, block_rows=8)
    assert (abs(out / 2**16 + 0.5) <= 2**-15).all()


def test_single_key_is_its_value():
    v = np.arange(-128, 128, 32, dtype=np.int8).reshape(1, 1, 8)
    q = np.full((1, 2, 8), 127, np.int8)
    for mantissa, shift in ((0, 0), (1 << 16, 63), ((1 << 17) - 1, 4)):
        out = exact_attention(q, -q[:, :1], v, [mantissa], [shift], EXTREME, block_rows=4)
        assert (abs(out / 2**16 - v) <= abs(v.astype(int)) * 2**-16 + 2**-17).all()


def test_nothing_to_attend_to_gives_zeros():
    q = np.full((1, 6, 8), 127, np.int8)
    factor = {"mantissa": [1 << 16], "shift": [20]}
    options = {**factor, "numerics": EXTREME, "block_rows": 4}
    assert not exact_attention(q, q, q, **options, causal=True, q_start=-6).any()
    out = exact_attention(q, q, q, **options, causal=True, q_start=-2)
    assert not out[:, :2].any() and out[:, 2:].all()
    mask = np.array([[False, False], [False, True]])
    out = exact_attention(q, q, q, **options, block_mask=mask)
    assert not out[:, :4].any() and out[:, 4:].all()


def test_blocks_of_rows_and_batches_do_not_matter(monkeypatch):
    o = quantize(*np.random.default_rng(3).normal(size=(3, 2, 3, 40, 8)), EXTREME)
    arguments = o.q, o.k, o.v, o.mantissa, o.shift, EXTREME
    whole = exact_attention(*arguments, block_rows=8, causal=True)
    first = exact_attention(*(x[0] for x in arguments[:5]), EXTREME, block_rows=40, causal=True)
    assert (whole[0] == first).all()
    monkeypatch.setattr("qkloom.tb.exact._ROWS", 7)
    assert (exact_attention(*arguments, block_rows=8, causal=True) == whole).all()


def test_wrong_inputs():
    x = np.ones((1, 65, 8), np.int8)
    with pytest.raises(TypeError, match=r"^K must be an int8 array, not float64$"):
        exact_attention(x, x * 1.0, x, [1], [1], EXTREME, block_rows=8)
    with pytest.raises(ValueError, match=r"^Tokens must be at most 64, not 65$"):
        exact_attention(x, x, x, [1], [1], EXTREME, block_rows=8)
    with pytest.raises(ValueError, match=r"^Block_rows must be a positive integer, not 0$"):
        exact_attention(x[:, :9], x[:, :9], x[:, :9], [1], [1], EXTREME, block_rows=0)
    n = Numerics(size=4, head_dim=8, tokens=65, p_width=14, stationary_width=4)
    for name, k, v in (("K", x * 8, x), ("V", x, x * -9)):
        message = rf"^{name} must hold numbers of 4 bits, -8 to 7, not -?[89]; quantize it to 4 "
        with pytest.raises(ValueError, match=message):
            exact_attention(x * 100, k, v, [1], [1], n, block_rows=8)
    n = Numerics(size=4, head_dim=8, tokens=65, p_width=8, stream_width=4)
    with pytest.raises(ValueError, match=r"^Q must hold numbers of 4 bits, -8 to 7, not 100; "):
        exact_attention(x * 100, x * 100, x, [1], [1], n, block_rows=8)
    wide = np.ones((1, 2, 9), np.int8)
    with pytest.raises(ValueError, match=r"^Head_dim must be at most 8, not 9$"):
        exact_attention(wide, wide, wide, [1], [1], EXTREME, block_rows=8)


# Counts


def slow_counts(shape, n, block_rows, causal, q_start):
    slots = useful = 0
    for start in range(0, shape.n_q, block_rows):
        rows = range(start, min(start + block_rows, shape.n_q))
        seen = min(shape.n_kv, q_start + rows[-1] + 1) if causal else shape.n_kv
        keys = min(shape.n_kv, math.ceil(max(seen, 1) / n.size) * n.size)
        slots += len(rows) * keys * shape.head_dim * (1 + n.digits)
        for i in rows:
            see = min(shape.n_kv, max(0, q_start + i + 1)) if causal else shape.n_kv
            useful += 2 * shape.head_dim * see
    return shape.batch * shape.heads * slots, shape.batch * shape.heads * useful


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("p_width", [8, 15])
def test_counts(p_width, causal):
    n = Numerics(size=4, head_dim=8, tokens=64, p_width=p_width)
    for n_q, n_kv, q_start in (
        (1, 1, 0),
        (9, 13, 0),
        (16, 16, 0),
        (5, 30, 21),
        (6, 9, -8),
        (8, 3, 4),
    ):
        shape = quantize(np.ones((2, 4, n_q, 8)), *np.ones((2, 2, 2, n_kv, 8)), n).shape
        for block in (4, 8, 12):
            counts = count_macs(shape, n, block_rows=block, causal=causal, q_start=q_start)
            expected = slow_counts(shape, n, block, causal, q_start)
            assert (counts.slots, counts.useful) == expected
            assert counts.useful <= counts.slots * 2 / (1 + n.digits)


def test_counts_of_a_block_mask():
    n = Numerics(size=4, head_dim=8, tokens=64, p_width=8)
    shape = quantize(np.ones((1, 16, 8)), *np.ones((2, 1, 18, 8)), n).shape
    mask = np.array([[1, 0, 1], [0, 0, 0]], bool)
    counts = count_macs(shape, n, block_rows=8, block_mask=mask)
    # Block 0 takes 8 + 2 keys; block 1 sees nothing and takes one key tile.
    assert counts.slots == 2 * 8 * (8 * 10 + 8 * 4)
    assert counts.useful == 2 * 8 * 8 * 10
    counts = count_macs(shape, n, block_rows=8, block_mask=mask, causal=True)
    assert counts.slots == 2 * 8 * (8 * 8 + 8 * 4)
    assert counts.useful == 2 * 8 * 36
    full = count_macs(shape, n, block_rows=8, block_mask=np.ones((2, 3), bool))
    assert full == count_macs(shape, n, block_rows=8)


# Against float64


@pytest.mark.parametrize("n_tokens", [27, 128, 512])
@pytest.mark.parametrize("causal", [False, True])
def test_default_is_accurate_on_a_real_layer(n_tokens, causal):
    n = Numerics(size=16, head_dim=32, tokens=512)
    o = quantize(*default_tensors().take_tokens(n_tokens), n)
    raw = exact_attention(o.q, o.k, o.v, o.mantissa, o.shift, n, block_rows=128, causal=causal)
    out, reference = o.dequantize(raw), attention(*o.floats(), causal=causal)
    for head in range(12):
        error = compare(out[head], reference[head])
        assert error.rms_relative <= 5e-4
        assert error.max_abs <= 0.1 * o.v_scale[head]


@pytest.mark.parametrize(
    ("stream_width", "stationary_width", "p_width"),
    [(8, 4, 8), (8, 4, 14), (4, 8, 4), (4, 8, 7), (4, 4, 5), (4, 4, 8)],
)
def test_narrow_operands_are_accurate_on_a_real_layer(stream_width, stationary_width, p_width):
    widths = {"stream_width": stream_width, "stationary_width": stationary_width}
    n = Numerics(size=16, head_dim=32, tokens=512, p_width=p_width, **widths)
    o = quantize(*default_tensors().take_tokens(128), n)
    raw = exact_attention(o.q, o.k, o.v, o.mantissa, o.shift, n, block_rows=128, causal=True)
    out, reference = o.dequantize(raw), attention(*o.floats(), causal=True)
    for head in range(12):
        # What the segments of 2**-x cost, and what rounding the probabilities does.
        assert compare(out[head], reference[head]).rms_relative <= 5e-4 + 4 * 2**-p_width
