"""Where a prepared data folder keeps its images and masks.

A folder in the VOC layout holds everything itself. A folder that was prepared from
data elsewhere (downloaded benchmarks, or data of one's own) holds the lists, and its
``meta.json`` says where the pixels are:

    {"images": "/data/VOCdevkit/VOC2012/JPEGImages", "masks": "SegmentationClassAug",
     "class_names": ["aeroplane", ...], "folds": [[1, 2, 3, 4, 5], ...]}

All entries are optional; relative paths start at the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cstlib.data.lists import AGAIN, read_json
from cstlib.errors import CstlibError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG", ".webp", ".bmp")


@dataclass(frozen=True)
class Layout:
    """The parts of a prepared data folder.

    Attributes:
        root: the folder itself.
        images: folder of ``<name>.png``, ``.jpg`` and the like.
        folds: the classes that each fold holds out; empty where the folder leaves
            that to its benchmark.
        meta: the whole content of ``meta.json``.
    """

    root: Path
    images: Path
    folds: tuple[tuple[int, ...], ...]
    meta: dict[str, Any]

    @property
    def masks(self) -> Path:
        """Folder of ``<name>.png``; the augmented masks come before VOC's own."""
        if "masks" in self.meta:
            return self.root / self.meta["masks"]
        augmented = self.root / "SegmentationClassAug"
        return augmented if augmented.is_dir() else self.root / "SegmentationClass"

    def image_path(self, name: str) -> Path:
        """The file of an image.

        Raises:
            CstlibError: there is none.
        """
        for extension in EXTENSIONS:
            # Names may hold dots, so with_suffix will not do.
            path = self.images / (name + extension)
            if path.is_file():
                return path
        raise CstlibError(
            f"The image {name} is neither a .png nor a .jpg in {self.images}: {AGAIN}."
        )


def read_layout(root: str | Path) -> Layout:
    """Read a folder's ``meta.json``, if it has one, and find its parts.

    Raises:
        CstlibError: ``meta.json`` is damaged.
    """
    root = Path(root)
    meta: dict[str, Any] = {}
    if (root / "meta.json").is_file():
        content = read_json(root / "meta.json")
        meta = content if isinstance(content, dict) else {}
    folds = meta.get("folds")
    try:
        # The miniature's meta.json holds the number of folds alone.
        table = (
            tuple(tuple(int(c) for c in classes) for classes in folds)
            if isinstance(folds, list)
            else ()
        )
        root / meta.get("masks", "")
        return Layout(root, root / meta.get("images", "JPEGImages"), table, meta)
    except (TypeError, ValueError) as error:
        raise CstlibError(
            f"The file {root / 'meta.json'} is damaged ({error}): {AGAIN}."
        ) from error
