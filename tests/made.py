"""Small made data for the tests of every module."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from PIL import Image

from cstlib import files
from cstlib.data.sampler import write_list

CLASS_NAMES = [f"made {c:02d}" for c in range(1, 21)]


def made_image(
    index: int, size: tuple[int, int] = (96, 96)
) -> tuple[np.ndarray, np.ndarray]:
    """Image number ``index``: H x W x 3 uint8, and its H x W mask.

    Class ``1 + index % 20`` is a large box in the left half, every second image has
    another class in the right half, and every fifth a single pixel of a third one,
    too small to be listed. Boxes have their class's colour and a void border.
    """
    height, width = size
    random = RandomState(index)
    image = random.randint(90, 166, size=(height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), dtype=np.uint8)
    boxes = [(1 + index % 20, 0)]
    if index % 2:
        boxes.append((1 + (7 * index + 3) % 20, width // 2))
    for c, left in boxes:
        h = random.randint(height // 3, height // 2 + 1)
        w = random.randint(width // 4, width // 3 + 1)
        y = random.randint(1, height - h)
        x = left + random.randint(1, width // 2 - w)
        image[y : y + h, x : x + w] = (12 * c, 255 - 12 * c, (90 * c) % 256)
        mask[y : y + h, x : x + w] = 255
        mask[y + 1 : y + h - 1, x + 1 : x + w - 1] = c
    if index % 5 == 0:
        mask[0, 0] = 1 + (3 * index + 5) % 20
    return image, mask


def made_voc(
    root: str | Path, images: int = 60, image_size: int | tuple[int, int] = 96
) -> Path:
    """Write a VOC-layout folder of made images; returns ``root``.

    Args:
        images: in each of the two splits; a class has at least ``images // 20``, so
            K shots need ``20 * (K + 1)`` of them.
        image_size: side in pixels, or (H, W).
    """
    root = Path(root)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    lists = root / "ImageSets" / "FewShot"
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    labels = {}
    for split, first in (("trn", 0), ("val", 10_000)):
        entries = []
        for index in range(images):
            name = f"{split}_{index:04d}"
            image, mask = made_image(first + index, size)
            Image.fromarray(image).save(root / "JPEGImages" / f"{name}.png")
            Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
            pixels = np.bincount(mask.ravel(), minlength=256)[:255]
            labels[name] = [c for c in range(1, 21) if pixels[c]]
            entries += [(name, c) for c in labels[name] if pixels[c] >= mask.size / 100]
        if split == "trn":
            entries.sort(key=lambda entry: (entry[1], entry[0]))
        for fold in range(4):
            write_list(
                lists / split / f"fold{fold}.txt",
                [entry for entry in entries if (entry[1] - 1) // 5 == fold],
            )
    files.write_json(lists / "labels.json", labels)
    meta = {
        "name": "made",
        "renderer_version": 1,
        "seed": 0,
        "train": images,
        "val": images,
        "image_size": image_size,
        "class_names": CLASS_NAMES,
        "folds": 4,
    }
    files.write_json(root / "meta.json", meta)
    return root


def is_one_sentence(message: object) -> bool:
    """Whether an error reads as one sentence: what is wrong, a colon, what to do."""
    text = str(message)
    return (
        text.endswith(".")
        and ": " in text
        and "\n" not in text
        and re.search(r"[.!?] +[A-Z]", text) is None
    )
