"""Read one array out of SBD's ``.mat`` files (MATLAB's format 5).

SBD keeps each class mask as the field ``Segmentation`` of the struct ``GTcls``. scipy
would read it, at the price of 140 MB for every learner on a laptop, who never meets
such a file; the format is frozen since 1996, and of it only nested, optionally
compressed elements and one kind of array are needed. A misread mask could not pass
unseen: the lists that are built from the masks are compared with the benchmark's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cstlib.errors import CstlibError

HEADER = 128  # bytes: 116 of text, 8 of no interest, version, byte order
MATRIX, COMPRESSED = 14, 15  # types of elements
STRUCT = 2  # class of arrays; 6 to 13 are plain numbers
NUMBERS = range(6, 14)
# Types of stored numbers, as NumPy spells them without the byte order.
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}


def read_struct_field(path: str | Path, variable: str, field: str) -> np.ndarray:
    """The two-dimensional array ``variable.field`` of a ``.mat`` file.

    Returns:
        H x W, as integers or floats, just as stored.

    Raises:
        CstlibError: the file is missing, truncated, of another version, or without
            such a variable or field.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}[content[126:128]]
        for kind, body in _elements(content[HEADER:], order):
            if kind == COMPRESSED:
                kind, body = next(_elements(zlib.decompress(body), order))
            if kind == MATRIX:
                array_class, name, _, parts = _array(body, order)
                if name == variable and array_class == STRUCT:
                    return _field(parts, field, order)
    except FileNotFoundError as error:
        raise CstlibError(f"The file {path} is missing: get SBD anew.") from error
    except (
        OSError,
        ValueError,
        KeyError,
        StopIteration,
        struct.error,
        zlib.error,
    ) as error:
        raise CstlibError(
            f"The file {path} is damaged or not a MATLAB 5 file: get SBD anew."
        ) from error
    raise CstlibError(
        f"The file {path} has no {variable}.{field}: point --root at SBD's own files."
    )


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each element; bodies are padded to 8 bytes, compressed ones not.

    Bodies of up to 4 bytes may share 8 bytes with their tag: length and type then
    take 16 bits each.
    """
    at = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind >> 16:
            kind, length = kind & 0xFFFF, kind >> 16
            yield kind, data[at + 4 : at + 4 + length]
            at += 8
            continue
        body = data[at + 8 : at + 8 + length]
        if len(body) < length:
            raise ValueError("truncated")
        yield kind, body
        at += 8 + length + (0 if kind == COMPRESSED else -length % 8)


def _array(body: bytes, order: str):
    """(class, name, dimensions, the elements that follow) of a matrix element."""
    parts = _elements(body, order)
    _, flags = next(parts)
    _, dimensions = next(parts)
    _, name = next(parts)
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    array_class = struct.unpack_from(order + "I", flags)[0] & 0xFF
    return array_class, name.decode("ascii"), shape, parts


def _field(parts: Iterator[tuple[int, bytes]], field: str, order: str) -> np.ndarray:
    """The array in a field of a 1 x 1 struct."""
    (width,) = struct.unpack(order + "i", next(parts)[1])
    _, names = next(parts)
    cells = [names[i : i + width] for i in range(0, len(names), width)]
    position = [cell.split(b"\0")[0].decode("ascii") for cell in cells].index(field)
    for _ in range(position):
        next(parts)
    array_class, _, shape, numbers = _array(next(parts)[1], order)
    if array_class not in NUMBERS or len(shape) != 2:
        raise ValueError("not a plain matrix")
    kind, stored = next(numbers)
    # MATLAB stores columns first.
    return np.frombuffer(stored, order + STORED[kind]).reshape(shape, order="F")
