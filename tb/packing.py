"""Payloads as arrays: whole streams of structs in and out of packed words.

A packed payload is a row of little-endian 32-bit words, bit 0 of the payload in bit 0 of word 0. So
a stream of ``n`` payloads is one ``uint32`` array of shape ``(n, words)``, which is what the
simulation engines read and write.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import ArrayLike, NDArray

__all__ = ["Field", "Words", "fields_of", "n_words", "pack", "to_words", "unpack"]

Words = NDArray[np.uint32]

CHUNK = 32
"""Bits of a word."""


@dataclass(frozen=True)
class Field:
    """A number, or an array of equal numbers, in a payload.

    Members
    -------
    path : tuple of str
        Names that lead to it.
    offset, width : int
        First bit and number of bits; of element 0, if it is an array.
    is_signed : bool
        Whether the bits are two's complement.
    dims, strides : tuple of int
        Lengths of the array and bits from one element to the next, outer dimension first.
    """

    path: tuple[str, ...]
    offset: int
    width: int
    is_signed: bool
    dims: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The path, as people write it."""
        return ".".join(self.path) or "payload"

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest number."""
        low = -(1 << self.width - 1) if self.is_signed and self.width else 0
        return low, low + (1 << self.width) - 1

    @property
    def offsets(self) -> list[int]:
        """First bit of each element, the last dimension running fastest."""
        return [
            self.offset + sum(map(math.prod, zip(index, self.strides, strict=True)))
            for index in np.ndindex(self.dims)
        ]

    @property
    def byte_range(self) -> slice | None:
        """Where the elements are plain integers of memory, one after the other; None if not."""
        steps = [self.width * math.prod(self.dims[i + 1 :]) for i in range(len(self.dims))]
        if self.width not in (8, 16, 32, 64) or self.offset % 8 or steps != list(self.strides):
            return None
        return slice(self.offset // 8, (self.offset + self.width * math.prod(self.dims)) // 8)


def fields_of(shape: Any) -> list[Field]:
    """Return the numbers in a payload of ``shape``: a layout, a shape, or anything castable."""
    return list(_walk(shape, (), 0, (), ()))


def _walk(
    shape: Any, path: tuple[str, ...], offset: int, dims: tuple[int, ...], strides: tuple[int, ...]
) -> Iterator[Field]:
    layout = shape if isinstance(shape, data.Layout) else None
    if isinstance(shape, type) and issubclass(shape, data.Struct | data.Union):
        layout = data.Layout.cast(shape)
    if isinstance(layout, data.ArrayLayout):
        step = Shape.cast(layout.elem_shape).width
        yield from _walk(layout.elem_shape, path, offset, (*dims, layout.length), (*strides, step))
    elif layout is not None:
        for key, field in layout:
            yield from _walk(field.shape, (*path, str(key)), offset + field.offset, dims, strides)
    else:
        cast = Shape.cast(shape)
        yield Field(path, offset, cast.width, cast.signed, dims, strides)


def n_words(width: int) -> int:
    """Return the words of a payload of ``width`` bits."""
    return -(-width // CHUNK)


def pack(shape: Any, values: Any = None, /, **fields: Any) -> Words:
    """Pack a stream of payloads.

    ::

        layout = data.StructLayout({"row": data.ArrayLayout(I8, 16), "last": 1})
        words = pack(layout, row=rows, last=False)  # rows: integers, shape (n, 16)

    Parameters
    ----------
    shape : shape
        Of the payload.
    values : array, optional
        The payloads, when ``shape`` has no named fields.
    **fields
        Integers for each named field: an array with the payloads along its first axis, or what is
        equal in all payloads. Structs within are mappings. A fixed-point number is given in units
        of its last place, a float as its bits.

    Raises
    ------
    TypeError
        When a field is missing, unknown, or not of integers.
    ValueError
        When a number does not fit its field, or shapes disagree.
    """
    wanted = fields_of(shape)
    given: Any = fields if values is None else values
    if values is not None and fields:
        raise TypeError("Payloads are packed from one array or from named fields, not from both")
    _check_names(wanted, given)
    arrays = [_lookup(given, field) for field in wanted]
    lengths = {
        len(array)
        for field, array in zip(wanted, arrays, strict=True)
        if array.ndim > len(field.dims)
    }
    if len(lengths) > 1:
        raise ValueError(f"Fields must have equally many payloads, not {sorted(lengths)}")
    n = lengths.pop() if lengths else 1
    words = np.zeros((n, n_words(Shape.cast(shape).width)), np.dtype("<u4"))
    for field, array in zip(wanted, arrays, strict=True):
        _insert(words, field, np.broadcast_to(array, (n, *field.dims)))
    return words


def unpack(shape: Any, words: Words) -> Any:
    """Return the numbers in a stream of packed payloads.

    Parameters
    ----------
    shape : shape
        Of the payload.
    words : uint32 array (n, words)
        As :func:`pack` makes it.

    Returns
    -------
    array or dict
        An array if ``shape`` has no named fields, else a dict of the fields, of dicts for structs
        within. Payloads are along the first axis. ``int64``, or Python integers when a field has
        more than 63 bits.
    """
    rows = np.ascontiguousarray(words, np.dtype("<u4"))
    found: dict[str, Any] = {}
    for field in fields_of(shape):
        array = _extract(rows, field)
        if not field.path:
            return array
        *outer, last = field.path
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = array
    return found


def to_words(values: ArrayLike, width: int) -> Words:
    """Return packed payloads of ``width`` bits from words, or from one integer each.

    Raises
    ------
    ValueError
        When the array has another shape, or an integer more bits.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.dtype == np.uint32:
        if array.shape[1] != n_words(width):
            raise ValueError(
                f"A payload of {width} bits takes {n_words(width)} words, not {array.shape[1]}"
            )
        words = np.ascontiguousarray(array, np.dtype("<u4"))
        if width % CHUNK and (words[:, -1] >> np.uint32(width % CHUNK)).any():
            raise ValueError(f"Words of a payload must be 0 above its {width} bits")
        return words
    if array.ndim != 1:
        raise ValueError(f"Payloads are integers or rows of uint32 words, not {array.shape}")
    if not array.size:
        return np.zeros((0, n_words(width)), np.dtype("<u4"))
    # Bits are bits: an integer may be written as signed or as unsigned.
    low = -(1 << width - 1) if width else 0
    return pack_integers(array, Field((), 0, width, False), low)


def pack_integers(array: NDArray[Any], field: Field, low: int) -> Words:
    """Return one number per payload as words; numbers down to ``low`` are two's complement."""
    _check_range(array, field, low)
    words = np.zeros((len(array), n_words(field.width)), np.dtype("<u4"))
    _insert_bits(words, field.offset, field.width, array)
    return words


def _check_names(wanted: list[Field], given: Any, path: tuple[str, ...] = ()) -> None:
    """Refuse names that a level of the payload lacks."""
    here = [f for f in wanted if f.path[: len(path)] == path and len(f.path) > len(path)]
    names = {f.path[len(path)] for f in here}
    what = ".".join(path) or "The payload"
    if names and not isinstance(given, Mapping):
        raise TypeError(f"{what} has fields {sorted(names)}; give a mapping, not {type(given)}")
    if not names:
        if isinstance(given, Mapping):
            raise TypeError(f"{what} has no fields, so no {sorted(map(str, given))}")
        return
    for problem, some in (("lacks", names - given.keys()), ("has no", given.keys() - names)):
        if some:
            raise TypeError(f"{what} {problem} {sorted(some)}; its fields are {sorted(names)}")
    for name in sorted(names):
        _check_names(here, given[name], (*path, name))


def _lookup(given: Any, field: Field) -> NDArray[Any]:
    """Return the numbers given for a field."""
    for name in field.path:
        given = given[name]
    array = np.asarray(given)
    if array.dtype == np.bool_:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu" and not _holds_integers(array):
        raise TypeError(f"{field.name} must be integers, not {array.dtype}")
    inner = array.shape[array.ndim - len(field.dims) :]
    if array.ndim - len(field.dims) not in (0, 1) or inner != field.dims:
        raise ValueError(
            f"{field.name} must have the shape {('n', *field.dims)} or {field.dims}, "
            f"not {array.shape}".replace("'", "")
        )
    _check_range(array, field, field.bounds[0])
    return array


def _holds_integers(array: NDArray[Any]) -> bool:
    return array.dtype == object and all(isinstance(x, int | np.integer) for x in array.flat)


def _check_range(array: NDArray[Any], field: Field, low: int) -> None:
    high = field.bounds[1]
    if not array.size:
        return
    for extreme in (int(array.min()), int(array.max())):
        if not low <= extreme <= high:
            raise ValueError(f"{field.name} holds {low} to {high}, not {extreme}")


def _insert(words: Words, field: Field, array: NDArray[Any]) -> None:
    """Write the numbers of one field into payloads, which hold zeros there."""
    if (place := field.byte_range) is not None and array.dtype != object:
        numbers = array.astype(f"<u{field.width // 8}", order="C")
        raw = numbers.reshape(-1).view(np.uint8)
        words.view(np.uint8)[:, place] = raw.reshape(len(words), place.stop - place.start)
        return
    columns = array.reshape(len(words), len(field.offsets))
    for column, offset in enumerate(field.offsets):
        _insert_bits(words, offset, field.width, columns[:, column])


def _insert_bits(words: Words, offset: int, width: int, numbers: NDArray[Any]) -> None:
    if width > 64:
        numbers = numbers.astype(object)
    elif numbers.dtype not in (object, np.uint64):
        numbers = numbers.astype(np.int64).view(np.uint64)
    for low in range(0, width, CHUNK):
        size = min(CHUNK, width - low)
        mask = (1 << size) - 1
        if numbers.dtype == object:
            bits = np.array([int(x) >> low & mask for x in numbers], np.uint64)
        else:
            bits = numbers >> np.uint64(low) & np.uint64(mask)
        word, shift = divmod(offset + low, CHUNK)
        bits = bits << np.uint64(shift)
        words[:, word] |= bits.astype(np.uint32)
        if shift + size > CHUNK:
            words[:, word + 1] |= (bits >> np.uint64(CHUNK)).astype(np.uint32)


def _extract(words: Words, field: Field) -> NDArray[Any]:
    """Return the numbers of one field."""
    shape = (len(words), *field.dims)
    wide = field.width > 64 - (not field.is_signed)
    if (place := field.byte_range) is not None and not wide:
        raw = np.ascontiguousarray(words.view(np.uint8)[:, place])
        kind = "i" if field.is_signed else "u"
        return raw.view(f"<{kind}{field.width // 8}").reshape(shape).astype(np.int64)
    found = np.zeros((len(words), len(field.offsets)), object if wide else np.int64)
    for column, offset in enumerate(field.offsets):
        found[:, column] = _extract_bits(words, offset, field, wide)
    return found.reshape(shape)


def _extract_bits(words: Words, offset: int, field: Field, wide: bool) -> NDArray[Any]:
    total: NDArray[Any] = np.zeros(len(words), object if wide else np.uint64)
    for low in range(0, field.width, CHUNK):
        size = min(CHUNK, field.width - low)
        word, shift = divmod(offset + low, CHUNK)
        bits = words[:, word].astype(np.uint64) >> np.uint64(shift)
        if shift + size > CHUNK:
            bits |= words[:, word + 1].astype(np.uint64) << np.uint64(CHUNK - shift)
        bits &= np.uint64((1 << size) - 1)
        total = total | (bits.astype(object) << low if wide else bits << np.uint64(low))
    if not field.is_signed:
        return total if wide else total.view(np.int64)
    if wide:
        return np.where(total >> field.width - 1 & 1, total - (1 << field.width), total)
    spare = np.int64(64 - field.width)
    return total.view(np.int64) << spare >> spare
