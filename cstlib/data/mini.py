"""Mini-5i: a Pascal-5i small enough to be drawn on first use.

Twenty classes of drawn objects in four folds of five, one to three objects an image,
with occlusion and clutter, written as a VOC-layout folder. The same seed gives the
same decoded pixels everywhere (`cstlib.data.mini_drawing`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from cstlib import files
from cstlib.data.list_rule import (
    LEAST_SHARE,
    Entry,
    Shown,
    count_pixels,
    list_entries,
    whole_folder,
    write_lists,
)
from cstlib.data.lists import fold_table
from cstlib.data.mini_drawing import (
    CLASS_NAMES,
    IMAGE_SIZE,
    RENDERER_VERSION,
    Scene,
    render,
)
from cstlib.data.pixels import voc_palette
from cstlib.errors import CstlibError
from cstlib.paths import data_home

__all__ = [
    "CLASS_NAMES",
    "IMAGE_SIZE",
    "RENDERER_VERSION",
    "Scene",
    "build_mini",
    "check_request",
    "ensure_mini",
    "render",
    "scenes",
]

N_FOLDS = 4


def build_mini(
    root: str | Path,
    seed: int = 0,
    train: int = 2000,
    val: int = 500,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render Mini-5i into ``root`` as a VOC-layout folder; returns ``root``.

    The folder appears whole or not at all: it is drawn beside its place and renamed.

    Raises:
        CstlibError: a number makes no sense, ``root`` holds something else already,
            or the disk is full or not writable.
    """
    root = Path(root)
    check_request(root, seed, train, val)
    with whole_folder(root, replace=False) as folder:
        _write_images(folder, seed, {"trn": train, "val": val}, workers, progress)
        meta = {
            "name": "mini",
            "renderer_version": RENDERER_VERSION,
            "seed": seed,
            "train": train,
            "val": val,
            "image_size": IMAGE_SIZE,
            "class_names": CLASS_NAMES,
            "folds": N_FOLDS,
        }
        files.write_json(folder / "meta.json", meta)
    return root


def check_request(root: Path, seed: int, train: int, val: int) -> None:
    """See to it that a miniature of these numbers can be drawn into ``root``.

    Raises:
        CstlibError: a number makes no sense, or ``root`` holds something already.
    """
    if train < 1 or val < 1 or seed < 0:
        raise CstlibError(
            "The miniature needs at least one training and one validation image and "
            "a seed of 0 or more: check --train, --val and --seed."
        )
    if root.exists() and any(root.iterdir()):
        raise CstlibError(
            f"The folder {root} is not empty: give another one with --out or delete it."
        )


def ensure_mini(root: str | Path | None = None) -> Path:
    """The folder of Mini-5i, rendered now if it is not there yet.

    A folder drawn by another renderer version is drawn anew in the default place,
    which belongs to cstlib.

    Raises:
        CstlibError: a given ``root`` was drawn by another renderer version, or as
            `build_mini`.
    """
    given = root is not None
    root = data_home() / "mini" if root is None else Path(root)
    meta = root / "meta.json"
    if meta.is_file():
        version = json.loads(meta.read_text(encoding="utf-8")).get("renderer_version")
        if version == RENDERER_VERSION:
            return root
        if given:
            raise CstlibError(
                f"The miniature in {root} was drawn by renderer version {version}, "
                f"this is version {RENDERER_VERSION}: delete the folder to redraw it."
            )
        shutil.rmtree(root)
    try:
        return build_mini(root)
    except CstlibError:
        # Another process may have finished the same folder in the meantime.
        if meta.is_file():
            return root
        raise


def _write_images(
    root: Path, seed: int, counts: dict[str, int], workers: int | None, progress: bool
) -> None:
    images, masks = root / "JPEGImages", root / "SegmentationClass"
    images.mkdir()
    masks.mkdir()
    every: dict[str, Shown] = {}
    entries: dict[str, list[Entry]] = {}
    for stream, count in counts.items():
        drawn = scenes(seed, count, stream, workers, f"{stream} images", progress)
        shown: dict[str, Shown] = {}
        for index, scene in enumerate(drawn):
            name = f"{stream}_{index:06d}"
            Image.fromarray(scene.image).save(images / f"{name}.png")
            mask = Image.fromarray(scene.mask)
            mask.putpalette(voc_palette())
            mask.save(masks / f"{name}.png")
            shown[name] = count_pixels(scene.mask)
        entries[stream] = list_entries(shown, stream, LEAST_SHARE)
        every |= shown
    folds = fold_table("pascal", len(CLASS_NAMES), N_FOLDS)
    write_lists(root / "ImageSets" / "FewShot", entries, folds, every)


def scenes(
    seed: int,
    count: int,
    stream: str,
    workers: int | None = None,
    what: str = "images",
    progress: bool = True,
) -> Iterator[Scene]:
    """Render images 0..count-1 of a stream in order, on all cores."""
    draw = partial(render, seed, stream=stream)
    workers = min(workers or os.cpu_count() or 1, 8)
    bar = partial(tqdm, total=count, desc=what, unit="image", disable=not progress)
    if workers == 1 or count < 64:
        yield from bar(map(draw, range(count)))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from bar(pool.map(draw, range(count), chunksize=32))
