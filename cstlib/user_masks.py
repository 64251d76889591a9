"""Read a mask that somebody drew: black is background, another colour the object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cstlib.errors import CstlibError
from cstlib.user_images import opened, shown

VOC_VOID = (224, 224, 192)  # the colour of 255 in the palette of VOC
DRAW = "save it as a PNG with the object white on black"
# Soft edges are fine; a grey photograph is not. How near to black or white is near.
NEAR = 32
SHARP = 0.9


def read_mask(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """H x W bool: where a mask's file shows its object.

    Black is background, any one other colour is the object: so white on black, and
    class ids as VOC keeps them (whose void counts as background). Where grey edges
    are soft, they are cut half way.

    Args:
        size: (H, W) of the image that the mask belongs to, upright.

    Raises:
        CstlibError: unreadable, of another size, empty, or no mask at all.
    """
    name = shown(path)
    with opened(path) as file:
        image = _opaque(file, name)
    if image.size != size[::-1]:
        (w, h), (image_h, image_w) = image.size, size
        raise CstlibError(
            f"The mask {name} is {w}x{h} pixels but its image is {image_w}x{image_h} "
            "as a viewer shows it: save the mask at that size."
        )
    # None if there are more; colours are (red, green, blue).
    counts: list[tuple[int, Any]] | None = image.getcolors(256)
    marks = [colour for _, colour in counts or () if any(colour)]
    if len(marks) > 1:
        marks = [colour for colour in marks if colour != VOC_VOID]
    if counts and not marks:
        raise CstlibError(f"The mask {name} is all black: mark the object in white.")
    if len(marks) == 1:
        return (np.asarray(image) == marks[0]).all(axis=2)
    if not counts or any(len(set(colour)) > 1 for colour in marks):
        raise CstlibError(
            f"The mask {name} has several colours: {DRAW}, or rename it if it is a "
            "picture."
        )
    return _cut(np.asarray(image.getchannel(0)), name)


def _cut(grey: np.ndarray, name: str) -> np.ndarray:
    """H x W grey levels cut half way, if nearly all are black or white."""
    sharp = (grey < NEAR) | (grey > 255 - NEAR)
    mask = grey > 127
    if sharp.mean() < SHARP or not mask.any():
        raise CstlibError(
            f"The mask {name} has many shades of grey: {DRAW}, or rename it if it is "
            "a picture."
        )
    return mask


def _opaque(image: Image.Image, name: str) -> Image.Image:
    """RGB, if nothing is transparent."""
    if image.mode[0] in "IF":
        levels = np.asarray(image)
        whole = levels.astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535 or (levels != whole).any():
            raise CstlibError(f"The mask {name} holds no plain levels: {DRAW}.")
        if whole.max() > 255:  # 16 bits
            whole = whole >> 8
        return Image.fromarray(whole.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise CstlibError(f"The mask {name} is transparent in places: {DRAW}.")
    return image.convert("RGB")
