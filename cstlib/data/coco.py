"""COCO-20i: from COCO 2014's annotations to class-id masks, lists and labels.

A mask holds for each pixel the index of its category among the 80 sorted ids, plus 1.
Where annotations overlap, the smaller one lies on top (of equal ones that with the
higher id), so that a cup before a table is not lost. Crowds, one region for many
objects, count as their class and lie beneath all single objects.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from cstlib.data import list_rule
from cstlib.data.class_names import COCO_CLASSES
from cstlib.data.coco_json import CocoFile, class_mask, read_coco
from cstlib.data.download import Archive
from cstlib.data.given_lists import read_given_lists
from cstlib.data.list_rule import Shown
from cstlib.data.lists import N_CLASSES, fold_table
from cstlib.data.obtain import obtain, verify_archives, verify_lists
from cstlib.data.pixels import read_class_ids, voc_palette
from cstlib.data.prepared import Report, write_prepared
from cstlib.data.published import Comparison, compare_coco
from cstlib.errors import CstlibError

_HOST = "http://images.cocodataset.org/"
ARCHIVES = {
    "annotations": Archive(
        _HOST + "annotations/annotations_trainval2014.zip",
        252_872_794,
        "0a379cfc70b0e71301e0f377548639bd",
        ("annotations",),
    ),
    "train2014": Archive(
        _HOST + "zips/train2014.zip",
        13_510_573_713,
        "0da8c0bd3d6becc4dcb32757491aca88",
        ("train2014",),
    ),
    "val2014": Archive(
        _HOST + "zips/val2014.zip",
        6_645_013_297,
        "a3d79f5ed8d289b7a7554ce06a5782b3",
        ("val2014",),
    ),
}
PLACES = ("", "COCO2014", "coco2014", "coco", "COCO")
PARTS = {"trn": "train2014", "val": "val2014"}
EXPECTED = {"train2014": 82783, "val2014": 40504}


@dataclass(frozen=True)
class Sources:
    """What was found under ``--root``; None where it was not.

    Attributes:
        images: the folder that holds ``train2014`` and ``val2014``.
        annotations: the folder of ``instances_train2014.json`` and ``..._val2014``.
        masks: a folder of class-id masks that somebody made, by the same two folders.
    """

    images: Path | None
    annotations: Path | None
    masks: Path | None


def find_sources(root: Path) -> Sources:
    """Look for COCO 2014 in the usual places below ``root``."""
    bases = [root / place for place in PLACES]
    images = [folder for base in bases for folder in (base, base / "images")]
    annotations = [base / "annotations" for base in bases]

    def first(folders: Sequence[Path], wanted: Sequence[str]) -> Path | None:
        whole = (f for f in folders if all((f / part).exists() for part in wanted))
        return next(whole, None)

    return Sources(
        first(images, tuple(PARTS.values())),
        first(annotations, [f"instances_{part}.json" for part in PARTS.values()]),
        first(annotations, tuple(PARTS.values())),
    )


def obtain_sources(root: Path, progress: bool = True) -> Sources:
    """Take what lies under ``root`` and download what is missing.

    Raises:
        CstlibError: a download or an archive fails, or the disk is too small.
    """
    found = find_sources(root)
    missing = []
    if not (found.annotations or found.masks):
        missing.append(ARCHIVES["annotations"])
    if not found.images:
        parts = [part for part in PARTS.values() if not (root / part).is_dir()]
        missing += [ARCHIVES[part] for part in parts]
    if missing:
        obtain(root, missing, progress)
        found = find_sources(root)
    if not found.images or not (found.annotations or found.masks):
        raise CstlibError(
            f"COCO 2014 is not complete in {root}: move what is there away and "
            "run the command again."
        )
    return found


def prepare_coco(
    root: Path, out: Path, lists: Path | None = None, progress: bool = True
) -> Comparison:
    """Obtain the data, draw the masks where nobody has, and write lists and labels.

    Masks that are drawn already are kept, so an interrupted run goes on.

    Args:
        root: folder of the images and annotations, as they are or to be.
        out: the prepared folder.
        lists: folder of given lists, instead of building them.

    Returns:
        How the lists compare with the benchmark's counts.

    Raises:
        CstlibError: whatever is missing, damaged or full.
    """
    sources = obtain_sources(root, progress)
    assert sources.images is not None  # or they would have been fetched
    n_classes = N_CLASSES["coco"]
    shown: dict[str, dict[str, Shown]] = {}
    masks = sources.masks or out / "SegmentationClass"
    for split, part in PARTS.items():
        if sources.masks:
            names = sorted(f"{part}/{p.stem}" for p in (masks / part).glob("*.png"))
            _check_images(sources.images, names)
            shown[split] = list_rule.scan_masks(
                names, lambda name: masks / f"{name}.png", n_classes, progress
            )
            continue
        assert sources.annotations is not None
        file = read_coco(sources.annotations / f"instances_{part}.json")
        if file.class_names != COCO_CLASSES:
            raise CstlibError(
                f"{file.path} has other categories than COCO's {n_classes}: point "
                f"--root at COCO 2014, or use your own data with --data {file.path}."
            )
        _check_images(sources.images, [f"{part}/{name}" for name in file.names])
        shown[split] = draw_masks(file, masks, f"{part}/", progress)
    folds = fold_table("coco", n_classes)
    every = {**shown["trn"], **shown["val"]}
    if lists is not None:
        entries = read_given_lists(lists, folds, every)
    else:
        entries = {s: list_rule.list_entries(part, s) for s, part in shown.items()}
    meta = {
        "name": "coco",
        "protocol": "coco",
        "class_names": list(COCO_CLASSES),
        "given_lists": lists is not None,
    }
    write_prepared(out, meta, sources.images, masks, folds, entries, every)
    return compare_coco(out / "ImageSets" / "FewShot")


def verify_coco(root: Path, out: Path, progress: bool = True) -> tuple[Report, bool]:
    """Check archives, folders, and the prepared folder; change nothing.

    Returns:
        The findings, and whether the lists have the benchmark's counts.
    """
    report = Report()
    verify_archives(root, tuple(ARCHIVES.values()), report, progress)
    sources = find_sources(root)
    if sources.images is None:
        report.add(f"COCO 2014: no train2014 and val2014 in {root}", good=False)
    else:
        for part, expected in EXPECTED.items():
            found = len([*(sources.images / part).glob("*.jpg")])
            text = f"{part}: {found} images"
            good = text if found == expected else f"{text}, published are {expected}"
            report.add(good)
    if not (sources.annotations or sources.masks):
        report.add(f"COCO 2014: no annotations in {root}", good=False)
    return report, verify_lists(out, report, compare_coco)


def draw_masks(
    file: CocoFile, folder: Path, prefix: str = "", progress: bool = True
) -> dict[str, Shown]:
    """Write ``<folder>/<prefix><name>.png`` for every image that has an annotation.

    Masks that are there already are kept and counted.

    Returns:
        For each of these names, prefix included, what its mask shows.

    Raises:
        CstlibError: an annotation is malformed, or the disk is full.
    """
    names = [name for name in file.names if file.annotations(name)]
    for parent in {(folder / f"{prefix}{name}").parent for name in names}:
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CstlibError(
                f"Cannot write to {folder} ({error.strerror}): choose another folder."
            ) from error
    jobs = (
        (folder / f"{prefix}{name}.png", *file.images[name], file.annotations(name))
        for name in names
    )
    bar = tqdm(
        _on_all_cores(jobs, len(names)),
        "masks",
        len(names),
        unit="image",
        leave=False,
        disable=not progress,
    )
    return {f"{prefix}{name}": shown for name, shown in zip(names, bar, strict=True)}


def _on_all_cores(jobs, count: int) -> Iterator[Shown]:
    workers = min(8, os.cpu_count() or 1)
    if workers == 1 or count < 1000:
        yield from map(_draw, jobs)
        return
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(_draw, jobs, chunksize=64)


def _draw(job: tuple[Path, int, int, Sequence[Mapping]]) -> Shown:
    path, height, width, annotations = job
    if path.is_file():
        return list_rule.count_pixels(read_class_ids(path))
    mask = class_mask(height, width, annotations)
    image = Image.fromarray(mask)
    image.putpalette(voc_palette())
    temporary = path.with_name(f".{path.name}")
    try:
        image.save(temporary, "PNG")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CstlibError(
            f"Cannot write {path} ({error.strerror}): free some disk space and run the "
            "command again, which keeps the masks that are done."
        ) from error
    return list_rule.count_pixels(mask)


def _check_images(folder: Path, names: Sequence[str]) -> None:
    absent = [name for name in names if not (folder / f"{name}.jpg").is_file()]
    if absent or not names:
        raise CstlibError(
            f"{folder} lacks {len(absent) or 'all'} of the {len(names)} images with "
            f"annotations, {absent[0] if absent else 'the first'}.jpg for one: unpack "
            "the archives anew."
        )
