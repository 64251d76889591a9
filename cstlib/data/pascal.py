"""Pascal-5i: from VOC2012 and SBD to masks, lists and labels.

The masks (SegmentationClassAug in the literature) are VOC2012's own where it has one,
and SBD's class masks for the other images: 2,913 and 9,118 of them. "Train-aug" are
all of these but VOC2012's 1,449 validation images, which make the validation lists.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from cstlib.data import list_rule
from cstlib.data.class_names import PASCAL_CLASSES
from cstlib.data.download import Archive
from cstlib.data.given_lists import read_given_lists
from cstlib.data.lists import N_CLASSES, fold_table
from cstlib.data.matfile import read_struct_field
from cstlib.data.obtain import obtain, verify_archives, verify_lists
from cstlib.data.pixels import voc_palette
from cstlib.data.prepared import Report, write_prepared
from cstlib.data.published import Comparison, compare_pascal
from cstlib.errors import CstlibError

VOC = Archive(
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    1_999_639_040,
    "6cd6e144f989b92b3379bac3b3de84fd",
    ("VOCdevkit/VOC2012",),
)
SBD = Archive(
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
    "semantic_contours/benchmark.tgz",
    1_419_539_633,
    "82b4d87ceb2ed10f6038a1cba92111cb",
    ("benchmark_RELEASE",),
)
# Where users of torchvision, of other few-shot code and of mmsegmentation have them.
VOC_PLACES = ("", "VOCdevkit/VOC2012", "VOC2012")
SBD_PLACES = (
    "benchmark_RELEASE/dataset",
    "dataset",
    "sbd",
    "SBD",
    "sbd/dataset",
    "SBD/dataset",
    "sbd/benchmark_RELEASE/dataset",
    "SBD/benchmark_RELEASE/dataset",
    "VOCdevkit/VOCaug/dataset",
    "VOCaug/dataset",
    "",
)
# Images of VOC2012's train and val, of all masks, as published.
EXPECTED = {"train": 1464, "val": 1449, "masks": 12031}


@dataclass(frozen=True)
class Sources:
    """What was found under ``--root``.

    Attributes:
        voc: the folder VOC2012, or None.
        sbd: the folder with SBD's ``cls``, or None.
        masks: a SegmentationClassAug that somebody made, or None.
    """

    voc: Path | None
    sbd: Path | None
    masks: Path | None


def find_sources(root: Path) -> Sources:
    """Look for VOC2012, SBD and ready masks in the usual places below ``root``."""
    voc = _first(root, VOC_PLACES, "ImageSets/Segmentation/val.txt")
    sbd = _first(root, SBD_PLACES, "cls")
    places = ([voc] if voc else []) + [root]
    masks = [p / "SegmentationClassAug" for p in places]
    return Sources(voc, sbd, next((m for m in masks if m.is_dir()), None))


def _first(root: Path, places: tuple[str, ...], holds: str) -> Path | None:
    return next((root / p for p in places if (root / p / holds).exists()), None)


def obtain_sources(root: Path, progress: bool = True) -> Sources:
    """Take what lies under ``root`` and download what is missing, VOC2012 or SBD.

    Raises:
        CstlibError: a download or an archive fails, or the disk is too small.
    """
    found = find_sources(root)
    missing = [] if found.voc else [VOC]
    if not (found.masks or found.sbd):
        missing.append(SBD)
    if missing:
        obtain(root, missing, progress)
        found = find_sources(root)
    if found.voc is None or not (found.masks or found.sbd):
        raise CstlibError(
            f"VOC2012 and SBD are not complete in {root}: move what is there away "
            "and run the command again."
        )
    return found


def prepare_pascal(
    root: Path, out: Path, lists: Path | None = None, progress: bool = True
) -> Comparison:
    """Obtain the data, build the masks where nobody has, and write lists and labels.

    Args:
        root: folder of VOC2012 and SBD, as they are or to be.
        out: the prepared folder.
        lists: folder of given lists, instead of building them.

    Returns:
        How the lists compare with the benchmark's own.

    Raises:
        CstlibError: whatever is missing, damaged or full.
    """
    sources = obtain_sources(root, progress)
    assert sources.voc is not None  # or it would have been fetched
    train, val = _splits(sources.voc, masks=sources.masks is None)
    masks = sources.masks or out / "SegmentationClassAug"
    if not masks.is_dir():
        assert sources.sbd is not None
        _build_masks(sources.voc, sources.sbd, masks, [*train, *val], progress)
    names = sorted(path.stem for path in masks.glob("*.png"))
    _check_complete(masks, names, val, sources.voc / "JPEGImages")
    n_classes = N_CLASSES["pascal"]
    shown = list_rule.scan_masks(
        names, lambda name: masks / f"{name}.png", n_classes, progress
    )
    folds = fold_table("pascal", n_classes)
    if lists is not None:
        entries = read_given_lists(lists, folds, shown)
    else:
        held = set(val)
        parts = {
            "trn": {name: shown[name] for name in names if name not in held},
            "val": {name: shown[name] for name in val},
        }
        entries = {s: list_rule.list_entries(part, s) for s, part in parts.items()}
    meta = {
        "name": "pascal",
        "protocol": "pascal",
        "class_names": list(PASCAL_CLASSES),
        "given_lists": lists is not None,
    }
    write_prepared(out, meta, sources.voc / "JPEGImages", masks, folds, entries, shown)
    return compare_pascal(out / "ImageSets" / "FewShot", PASCAL_CLASSES)


def verify_pascal(root: Path, out: Path, progress: bool = True) -> tuple[Report, bool]:
    """Check archives, folders, and the prepared folder; change nothing.

    Returns:
        The findings, and whether the lists are the benchmark's.
    """
    report = Report()
    verify_archives(root, (VOC, SBD), report, progress)
    sources = find_sources(root)
    if sources.voc is None:
        report.add(f"VOC2012: not in {root}", good=False)
    else:
        try:
            train, val = _splits(sources.voc, masks=sources.masks is None)
            _count(report, "VOC2012 train", len(train), EXPECTED["train"])
            _count(report, "VOC2012 val", len(val), EXPECTED["val"])
        except CstlibError as error:
            report.add(str(error), good=False)
    masks = sources.masks or out / "SegmentationClassAug"
    if masks.is_dir():
        _count(report, "masks", len([*masks.glob("*.png")]), EXPECTED["masks"])
    elif sources.sbd is None:
        report.add(f"SBD: not in {root}, nor its masks", good=False)
    compare = partial(compare_pascal, class_names=PASCAL_CLASSES)
    return report, verify_lists(out, report, compare)


def _count(report: Report, what: str, found: int, expected: int) -> None:
    text = f"{what}: {found} images"
    report.add(text if found == expected else f"{text}, published are {expected}")


def _splits(voc: Path, masks: bool) -> tuple[list[str], list[str]]:
    """The names of VOC2012's train and val; each must have its image (and mask).

    Raises:
        CstlibError: VOC2012 is not complete.
    """
    splits = []
    for split in ("train", "val"):
        path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise CstlibError(
                f"The list {path} cannot be read: unpack {VOC.name} anew."
            ) from error
        folders = [(voc / "JPEGImages", ".jpg")]
        if masks:
            folders.append((voc / "SegmentationClass", ".png"))
        for folder, suffix in folders:
            absent = [n for n in names if not (folder / f"{n}{suffix}").is_file()]
            if absent:
                raise CstlibError(
                    f"{folder} lacks {len(absent)} of the {len(names)} files of "
                    f"{split}.txt, {absent[0]}{suffix} for one: unpack {VOC.name} anew."
                )
        splits.append(names)
    return splits[0], splits[1]


def _check_complete(
    masks: Path, names: list[str], val: list[str], images: Path
) -> None:
    absent = sorted(set(val) - set(names))
    if absent:
        raise CstlibError(
            f"{masks} lacks {len(absent)} of the {len(val)} validation masks, "
            f"{absent[0]}.png for one: complete it, or move it away to have it built "
            "from VOC2012 and SBD."
        )
    absent = [name for name in names if not (images / f"{name}.jpg").is_file()]
    if absent:
        raise CstlibError(
            f"{images} lacks {len(absent)} images that have a mask, {absent[0]}.jpg "
            f"for one: unpack {VOC.name} anew."
        )


def _build_masks(
    voc: Path, sbd: Path, masks: Path, own: list[str], progress: bool
) -> None:
    """Write SegmentationClassAug: VOC2012's own masks, SBD's for all other images."""
    of_sbd = sorted(set(_sbd_names(sbd)) - set(own))
    palette = voc_palette()
    with list_rule.whole_folder(masks) as folder:
        for name in own:
            source = voc / "SegmentationClass" / f"{name}.png"
            shutil.copyfile(source, folder / f"{name}.png")
        bar = tqdm(
            of_sbd, "SBD's masks", unit="image", leave=False, disable=not progress
        )
        for name in bar:
            path = sbd / "cls" / f"{name}.mat"
            ids = read_struct_field(path, "GTcls", "Segmentation")
            mask = Image.fromarray(np.asarray(ids, dtype=np.uint8))
            mask.putpalette(palette)
            mask.save(folder / f"{name}.png")


def _sbd_names(sbd: Path) -> list[str]:
    """The images of SBD: those of its own lists, all of which must be there."""
    have = {path.stem for path in (sbd / "cls").glob("*.mat")}
    listed = set()
    for split in ("train", "val"):
        if (sbd / f"{split}.txt").is_file():
            listed |= set((sbd / f"{split}.txt").read_text(encoding="utf-8").split())
    absent = sorted(listed - have)
    if absent or not have:
        raise CstlibError(
            f"{sbd / 'cls'} lacks {len(absent) or 'all'} of SBD's class masks, "
            f"{(absent or ['2008_000002'])[0]}.mat for one: unpack {SBD.name} anew."
        )
    return sorted(have)
