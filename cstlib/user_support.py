"""Read the supports that `cstlib.support_folder` found: pixels and given masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cstlib.errors import CstlibError
from cstlib.support_folder import SupportClass
from cstlib.user_images import Picture, read_picture, shown
from cstlib.user_masks import read_mask

THUMBNAIL = 320  # pixels


@dataclass(frozen=True)
class SupportImage:
    """An example of a class, as small as it may be.

    Attributes:
        path: of the image. mask_path: of its mask, or None.
        pixels: 3 x S x S in [0, 1].
        thumbnail: RGB.
        mask: S x S bool; None where no mask is given, until a pseudo-mask is made.
    """

    class_name: str
    path: Path
    mask_path: Path | None
    pixels: Tensor
    thumbnail: Image.Image
    mask: Tensor | None


def read_support(classes: Sequence[SupportClass], side: int) -> list[SupportImage]:
    """All support images, class by class, resized to ``side`` x ``side`` pixels.

    Raises:
        CstlibError: an image or a mask cannot be used, or a picture is there twice: in
            two classes, that is fine if masks tell them apart.
    """
    found = []
    seen: dict[object, tuple[str, Path, Path | None]] = {}
    for c in classes:
        for path, mask_path in c.images:
            picture = read_picture(path)
            digest = hashlib.sha256(picture.image.tobytes()).digest()
            this = (c.name, path, mask_path)
            _check_twice(seen.setdefault((digest, picture.size), this), this)
            mask = _given_mask(mask_path, picture, side) if mask_path else None
            pixels, thumbnail = picture.tensor(side), picture.thumbnail(THUMBNAIL)
            found.append(SupportImage(*this, pixels, thumbnail, mask))
    return found


def _check_twice(one, other) -> None:
    """Refuse a picture that is there twice, unless it stands for two marked classes."""
    (one_class, one_path, one_mask), (other_class, other_path, other_mask) = one, other
    if one is other or (one_class != other_class and one_mask and other_mask):
        return
    advice = "remove one of them"
    if one_class != other_class:
        advice += ", or give each a mask of its class"
    raise CstlibError(
        f"{shown(one_path)} and {shown(other_path)} are the same picture: {advice}."
    )


def _given_mask(path: Path, picture: Picture, side: int) -> Tensor:
    """A mask at S x S, by nearest neighbour as in the protocol."""
    full = torch.from_numpy(read_mask(path, picture.size)).to(torch.uint8)
    mask = F.interpolate(full[None, None], side)[0, 0].bool()
    if not mask.any():
        raise CstlibError(
            f"The mask {shown(path)} marks too little to be seen at {side} x {side} "
            "pixels: crop image and mask around the object."
        )
    return mask
