"""Query, key and value tensors: read from a file, checked once, cut to size."""

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .files import explained, written_aside

__all__ = [
    "InputError",
    "SafeTensors",
    "Shape",
    "Tensors",
    "as_tensors",
    "check_shapes",
    "default_tensors",
    "load_array",
    "load_tensors",
    "write_npz",
]

Array = npt.NDArray[Any]

LETTERS = ("q", "k", "v")
SHOWN_NAMES = 12  # a checkpoint holds hundreds: a message lists this many


class Shape(NamedTuple):
    """Sizes of an attention call.

    Members
    -------
    batch : int
        Sequences; 1 for inputs without that axis.
    heads, kv_heads : int
        Query heads, and heads of K and V. Query head ``h`` uses KV head ``h // group``.
    n_q, n_kv : int
        Tokens of Q, and of K and V.
    head_dim : int
        Elements of a token in one head.
    """

    batch: int
    heads: int
    kv_heads: int
    n_q: int
    n_kv: int
    head_dim: int

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return self.heads // self.kv_heads


class Tensors(NamedTuple):
    """Checked inputs of one attention call: in float32, or float64 what that would not hold.

    Members
    -------
    q : array
        Queries, (heads, tokens, head_dim) or (batch, heads, tokens, head_dim).
    k, v : array
        Keys and values; they may have fewer heads than ``q`` and another number of tokens.
    """

    q: Array
    k: Array
    v: Array

    @property
    def group(self) -> int:
        """Query heads per KV head."""
        return int(self.q.shape[-3] // self.k.shape[-3])

    def take_heads(self, start: int, stop: int) -> "Tensors":
        """Return the query heads ``start`` to ``stop - 1`` and the KV heads that serve them.

        Raises
        ------
        InputError
            When there are no such heads, or they are neither whole groups nor part of one.
        """
        n_heads, group = self.q.shape[-3], self.group
        if not 0 <= start < stop <= n_heads:
            raise InputError(f"Heads must be a range within 0:{n_heads}, not {start}:{stop}")
        first, last = start // group, (stop - 1) // group
        if first != last and (start % group or stop % group):
            raise InputError(
                f"Heads must be whole groups or part of one, not {start}:{stop}; "
                f"each KV head serves {group} query heads: use multiples of {group}"
            )
        k, v = (x[..., first : last + 1, :, :] for x in (self.k, self.v))
        return Tensors(self.q[..., start:stop, :, :], k, v)

    def take_tokens(self, n_tokens: int) -> "Tensors":
        """Return the first ``n_tokens`` queries, keys and values.

        Raises
        ------
        InputError
            When there are fewer.
        """
        n_most = min(self.q.shape[-2], self.k.shape[-2])
        if not 1 <= n_tokens <= n_most:
            raise InputError(
                f"Tokens must be 1 to {n_most}, as many as the tensors have, not {n_tokens}; "
                "take fewer, or longer tensors"
            )
        return Tensors(*(x[..., :n_tokens, :] for x in self))


def as_tensors(
    q: Any, k: Any, v: Any, *, source: str = "The input", dtype: npt.DTypeLike | None = None
) -> Tensors:
    """Check three arrays that belong together, and return them as floating point.

    Parameters
    ----------
    q, k, v : array, or anything with ``__array__`` or ``__dlpack__``
        As in :class:`Tensors`, floating point or integer.
    source : str
        Where they come from, for the messages.
    dtype : dtype, optional
        What all of them become; by default float32, and float64 what has more bits than that.

    Raises
    ------
    InputError
        When something is not a number, NaN or infinite, or when the shapes do not fit together.
    """
    names = (f"{source}: {letter}" for letter in LETTERS)
    q, k, v = (_as_floats(x, n, dtype) for n, x in zip(names, (q, k, v), strict=True))
    check_shapes(q, k, v, source=source)
    return Tensors(q, k, v)


def check_shapes(q: Array, k: Array, v: Array, *, source: str = "The input") -> Shape:
    """Return the sizes of an attention call.

    Raises
    ------
    InputError
        When the shapes do not fit together.
    """
    found = f"found q {q.shape}, k {k.shape}, v {v.shape}"

    def require(holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(f"{source}: {rule}; {found}")

    require(
        q.ndim == k.ndim == v.ndim and q.ndim in (3, 4),
        "q, k and v must be (heads, tokens, head_dim) or (batch, heads, tokens, head_dim)",
    )
    require(min(q.size, k.size, v.size) > 0, "q, k and v must not be empty")
    require(k.shape == v.shape, "k and v must have the same shape")
    require(q.shape[-1] == k.shape[-1], "q and k must have the same head_dim (last axis)")
    require(q.shape[:-3] == k.shape[:-3], "q and k must have the same batch size (first axis)")
    require(
        q.shape[-3] % k.shape[-3] == 0,
        "query heads must be a multiple of KV heads (third axis from the end)",
    )
    batch = q.shape[0] if q.ndim == 4 else 1
    return Shape(batch, q.shape[-3], k.shape[-3], q.shape[-2], k.shape[-2], q.shape[-1])


def load_tensors(path: str | Path, layer: int | None = None) -> Tensors:
    """Read the inputs of one attention call from a file.

    Parameters
    ----------
    path : path
        A ``.npz`` archive or ``.safetensors`` file. It holds ``q``, ``k`` and ``v``, or
        ``layers.L.q`` and so on, one set per layer ``L``.
    layer : int, optional
        The layer; needed only where the file holds several.

    Raises
    ------
    InputError
        When the file is missing or damaged, lacks the tensors, or holds what
        :func:`as_tensors` refuses.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} must be a file with tensors, and is a folder; name a file in it")
    if not path.is_file():
        raise InputError(f"{path} must be an existing file with tensors; check the path")
    if path.suffix == ".npz":
        # Opened here, because NumPy leaves a file that it cannot read open.
        with _damage_explained(path), path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, Mapping):
                raise InputError(f"{path} must be an archive of arrays; save it with numpy.savez")
            arrays = _pick(path, archive, layer)
    elif path.suffix == ".safetensors":
        with _damage_explained(path):
            arrays = _pick(path, SafeTensors(path), layer)
    else:
        raise InputError(
            f"{path} must end in .npz or .safetensors; save the tensors with numpy.savez"
        )
    return as_tensors(*arrays, source=str(path))


def load_array(path: str | Path) -> Array:
    """Read a single array from a ``.npy`` file, or from a ``.npz`` archive with no other.

    Raises
    ------
    InputError
        When the file is missing, damaged, or holds another number of arrays.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        raise InputError(f"{path} must end in .npy or .npz; save the array with numpy.save")
    if not path.is_file():
        raise InputError(f"{path} must be an existing file with an array; check the path")
    with _damage_explained(path), path.open("rb") as file:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, Mapping):
            return np.asarray(found)
        if len(found) != 1:
            raise InputError(
                f"{path} must hold one array, not {len(found)} ({', '.join(found)}); "
                "save it with numpy.save"
            )
        return np.asarray(next(iter(found.values())))


def default_tensors() -> Tensors:
    """Return the extract that comes with the package: 12 heads, 512 tokens, head_dim 32."""
    with resources.as_file(resources.files(__package__) / "data" / "minilm.npz") as path:
        return load_tensors(path)


def write_npz(path: str | Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write arrays as an ``.npz`` archive, whole or not at all.

    The bytes depend on nothing but the arrays, which :func:`numpy.savez` does not promise.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    with (
        written_aside(path) as part,
        explained(path),
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, also when written on Windows
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, member.getvalue())


class SafeTensors(Mapping[str, Array]):
    """A ``.safetensors`` file as a mapping; arrays are mapped from the file when asked for.

    The format is an 8-byte length, a JSON header of that length, and the raw arrays without gaps.
    BF16, which NumPy lacks, is widened to float32.

    Parameters
    ----------
    path : Path
        The file; the whole header is checked at once.

    Raises
    ------
    InputError
        When the file does not follow the format, or an array of another element type is read.
    """

    LONGEST_HEADER = 100_000_000  # of the reference implementation

    SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "U16": 2, "I16": 2}
    SIZES |= {"F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}

    TYPES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}
    TYPES |= {"U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2"}
    TYPES |= {"U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8"}

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            self._require(
                size >= 8 and n_header <= min(size - 8, self.LONGEST_HEADER),
                f"the header's length must fit the file of {size} bytes, not be {n_header}",
            )
            header = self._parse(file.read(n_header))
        self._start = 8 + n_header
        header.pop("__metadata__", None)
        self._entries = {name: self._check(name, entry) for name, entry in header.items()}
        end = 0
        for name, (_, _, first, last) in sorted(self._entries.items(), key=lambda e: e[1][2:]):
            self._require(first == end, f"{name!r} must begin at byte {end}, not {first}")
            end = last
        self._require(
            size == self._start + end,
            f"the arrays must fill the file: {self._start + end} bytes, not {size}",
        )

    def __getitem__(self, name: str) -> Array:
        dtype, shape, first, last = self._entries[name]
        if dtype not in self.TYPES:
            known = ", ".join(self.TYPES)
            raise InputError(
                f"{self._path}: {name!r} must have an element type of {known}, not {dtype}; "
                "convert it"
            )
        if first == last:
            raw: Array = np.empty(shape, self.TYPES[dtype])
        else:
            offset = self._start + first
            raw = np.memmap(self._path, self.TYPES[dtype], mode="r", offset=offset, shape=shape)
        return (raw.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _parse(self, text: bytes) -> dict[str, Any]:
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            self._require(False, f"the header must be JSON: {error}")
        self._require(isinstance(header, dict), "the header must be a JSON object")
        return dict(header)

    def _check(self, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
        """Check one entry of the header: element type, shape, first byte, last byte + 1."""
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [first, last]}:
                counts = [*shape, first, last]
            case _:
                counts = [None]
        self._require(
            all(type(n) is int and n >= 0 for n in counts),
            f"{name!r} must have a dtype, a shape and two data_offsets, not {entry!r:.200}",
        )
        # An element type that is not known here cannot be read, and need not be measured.
        n_bytes = math.prod(shape) * self.SIZES[dtype] if dtype in self.SIZES else last - first
        self._require(
            last - first == n_bytes >= 0,
            f"{name!r} must take {n_bytes} bytes, as its {dtype} {shape}, not {last - first}",
        )
        return dtype, tuple(shape), first, last

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(
                f"{self._path} must be a whole safetensors file: {rule}; write or copy it again"
            )


def _pick(path: Path, archive: Mapping[str, Array], layer: int | None) -> list[Array]:
    """Read q, k and v of the layer, or of the only one there is."""
    layers = sorted(
        {int(m[1]) for m in map(re.compile(r"layers\.(\d+)\.[qkv]").fullmatch, archive) if m}
    )
    if layer is None and layers and not any(letter in archive for letter in LETTERS):
        if len(layers) > 1:
            raise InputError(
                f"{path} must hold one layer unless one is chosen, and holds layers "
                f"{', '.join(map(str, layers))}; choose one of them"
            )
        layer = layers[0]
    names = [letter if layer is None else f"layers.{layer}.{letter}" for letter in LETTERS]
    missing = [name for name in names if name not in archive]
    if missing:
        found = list(archive)
        listed = ", ".join(found[:SHOWN_NAMES]) or "nothing"
        more = f" and {len(found) - SHOWN_NAMES} more" if len(found) > SHOWN_NAMES else ""
        raise InputError(
            f"{path} must hold {', '.join(names)}, and lacks {', '.join(missing)}; "
            f"it holds {listed}{more}: rename them or choose a layer that is there"
        )
    return [archive[name] for name in names]


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one message.

    A truncated or altered archive fails in a dozen ways (bad zip file, bad checksum, unexpected
    end, broken array header, impossible size), all of them the same to a user.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if reason.startswith("Object arrays"):
            raise InputError(
                f"{path} must hold arrays of numbers, not of Python objects; save it as float32"
            ) from error
        raise InputError(
            f"{path} must be a readable, whole {path.suffix} file: {reason}; write or copy it again"
        ) from error


def _as_floats(value: Any, name: str, dtype: npt.DTypeLike | None) -> Array:
    """Return ``value`` as a finite array of floating point numbers."""
    wanted = np.dtype(np.float32 if dtype is None else dtype)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = np.from_dlpack(value)
        array = np.asarray(value)
    except Exception as error:  # raised by the library that the value comes from
        raise InputError(
            f"{name} must be an array in main memory that NumPy reads: {error}; "
            f"convert it to a {wanted} array"
        ) from error
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} must hold real numbers, not {array.dtype}; convert it to {wanted}"
        )
    if dtype is None and np.result_type(array, np.float32) != np.float32:
        wanted = np.dtype(np.float64)
    with np.errstate(over="ignore"):
        array = array.astype(wanted, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        where = np.argwhere(~finite)
        raise InputError(
            f"{name} must be finite in {wanted}, and {len(where)} of {array.size} values are not, "
            f"first {array[tuple(where[0])]} at {tuple(where[0].tolist())}; "
            "check what computed it"
        )
    return array
