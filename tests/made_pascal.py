"""A made VOC2012 and SBD, in the real layout, with enough of each class for a course.

Small pictures of many sizes, none of them square, each with one or two boxes in the
colours of their classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_benchmarks import mat_bytes
from numpy.random import RandomState
from PIL import Image

from cstlib.data.pixels import voc_palette

SIZES = ((100, 120), (120, 96), (90, 130), (110, 100))  # H, W
# Pictures of each class in SMALL and LARGE, in fold 0's classes and in the others': 5
# shots need 6; notebook 06 takes 5% of fold 0's training masks, and shows the 22nd.
SMALL = {"train": (6, 6), "val": (8, 7)}
LARGE = {"train": (6, 32), "val": (12, 7)}
LEAST = 2048  # pixels of a class for a picture to be listed under it


def made_picture(
    seed: int, c: int, n_classes: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """H x W x 3 with a box of class ``c``, every second with another, and its mask."""
    random = RandomState(seed)
    height, width = SIZES[seed % len(SIZES)]
    image = random.randint(90, 166, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), dtype=np.uint8)
    half = width // 2
    boxes = [(c, 0), (1 + (c + random.randint(1, n_classes) - 1) % n_classes, half)]
    for number, left in boxes[: 1 + seed % 2]:
        w = random.randint(38, half - 4)
        h = LEAST // (w - 2) + 4 + random.randint(0, 15)
        y, x = random.randint(1, height - h), left + random.randint(1, half - w)
        image[y : y + h, x : x + w] = (
            12 * number % 256,
            255 - 12 * number % 256,
            90 * number % 256,
        )
        mask[y : y + h, x : x + w] = 255
        mask[y + 1 : y + h - 1, x + 1 : x + w - 1] = number
    return image, mask


def made_pascal(root: Path, counts: dict[str, tuple[int, int]] = SMALL) -> Path:
    """VOC2012's and SBD's folders under ``root``; half of the training masks are SBD's."""
    voc = root / "VOCdevkit" / "VOC2012"
    sbd = root / "benchmark_RELEASE" / "dataset"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    (sbd / "cls").mkdir(parents=True)
    names: dict[str, list[str]] = {"train": [], "val": [], "sbd": []}
    for split, year in (("train", 2008), ("val", 2009)):
        first_fold, others = counts[split]
        classes = [
            c for c in range(1, 21) for _ in range(first_fold if c < 6 else others)
        ]
        for index, c in enumerate(classes):
            name = f"{year}_{index:06d}"
            image, mask = made_picture(index + year, c)
            Image.fromarray(image).save(voc / "JPEGImages" / f"{name}.jpg")
            if split == "train" and index // 2 % 2:
                names["sbd"].append(name)
                ids = np.where(mask == 255, 0, mask)  # SBD has no void
                (sbd / "cls" / f"{name}.mat").write_bytes(mat_bytes(ids, True))
                continue
            names[split].append(name)
            drawn = Image.fromarray(mask)
            drawn.putpalette(voc_palette())
            drawn.save(voc / "SegmentationClass" / f"{name}.png")
    for split in ("train", "val"):
        path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.write_text("".join(f"{name}\n" for name in names[split]))
    (sbd / "train.txt").write_text("".join(f"{name}\n" for name in names["sbd"]))
    (sbd / "val.txt").write_text("")
    return root
