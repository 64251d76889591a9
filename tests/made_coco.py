"""A made COCO 2014, in the real layout, with enough of each class for a course.

The pictures are those of the made Pascal, with boxes of 80 classes. COCO knows no void:
the annotations are polygons around the boxes without their borders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_benchmarks import COCO_IDS, annotation, box
from made_pascal import made_picture
from PIL import Image

from cstlib import files
from cstlib.data.class_names import COCO_CLASSES

# Pictures of each class in SMALL and LARGE, in fold 0's classes and in the others': 5
# shots need 6 (notebook 00 does without); 06 takes 5% of fold 0's training masks, and
# shows the 22nd; 09 asks for six validation pictures of one class alone, which every
# second one is.
SMALL = {"train2014": (2, 2), "val2014": (3, 3)}
LARGE = {"train2014": (6, 8), "val2014": (12, 7)}
FIRST = {"train2014": 1, "val2014": 100_001}  # image ids


def made_coco(root: Path, counts: dict[str, tuple[int, int]] = SMALL) -> Path:
    """COCO 2014's images and instances under ``root``, so many of each class."""
    for part, (first_fold, others) in counts.items():
        drawn = [
            (turn, c)
            for turn in range(max(first_fold, others))
            for c in range(1, len(COCO_CLASSES) + 1)
            if turn < (first_fold if c % 4 == 1 else others)
        ]
        images, annotations = [], []
        (root / part).mkdir(parents=True)
        for index, (turn, c) in enumerate(drawn):
            number = FIRST[part] + index
            # Of a class's pictures every second one has another class, too.
            seed = FIRST[part] + 2 * index + turn % 2
            picture, mask = made_picture(seed, c, len(COCO_CLASSES))
            name = f"COCO_{part}_{number:012d}.jpg"
            Image.fromarray(picture).save(root / part / name)
            height, width = mask.shape
            size = {"height": height, "width": width}
            images.append({"id": number, "file_name": name, **size})
            for shown in np.unique(mask[(mask > 0) & (mask < 255)]).tolist():
                own_id = FIRST[part] + len(annotations)
                region = outline(mask == shown)
                annotations.append(annotation(own_id, number, shown, region))
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": k, "name": name}
                for k, name in zip(COCO_IDS, COCO_CLASSES, strict=True)
            ],
        }
        files.write_json(root / "annotations" / f"instances_{part}.json", content)
    return root


def outline(region: np.ndarray) -> list[list[float]]:
    """COCO's polygon of a rectangular region, H x W."""
    y, x = (places.tolist() for places in np.nonzero(region))
    width, height = max(x) - min(x) + 1, max(y) - min(y) + 1
    return box(min(x), min(y), width, height)
