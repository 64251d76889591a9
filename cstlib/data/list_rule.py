"""The rule that makes the benchmarks' lists from their masks.

An image is listed under each class that covers at least 2 * 32 * 32 = 2048 of its
pixels. Training lists are sorted by class, then name; validation lists by name, then
class. The label file holds whatever class has a pixel, listed or not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from cstlib import files
from cstlib.data.lists import write_list
from cstlib.data.pixels import read_class_ids
from cstlib.errors import CstlibError

LEAST_PIXELS = 2 * 32 * 32
# Of about 375 x 500 pixels that is one in a hundred, the rule for other sizes.
LEAST_SHARE = 0.01
VOID = 255

Entry = tuple[str, int]


@dataclass(frozen=True)
class Shown:
    """What an image's mask shows: its area and the pixels of each class in it."""

    area: int
    pixels: Mapping[int, int]


def count_pixels(mask: np.ndarray) -> Shown:
    """Count an H x W uint8 mask; background (0) and void (255) are no classes."""
    counts = np.bincount(mask.ravel(), minlength=256)
    classes = np.flatnonzero(counts[1:VOID]) + 1
    return Shown(mask.size, {int(c): int(counts[c]) for c in classes})


def scan_masks(
    names: Sequence[str],
    path_of: Callable[[str], Path],
    n_classes: int,
    progress: bool = True,
) -> dict[str, Shown]:
    """Count the masks of all ``names``.

    Raises:
        CstlibError: a mask is missing, broken, or holds a number above ``n_classes``
            that is not void.
    """

    def scan(name: str) -> tuple[str, Shown]:
        shown = count_pixels(read_class_ids(path_of(name)))
        if max(shown.pixels, default=0) > n_classes:
            raise CstlibError(
                f"The mask {path_of(name)} holds the value {max(shown.pixels)} where "
                f"there are {n_classes} classes: save it with class ids, 0 and 255."
            )
        return name, shown

    with ThreadPool(min(8, os.cpu_count() or 1)) as pool:
        scanned = pool.imap(scan, names, chunksize=16)
        bar = tqdm(
            scanned,
            "masks",
            len(names),
            unit="image",
            leave=False,
            disable=not progress,
        )
        return dict(bar)


def list_entries(
    shown: Mapping[str, Shown], split: str, least: float = LEAST_PIXELS
) -> list[Entry]:
    """(name, class) of each class that is large enough, in the order of the split.

    Args:
        split: "trn" or "val".
        least: pixels; below 1 a share of the image's area, rounded down.
    """
    entries = [
        (name, c)
        for name, image in shown.items()
        for c, pixels in image.pixels.items()
        if pixels >= max(1, int(least * image.area) if least < 1 else least)
    ]
    return sort_entries(entries, split)


def sort_entries(entries: Iterable[Entry], split: str) -> list[Entry]:
    """Training by class, then name; validation by name, then class."""
    if split == "trn":
        return sorted(entries, key=lambda entry: (entry[1], entry[0]))
    return sorted(entries)


def write_lists(
    folder: Path,
    entries: Mapping[str, Sequence[Entry]],
    folds: Sequence[Sequence[int]],
    shown: Mapping[str, Shown],
) -> None:
    """Write ``trn/fold0.txt`` ... ``val/foldN.txt`` and ``labels.json``, all or nothing.

    Args:
        folder: ``ImageSets/FewShot`` of a prepared data folder.
        entries: of "trn" and "val", in order.
        folds: the classes that each fold holds out.
        shown: of every image that may ever be met.
    """
    with whole_folder(folder) as temporary:
        for split, lines in entries.items():
            for fold, classes in enumerate(folds):
                listed = [entry for entry in lines if entry[1] in classes]
                write_list(temporary / split / f"fold{fold}.txt", listed)
        labels = {name: sorted(image.pixels) for name, image in sorted(shown.items())}
        files.write_json(temporary / "labels.json", labels)


@contextmanager
def whole_folder(target: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; on success it takes its place.

    Args:
        replace: put the new folder in the place of one that is there by then; else
            what another process has finished in the meantime stays.

    Raises:
        CstlibError: the folder cannot be written, or the disk is full.
    """
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        yield temporary
        temporary.chmod(0o755)
        if not replace and target.is_dir() and any(target.iterdir()):
            return
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
            target.replace(old)
            shutil.rmtree(old, ignore_errors=True)
        temporary.replace(target)
    except OSError as error:
        raise CstlibError(
            f"Cannot write to {target.parent} ({error.strerror}): free some disk space "
            "or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
