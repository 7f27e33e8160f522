"""The task, and the two layers that answer it."""

import numpy as np
import pytest

from qkloom.tb.errors import InputError
from qkloom.tb.index.recall import Induction, dense_attend, recall
from qkloom.tb.quantize import quantize_heads


def small(**changes):
    return recall(**{"tokens": 1024, "questions": 64, "sources": 8, "block": 32, **changes})


def test_answers_follow_their_keys():
    task = small()
    text = task.tokens
    assert len(text) == 1024
    assert len(task.questions) == len(task.answers) == 64
    assert task.questions.tolist() == list(range(960, 1024))
    places = []
    for question, answer in zip(task.questions, task.answers, strict=True):
        (place,) = np.flatnonzero(text[:960] == text[question])  # no key twice
        assert text[place + 1] == answer < task.n_values <= text[place]
        places.append(place)
    assert len(set(places)) == 64
    assert len({place // 32 for place in places}) <= 8


def test_is_repeatable():
    np.testing.assert_array_equal(small().tokens, small().tokens)
    assert (small().tokens != small(seed=1).tokens).any()


@pytest.mark.parametrize("seed", range(3))
def test_the_first_layer_finds_the_token_before(seed):
    task = small(seed=seed)
    layers = Induction(task, seed=seed)
    for codes, k in zip(layers.codes, layers.k, strict=True):
        near = (k / np.sqrt(64)) @ codes.T
        assert (near.argmax(axis=1)[1:] == task.tokens[:-1]).all()
        assert near[np.arange(1, 1024), task.tokens[:-1]].min() > 0.98


@pytest.mark.parametrize("head_dim", [64, 128])
def test_dense_attention_answers(head_dim):
    task = small()
    layers = Induction(task, head_dim=head_dim)
    out = dense_attend(layers.q[:, 960:], layers.k, layers.v, q_start=960)
    assert layers.accuracy(out) > 0.98
    # A single head does most of it: what it attends to is the answer's code.
    answers = layers.codes[:, task.answers].repeat(2, axis=0)
    likeness = (out * answers).sum(axis=2) / np.linalg.norm(out, axis=2)
    assert np.median(likeness) > 0.95


def test_in_8_bits():
    task = small()
    layers = Induction(task)

    def attend(q, k, v, **given):
        rounded = [quantize_heads(np.asarray(x, float)) for x in (q, k, v)]
        return dense_attend(*(x * scale[:, None, None] for x, scale in rounded), **given)

    out = attend(layers.q[:, 960:], layers.k, layers.v, q_start=960)
    assert layers.accuracy(out) > 0.98
    assert Induction(task, attend=attend).accuracy(out) > 0.98


def test_nothing_seen_is_nothing_known():
    task = small()
    layers = Induction(task)
    mask = np.zeros((2, 32), bool)
    mask[:, 29] = True
    out = dense_attend(
        layers.q[:, 960:], layers.k, layers.v, q_start=960, block_mask=mask, block=32
    )
    seen = np.isin(task.tokens[task.questions], task.tokens[928:960])
    assert layers.accuracy(out) <= seen.mean() + 0.1
    assert layers.accuracy(np.zeros_like(out)) < 0.1


def test_heads_of_a_group_differ():
    layers = Induction(small())
    q = layers.q / np.linalg.norm(layers.q, axis=2, keepdims=True)
    assert 0.8 < np.median((q[0] * q[1]).sum(axis=1)) < 0.97
    assert abs(np.median((q[0] * q[2]).sum(axis=1))) < 0.1


def test_subjects():
    """Keys of one stretch have as much in common as is asked for."""
    for subject in (0.0, 0.3, 0.8):
        codes = Induction(small(), subject=subject).codes[0][512:]
        same = (codes[:32] @ codes[:32].T)[np.triu_indices(32, 1)]
        assert same.mean() == pytest.approx(subject, abs=0.06)
        means = codes.reshape(15, 32, 64).mean(axis=1)
        other = (means @ means.T)[np.triu_indices(15, 1)]
        assert other.mean() == pytest.approx(0, abs=0.06)


class TestForecasts:
    def test_oracle(self):
        layers = Induction(small())
        made = layers.forecasts()
        assert made.shape == (2, 64, 64)
        np.testing.assert_allclose(made[1], layers.q[2:, 960:].mean(axis=0), rtol=1e-6)

    @pytest.mark.parametrize("snr", [-10.0, 0.0, 20.0])
    def test_noise(self, snr):
        layers = Induction(small())
        oracle, made = layers.forecasts(), layers.forecasts(snr)
        ratio = (oracle**2).mean() / ((made - oracle) ** 2).mean()
        assert 10 * np.log10(ratio) == pytest.approx(snr, abs=0.2)
        assert (made != layers.forecasts(snr, seed=1)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 1000}, r"^tokens and questions must be whole blocks .* 1000 and 64 by 32$"),
        (
            {"block": 31},
            r"^tokens and questions must be whole blocks of an even number of tokens, ",
        ),
        ({"questions": 1024}, r"^questions must be 1 block or more of 1024 tokens, not 1024$"),
        ({"questions": 0}, r"^questions must be 1 block or more of 1024 tokens, not 0$"),
        ({"sources": 0}, r"^sources, n_values and stretch must be at least 1, not 0, 512 and 32$"),
        ({"sources": 3}, r"^3 blocks must hold 64 keys to ask for, not 48; take more sources "),
    ],
)
def test_refused(changes, message):
    with pytest.raises(InputError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, r"^kv_heads must divide heads, 3, not be 2$"),
        ({"head_dim": 16}, r"^head_dim must be at least 32, not 16$"),
        ({"subject": 1.5}, r"^subject must be 0 to 1, not 1\.5$"),
    ],
)
def test_layers_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Induction(small(), **changes)
