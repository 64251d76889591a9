"""Read image files; whatever is wrong with one becomes a sentence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from cstlib.data.lists import AGAIN
from cstlib.errors import CstlibError

# What Pillow raises at broken files, depending on the format and the place.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


def read_image(path: Path) -> Image.Image:
    """The image in RGB, decoded to its last pixel.

    Raises:
        CstlibError: the file is missing, truncated or not an image.
    """
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except BROKEN as error:
        raise _unreadable("image", path) from error


def read_size(path: Path) -> tuple[int, int]:
    """H, W from the image's header; errors as in `read_image`."""
    try:
        with Image.open(path) as file:
            return file.height, file.width
    except BROKEN as error:
        raise _unreadable("image", path) from error


def read_class_ids(path: Path) -> np.ndarray:
    """A palette or grey PNG as H x W uint8.

    Raises:
        CstlibError: the file is missing, broken, or holds colours instead of ids.
    """
    try:
        with Image.open(path) as file:
            mode, ids = file.mode, np.array(file)
    except BROKEN as error:
        raise _unreadable("mask", path) from error
    if mode not in ("L", "P"):
        raise CstlibError(
            f"The mask {path} holds colours where class ids were expected: save it as "
            "a palette or grey PNG of class ids."
        )
    return ids


def voc_palette() -> list[int]:
    """The 256 colours of VOC's masks, flat: the bits of an id spread over r, g, b."""
    palette = []
    for index in range(256):
        for channel in range(3):
            value = 0
            for bit in range(8):
                source = 3 * bit + channel
                if source < 8 and index >> source & 1:
                    value |= 128 >> bit
            palette.append(value)
    return palette


def _unreadable(what: str, path: Path) -> CstlibError:
    if not path.is_file():
        return CstlibError(f"The {what} {path} is missing: {AGAIN}.")
    return CstlibError(
        f"The {what} {path} is truncated or not an image: replace the file, or {AGAIN}."
    )
