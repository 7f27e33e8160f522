import json
import re
import struct
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkloom.tb.tensors import (
    InputError,
    SafeTensors,
    Shape,
    as_tensors,
    check_shapes,
    default_tensors,
    load_array,
    load_tensors,
    write_npz,
)

RNG = np.random.default_rng(7)
Q = RNG.normal(size=(4, 6, 8)).astype(np.float16)
K, V = RNG.normal(size=(2, 2, 5, 8)).astype(np.float16)
QKV = {"q": Q, "k": K, "v": V}


def raised(message, function, *args, **kwargs):
    with pytest.raises(InputError, match=message):
        function(*args, **kwargs)


def save_safetensors(path, arrays, *, change=None):
    """Write the format by hand; ``arrays`` maps a name to (element type, shape, bytes)."""
    header, body = {"__metadata__": {"format": "np"}}, b""
    for name, (dtype, shape, data) in arrays.items():
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        body += data
    if change:
        change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def as_f16(arrays):
    return {name: ("F16", x.shape, x.tobytes()) for name, x in arrays.items()}


class TestTensors:
    def test_extract(self):
        tensors = default_tensors()
        assert [x.shape for x in tensors] == [(12, 512, 32)] * 3
        assert [x.dtype for x in tensors] == [np.float32] * 3
        scores = tensors.q @ tensors.k.transpose(0, 2, 1) / np.sqrt(32)
        assert 79 < scores.max() < 80

    def test_heads(self):
        tensors = as_tensors(Q, K, V)
        assert tensors.group == 2
        q, k, v = tensors.take_heads(2, 4)
        assert (q == Q[2:]).all() and (k == K[1:]).all() and (v == V[1:]).all()
        q, k, _ = tensors.take_heads(3, 4)
        assert (q == Q[3:]).all() and (k == K[1:]).all()
        raised(r"^Heads must be a range within 0:4, not 4:5$", tensors.take_heads, 4, 5)
        raised(r"^Heads must be whole groups .* not 1:3; .* 2 query", tensors.take_heads, 1, 3)

    def test_heads_of_batches(self):
        q, k, _ = as_tensors(np.stack([Q] * 3), np.stack([K] * 3), np.stack([V] * 3)).take_heads(
            0, 2
        )
        assert q.shape == (3, 2, 6, 8) and k.shape == (3, 1, 5, 8)

    def test_tokens(self):
        tensors = as_tensors(Q, K, V)
        assert [x.shape for x in tensors.take_tokens(5)] == [(4, 5, 8), (2, 5, 8), (2, 5, 8)]
        raised(r"^Tokens must be 1 to 5, .*, not 6; take fewer", tensors.take_tokens, 6)
        raised(r"^Tokens must be 1 to 5, .*, not 0; ", tensors.take_tokens, 0)


class TestAsTensors:
    def test_kinds_of_numbers(self):
        tensors = as_tensors(Q.astype(np.float16), np.ones(K.shape, np.int16), V)
        assert [x.dtype for x in tensors] == [np.float32] * 3

    def test_what_float32_would_not_hold_is_float64(self):
        tensors = as_tensors(Q * np.float64(1e-50), np.full(K.shape, (1 << 24) + 1), V)
        assert [x.dtype for x in tensors] == [np.float64, np.float64, np.float32]
        assert (tensors.q == Q * np.float64(1e-50)).all()
        assert (tensors.k == (1 << 24) + 1).all()
        assert as_tensors(Q.tolist(), K, V).q.dtype == np.float64

    def test_float64_when_asked_for(self):
        third = Q / np.float64(3)
        q, k, _ = as_tensors(third, K, V, dtype=np.float64)
        assert (q.dtype, k.dtype) == (np.float64, np.float64)
        assert (q == third).all()

    def test_dlpack_only(self):
        class Foreign:
            def __dlpack__(self, **options):
                return Q.__dlpack__(**options)

            def __dlpack_device__(self):
                return Q.__dlpack_device__()

        assert (as_tensors(Foreign(), K, V).q == Q).all()

    @pytest.mark.parametrize(
        ("q", "k", "v", "rule"),
        [
            (Q[0], K[0], V[0], "q, k and v must be .heads, tokens, head_dim. or .batch"),
            (Q[None], K, V, "q, k and v must be .heads, tokens, head_dim. or .batch"),
            (Q[:, :0], K, V, "q, k and v must not be empty"),
            (Q, K, V[:, :4], "k and v must have the same shape"),
            (Q[..., :4], K, V, "q and k must have the same head_dim"),
            (Q[None], np.stack([K] * 2), np.stack([V] * 2), "q and k must have the same batch"),
            (Q[:3], K, V, "query heads must be a multiple of KV heads"),
        ],
    )
    def test_shapes(self, q, k, v, rule):
        found = re.escape(f"found q {q.shape}, k {k.shape}, v {v.shape}")
        raised(f"^The input: {rule}.*; {found}$", as_tensors, q, k, v)

    def test_sizes(self):
        q, k = np.ones((5, 6, 4, 8)), np.ones((5, 3, 7, 8))
        shape = check_shapes(q, k, k)
        assert shape == Shape(batch=5, heads=6, kv_heads=3, n_q=4, n_kv=7, head_dim=8)
        assert shape.group == 2
        assert check_shapes(q[0], k[0], k[0]).batch == 1

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, bad):
        k = K.copy()
        k[1, 2, 3] = bad
        message = rf"^The input: k must be finite .* 1 of 80 .* first {bad} at \(1, 2, 3\)"
        raised(message, as_tensors, Q, k, V)

    def test_too_large(self):
        in_float32 = partial(as_tensors, dtype=np.float32)
        raised(r"^The input: v must be finite in float32", in_float32, Q, K, V * np.float64(1e300))

    @pytest.mark.parametrize("bad", [Q.astype(complex), Q.astype(str), np.array(None), Q > 0])
    def test_no_numbers(self, bad):
        raised(r"^The input: q must hold real numbers, not .*; convert", as_tensors, bad, K, V)

    def test_ragged(self):
        raised(r"^The input: q must be an array .*; convert", as_tensors, [[1], [1, 2]], K, V)


class TestLoad:
    def test_npz(self, tmp_path):
        np.savez_compressed(tmp_path / "a.npz", **QKV, other=np.arange(3))
        for found, given_ in zip(load_tensors(tmp_path / "a.npz"), QKV.values(), strict=True):
            assert (found == given_).all()

    def test_layers(self, tmp_path):
        path = tmp_path / "a.npz"
        layers = {f"layers.{i}.{n}": x + i for i in (3, 11) for n, x in QKV.items()}
        np.savez(path, **layers)
        assert (load_tensors(path, 11).v == V + 11).all()
        raised(r"^.*a.npz must hold one layer .* layers 3, 11; choose", load_tensors, path)
        raised(
            r"must hold layers.4.q, .*, and lacks .* it holds layers.3.q,", load_tensors, path, 4
        )
        np.savez(path, **{name: x for name, x in layers.items() if "11" in name})
        assert (load_tensors(path).q == Q + 11).all()

    def test_missing_keys(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, q=Q, keys=K)
        message = r"a.npz must hold q, k, v, and lacks k, v; it holds q, keys: rename"
        raised(message, load_tensors, path)
        np.savez(path, **{f"x{i}": Q for i in range(30)})
        raised(r"it holds x0, .*, x11 and 18 more: rename", load_tensors, path)
        np.savez(path)
        raised(r"it holds nothing: rename", load_tensors, path)

    def test_wrong_files(self, tmp_path):
        raised(r"none.npz must be an existing file .*; check", load_tensors, tmp_path / "none.npz")
        raised(r"must be a file with tensors, and is a folder; name", load_tensors, tmp_path)
        (tmp_path / "a.pt").touch()
        raised(r"a.pt must end in .npz or .safetensors; save", load_tensors, tmp_path / "a.pt")
        with (tmp_path / "b.npz").open("wb") as file:
            np.save(file, Q)
        raised(r"b.npz must be an archive of arrays; save", load_tensors, tmp_path / "b.npz")
        np.savez(tmp_path / "c.npz", q=np.array([{}], dtype=object), k=K, v=V)
        message = r"c.npz must hold arrays of numbers, not of Python objects; save it as float32$"
        raised(message, load_tensors, tmp_path / "c.npz")

    def test_values_are_checked(self, tmp_path):
        np.savez(tmp_path / "a.npz", q=Q, k=K[..., :4], v=V)
        raised(r"^.*a.npz: k and v must have the same shape", load_tensors, tmp_path / "a.npz")

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_any_cut_of_an_archive(self, tmp_path, save):
        save(tmp_path / "a.npz", **QKV)
        whole = (tmp_path / "a.npz").read_bytes()
        for size in [*range(0, len(whole), 61), len(whole) - 1]:
            (tmp_path / "b.npz").write_bytes(whole[:size])
            raised(r"b.npz must be a", load_tensors, tmp_path / "b.npz")

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.data())
    def test_any_damage_to_an_archive(self, tmp_path_factory, data):
        path = tmp_path_factory.getbasetemp() / "damaged.npz"
        write_npz(path, QKV)
        raw = bytearray(path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
            raw[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(raw)
        try:
            load_tensors(path)
        except InputError as error:
            assert "\n" not in str(error)

    def test_a_single_array(self, tmp_path):
        mask = np.eye(3, dtype=bool)
        np.save(tmp_path / "mask.npy", mask)
        np.savez(tmp_path / "mask.npz", any_name=mask)
        for name in ("mask.npy", "mask.npz"):
            found = load_array(tmp_path / name)
            assert found.dtype == np.bool_ and (found == mask).all()

    def test_no_single_array(self, tmp_path):
        (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
        np.savez(tmp_path / "two.npz", a=np.ones(1), b=np.ones(1))
        np.save(tmp_path / "objects.npy", np.array([{}]))
        for name, rule in {
            "mask.txt": "must end in .npy or .npz; save the array with numpy.save",
            "none.npy": "must be an existing file with an array; check the path",
            "bad.npy": "must be a readable, whole .npy file: ",
            "two.npz": "must hold one array, not 2 (a, b); save it with numpy.save",
            "objects.npy": "must hold arrays of numbers, not of Python objects",
        }.items():
            with pytest.raises(InputError, match="^" + re.escape(f"{tmp_path / name} {rule}")):
                load_array(tmp_path / name)

    def test_archive_depends_on_arrays_alone(self, tmp_path):
        write_npz(tmp_path / "a.npz", QKV)
        with zipfile.ZipFile(tmp_path / "a.npz") as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert (load_tensors(tmp_path / "a.npz").k == K).all()
        assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]

    def test_archive_is_whole_or_not_there(self, tmp_path):
        message = r"none.a.npz must be a file that can be written: No such file .*; choose"
        raised(message, write_npz, tmp_path / "none/a.npz", QKV)
        (tmp_path / "a.npz").mkdir()
        (tmp_path / "file").touch()
        raised(r"must be a file that can be written", write_npz, tmp_path / "file/a.npz", QKV)
        raised(r"must be a file that can be written", write_npz, tmp_path / "a.npz", QKV)
        with pytest.raises(ValueError, match="Object arrays"):
            write_npz(tmp_path / "b.npz", QKV | {"x": np.array([None])})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "file"]


class TestSafeTensors:
    def test_element_types(self, tmp_path):
        bf16 = (Q.astype(np.float32).view(np.uint32) >> 16).astype("<u2")
        arrays = {
            "q": ("BF16", Q.shape, bf16.tobytes()),
            "k": ("F16", K.shape, K.tobytes()),
            "v": ("F32", V.shape, V.astype("<f4").tobytes()),
        }
        q, k, v = load_tensors(save_safetensors(tmp_path / "a.safetensors", arrays))
        assert (k == K).all() and (v == V).all()
        assert (q.view(np.uint32) == bf16.astype(np.uint32) << 16).all()
        assert np.allclose(q, Q, rtol=2**-7)

    def test_mapping(self, tmp_path):
        arrays = as_f16({"layers.2.q": Q, "layers.2.k": K, "layers.2.v": V})
        arrays |= {"empty": ("F32", (0, 3), b""), "bits": ("F8_E4M3", (3,), b"abc")}
        path = save_safetensors(tmp_path / "a.safetensors", arrays)
        file = SafeTensors(path)
        assert list(file) == list(arrays) and len(file) == 5
        assert file["empty"].shape == (0, 3)
        raised(
            r"'bits' must have an element type of BF16, .*, not F8_E4M3; convert", file.get, "bits"
        )
        assert (load_tensors(path).q == Q).all()
        raised(r"must hold q, k, v, and lacks q, k, v", load_tensors, self.plain(tmp_path))

    def plain(self, folder: Path):
        return save_safetensors(folder / "b.safetensors", as_f16({"a": Q}))

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            (lambda h: h["q"].pop("dtype"), "'q' must have a dtype, a shape and two data_offsets"),
            (lambda h: h["q"].update(shape=[4, -6, 8]), "'q' must have a dtype"),
            (lambda h: h["q"].update(shape=[True, 6, 8]), "'q' must have a dtype"),
            (lambda h: h["q"].update(shape=[4, 6, 9]), "'q' must take 432 bytes"),
            (lambda h: h["q"].update(data_offsets=[384, 0]), "'q' must take 384 bytes"),
            (lambda h: h["k"].update(data_offsets=[0, 160]), "'q' must begin at byte 160, not 0"),
            (lambda h: h.pop("v"), "the arrays must fill the file"),
        ],
    )
    def test_header(self, tmp_path, change, rule):
        path = save_safetensors(tmp_path / "a.safetensors", as_f16(QKV), change=change)
        message = f"a.safetensors must be a whole safetensors file: .*{rule}.*; write"
        raised(message, load_tensors, path)

    @pytest.mark.parametrize("text", [b"[]", b"{", b"\xff{}", b"[" * 100_000])
    def test_no_header(self, tmp_path, text):
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        raised(r"the header must be (a )?JSON", load_tensors, tmp_path / "a.safetensors")

    def test_any_cut(self, tmp_path):
        whole = save_safetensors(tmp_path / "a.safetensors", as_f16(QKV)).read_bytes()
        for size in [*range(0, len(whole), 7), len(whole) - 1]:
            (tmp_path / "b.safetensors").write_bytes(whole[:size])
            raised(r"must be a whole safetensors file", load_tensors, tmp_path / "b.safetensors")
