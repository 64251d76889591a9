"""The support folder of a practitioner: one folder a class, a few images in each.

    DIR/<class>/<name>.jpg          an image, of any kind that Pillow reads
    DIR/<class>/<name>.png          its mask, beside an image that is no PNG
    DIR/<class>/<name>.mask.png     its mask, beside an image of any kind

A PNG is a mask if one of these two names says so, and an image else; what is in the
file does not matter. Hidden files are skipped; anything else is refused, because an
image that is silently left out would never be missed.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from cstlib.errors import CstlibError
from cstlib.user_images import shown

MOST_SHOTS = 5
MOST_CLASSES = 254  # labels are bytes, 0 is background and 255 void
CLUTTER = ("thumbs.db", "desktop.ini")  # left by file browsers
MASK = ".mask.png"


@dataclass(frozen=True)
class SupportClass:
    """A class's name, and its images, each with its mask's path or None."""

    name: str
    images: tuple[tuple[Path, Path | None], ...]


def find_support(folder: str | Path) -> list[SupportClass]:
    """The classes of a support folder, sorted by name; images sorted by name too.

    Raises:
        CstlibError: nothing there, a class with no image or more than `MOST_SHOTS`,
            two classes of one name, or something that belongs elsewhere.
    """
    folder = Path(folder)
    found: dict[str, SupportClass] = {}
    for path in listed(folder, "support folder"):
        if not os.path.isdir(path):
            raise CstlibError(
                f"{shown(path)} is no folder: the support folder holds one folder a "
                "class, and those hold the images."
            )
        name = unicodedata.normalize("NFC", shown(path.name))
        other = found.get(_key(name))
        if other:
            raise CstlibError(
                f"The classes {other.name} and {name} have one name but for capitals "
                "or accents: join or rename them."
            )
        found[_key(name)] = SupportClass(name, _pair(path))
    if not found:
        raise CstlibError(
            f"The support folder {shown(folder)} is empty: put a folder for each "
            "class into it."
        )
    if len(found) > MOST_CLASSES:
        raise CstlibError(
            f"{shown(folder)} has {len(found)} classes, more than the {MOST_CLASSES} "
            "that label images can tell apart: use fewer."
        )
    return list(found.values())


def listed(folder: Path, what: str = "folder") -> list[Path]:
    """What lies in a folder, sorted by name, without hidden files and clutter.

    Raises:
        CstlibError: it is missing, not a folder, or may not be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise CstlibError(
            f"Cannot read the {what} {shown(folder)} ({error.strerror}): check the "
            "path and its permissions."
        ) from error
    return [
        folder / name
        for name in names
        if not name.startswith(".") and name.lower() not in CLUTTER
    ]


def _pair(folder: Path) -> tuple[tuple[Path, Path | None], ...]:
    """The images of a class and their masks."""
    files = listed(folder, "class folder")
    for path in files:
        if os.path.isdir(path):
            raise CstlibError(
                f"{shown(path)} is a folder inside a class: put its images beside it, "
                "or move it away."
            )
    named = [path for path in files if path.name.lower().endswith(MASK)]
    pngs = [p for p in files if p.suffix.lower() == ".png" and p not in named]
    images = [p for p in files if p not in named and p not in pngs]
    beside = {_key(path.stem) for path in images}
    masks = [(_key(path.name[: -len(MASK)]), path) for path in named]
    masks += [(_key(path.stem), path) for path in pngs if _key(path.stem) in beside]
    images += [path for path in pngs if _key(path.stem) not in beside]
    keys = [_key(path.stem) for path in images]
    mask_of: dict[str, Path] = {}
    for key, mask in masks:
        if keys.count(key) != 1:
            raise CstlibError(
                f"The mask {shown(mask)} belongs to {keys.count(key) or 'no'} images: "
                "give it the name of exactly one."
            )
        if key in mask_of:
            raise CstlibError(
                f"{shown(mask_of[key])} and {shown(mask)} are masks of one image: keep "
                "one of them."
            )
        mask_of[key] = mask
    if not images:
        raise CstlibError(
            f"The class {shown(folder)} has no image: put one to {MOST_SHOTS} into it."
        )
    if len(images) > MOST_SHOTS:
        raise CstlibError(
            f"The class {shown(folder)} has {len(images)} images: keep at most "
            f"{MOST_SHOTS}."
        )
    return tuple((path, mask_of.get(_key(path.stem))) for path in sorted(images))


def _key(name: str) -> str:
    """Names are alike if some file system takes them for the same."""
    return unicodedata.normalize("NFC", name).casefold()
