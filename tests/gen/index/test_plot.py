"""The picture of an index, read back: panels, words, and the colour of each block."""

import base64
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from typing import Any

import numpy as np
import pytest

import qkloom
from qkloom.gen.index import Index
from qkloom.gen.index.plot import draw_index
from qkloom.tb.tensors import Tensors

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def found(chip: qkloom.Chip, tensors: Tensors) -> Index:
    return chip.index(tensors.q, tensors.k)


def pixels(image: ElementTree.Element) -> Any:
    """Return the pixels (rows, columns, 3) of an image in a picture."""
    data = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size :][:4]) == (zlib.crc32(kind + body),)
        chunks[kind], place = body, place + 12 + size
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, -1)
    assert (lines[:, 0] == 0).all()
    return lines[:, 1:].reshape(rows, columns, 3).astype(int)


def test_panels(found: Index) -> None:
    root = ElementTree.fromstring(draw_index(found))
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words[0] == "u280-tiny, coverage: 512 tokens in blocks of 16"
    for row in found.heads:
        assert f"head {row.head}: {row.pattern}" in words
        assert f"covered {row.covered_mass:.1%}, density {row.density:.1%}" in words
    for word in ("selected", "left out", "block of keys", "31", "0.01%", "100%"):
        assert word in words
    panels = [image for image in root.iter(f"{SVG}image") if image.attrib["width"] != "200"]
    assert len(panels) == 4
    places = {(image.attrib["x"], image.attrib["y"]) for image in panels}
    assert len(places) == 4
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for image in panels:
        for at, side, most in (("x", "width", width), ("y", "height", height)):
            assert 0 < float(image.attrib[at]) < most - float(image.attrib[side])


def test_blocks(found: Index) -> None:
    root = ElementTree.fromstring(draw_index(found))
    for number, image in enumerate(list(root.iter(f"{SVG}image"))[:4]):
        shown, mask = pixels(image), found.selection[number]
        causal = np.tril(np.ones((32, 32), bool))
        red, _, blue = np.moveaxis(shown, 2, 0)
        assert (shown[~causal] == 255).all()
        assert (red[mask] > blue[mask]).all()
        assert (red < blue)[causal & ~mask].all()
        # The more attention, the darker.
        for chosen in (mask, causal & ~mask):
            order = np.argsort(found.attended[number][chosen])
            assert (np.diff(shown.sum(axis=2)[chosen][order]) <= 2).all()


def test_outlines(found: Index) -> None:
    root = ElementTree.fromstring(draw_index(found))
    for path, mask in zip(root.iter(f"{SVG}path"), found.selection, strict=True):
        across, down = np.zeros((33, 32), int), np.zeros((32, 33), int)
        for piece in path.attrib["d"].split("M")[1:]:
            axis = "H" if "H" in piece else "V"
            start, end = piece.split(axis)
            x, y = map(int, start.split())
            if axis == "H":
                across[y, x : int(end)] += 1
            else:
                down[y : int(end), x] += 1
        padded = np.pad(mask, 1)
        assert (across == (padded[:-1, 1:-1] != padded[1:, 1:-1])).all()
        assert (down == (padded[1:-1, :-1] != padded[1:-1, 1:])).all()


@pytest.mark.parametrize("tokens", [9, 17])
def test_few_blocks(chip: qkloom.Chip, tensors: Tensors, tokens: int) -> None:
    found = chip.index(tensors.q[:1, :tokens], tensors.k[:1, :tokens], method="dense")
    root = ElementTree.fromstring(draw_index(found))
    image = next(root.iter(f"{SVG}image"))
    assert pixels(image).shape == (-(-tokens // 16), -(-tokens // 16), 3)


def test_many_heads_and_many_blocks(chip: qkloom.Chip, tensors: Tensors) -> None:
    wide = chip.description.replace(tokens=2560, block=8)
    q, k = (np.tile(x[:1], (9, 5, 1)) for x in (tensors.q, tensors.k))
    found = qkloom.load(wide).index(q[:, :1040], k[:, :1040], method="window")
    root = ElementTree.fromstring(draw_index(found))
    assert len(list(root.iter(f"{SVG}image"))) == 9 + 2
    assert list(root.iter(f"{SVG}path")) == []  # outlines would be all that one sees
