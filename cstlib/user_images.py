"""Read any picture that Pillow reads, upright, opaque, in RGB, in bounded memory.

A benchmark's images are all alike; a practitioner's are not. Whatever is wrong with
one becomes a sentence, so that the others can go on.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from cstlib.errors import CstlibError

# Larger than the pictures of any phone. Whatever claims to be larger is refused by its
# header, before a byte of it is decoded: decoding takes up to 5 bytes a pixel. Pillow's
# own limit would refuse a phone's 200 megapixels.
MOST_PIXELS = 2**28
# A working copy is at most so wide and high: 50 MB. Backbones look at 400 x 400.
WORKING_SIDE = 4096

# EXIF's orientation -> what sets the picture upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = (5, 6, 7, 8)
BROKEN_EXIF = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError),
    *(struct.error, SyntaxError, TypeError, ValueError),
)


@dataclass(frozen=True)
class Picture:
    """A picture as a viewer shows it.

    Attributes:
        image: RGB, upright; reduced where a side has more than `WORKING_SIDE` pixels.
        size: (H, W) in pixels before that, upright.
    """

    image: Image.Image
    size: tuple[int, int]

    def tensor(self, side: int) -> Tensor:
        """3 x S x S floats in [0, 1], as `cstlib.data.voc` resizes (bilinear)."""
        image = self.image
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)

    def thumbnail(self, side: int) -> Image.Image:
        """A copy with no side longer than ``side`` pixels."""
        copy = self.image.copy()
        copy.thumbnail((side, side), Image.Resampling.BILINEAR)
        return copy


def read_picture(path: str | Path) -> Picture:
    """A picture from a file: its first frame, if it is animated.

    EXIF's rotation is applied. Transparent parts become white. Grey, CMYK, palette,
    16-bit and float pictures become 8-bit RGB; colour profiles are not applied.

    Raises:
        CstlibError: not a file, not a picture, damaged, or of more than
            `MOST_PIXELS` pixels.
    """
    with opened(path) as file:
        size = file.size
        # JPEG decodes to a half, a quarter or an eighth at once, in as little memory.
        reduced = max(size) > WORKING_SIDE and file.draft(None, (WORKING_SIDE,) * 2)
        return picture_of(file, shown(path), size if reduced else None)


def picture_of(
    image: Image.Image, name: str = "The image", size: tuple[int, int] | None = None
) -> Picture:
    """As `read_picture`, from an image in memory, which stays as it is.

    Args:
        name: for the sentence, if something is wrong.
        size: W, H of the file, where ``image`` is smaller already.
    """
    with _sentences(name):
        _check_size(image, name)
        image.load()
        # Only now: TIFF sets itself upright while it loads.
        width, height = size or image.size
        orientation = _orientation(image)
        small = _reduced(image)
        if orientation in UPRIGHT:
            small = small.transpose(UPRIGHT[orientation])
        if orientation in ON_ITS_SIDE:
            width, height = height, width
        return Picture(_rgb(small), (height, width))


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file of an allowed size; whatever goes wrong becomes a sentence.

    Raises:
        CstlibError: see `read_picture`.
    """
    path, name = Path(path), shown(path)
    with _sentences(name):
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            raise CstlibError(f"{name} is not a file: name a picture.")
        with warnings.catch_warnings(), _own_limit(), path.open("rb") as content:
            warnings.simplefilter("ignore")  # about broken EXIF and the like
            with Image.open(content) as file:
                _check_size(file, name)
                yield file


@contextlib.contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turn what Pillow raises into a sentence about the picture ``name``."""
    try:
        yield
    except CstlibError:
        raise
    except Image.DecompressionBombError as error:
        raise CstlibError(_too_large(name)) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CstlibError(f"There is no file {name}: check the path.") from error
    except PermissionError as error:
        raise CstlibError(
            f"{name} may not be read: change its permissions, or leave it out."
        ) from error
    except MemoryError as error:
        raise CstlibError(
            f"{name} does not fit into memory: make it smaller, or leave it out."
        ) from error
    except Exception as error:  # Pillow has a dozen for damaged files
        raise CstlibError(
            f"{name} is damaged, no picture, or of a kind that Pillow does not read: "
            "save it anew as JPEG or PNG, or leave it out."
        ) from error


def shown(path: str | Path) -> str:
    """A path as it can be printed anywhere: one line, valid Unicode."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextlib.contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow's limit is ours for a while; it also holds for pictures in pictures.

    At its own number Pillow warns, at twice that it refuses.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise CstlibError(_too_large(name))
    if not width or not height:
        raise CstlibError(f"{name} has no pixels: replace it, or leave it out.")


def _too_large(name: str) -> str:
    return f"{name} has more than the {MOST_PIXELS:,} pixels that are read: shrink it."


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except BROKEN_EXIF:  # spoils no picture
        return 1


def _reduced(image: Image.Image) -> Image.Image:
    """At most `WORKING_SIDE` wide and high, by a whole factor (means of boxes)."""
    if max(image.size) <= WORKING_SIDE:
        return image
    if image.mode.startswith("I;"):
        image = image.convert("I")
    elif image.mode in ("P", "PA", "1") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.reduce(-(-max(image.size) // WORKING_SIDE))


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel, on white where it is transparent."""
    if image.mode[0] in "IF":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """H x W of any range -> uint8; the largest value tells what white is."""
    usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low = min(0.0, values.min())
    high = next((limit for limit in usual if values.max() <= limit), values.max())
    return ((values - low) * (255 / (high - low))).round().astype(np.uint8)
