"""Data of one's own, made: a folder as VOC has it, and a JSON in COCO's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made import made_image
from made_benchmarks import box
from PIL import Image

from cstlib import files

NAMES = ("heron", "stork", "crane", "ibis")


def own_voc(root: Path, images: int = 20, splits: bool = False) -> Path:
    """Images of ids 1 to 4 as VOC has them, without few-shot lists."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    names = []
    for index in range(images):
        image, mask = made_image(index, (40, 50))
        mask = np.where((mask > 0) & (mask < 255), 1 + index % 4, mask)
        names.append(f"photo_{index:02d}")
        Image.fromarray(image).save(root / "JPEGImages" / f"{names[-1]}.jpeg")
        path = root / "SegmentationClass" / f"{names[-1]}.png"
        Image.fromarray(mask.astype(np.uint8)).save(path)
    if splits:
        for split, part in (("train", names[:12]), ("val", names[12:])):
            path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
            path.write_text("\n".join(part), encoding="utf-8")
    return root


def own_coco(
    folder: Path,
    images: int = 20,
    places: str = "images",
    json_name: str = "birds.json",
) -> Path:
    """A JSON with one large box of a category in each image."""
    folder.mkdir(parents=True)
    (folder / places).mkdir(exist_ok=True)
    content = {
        "images": [
            {"id": i, "file_name": f"photo_{i:02d}.JPG", "height": 40, "width": 50}
            for i in range(images)
        ],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 10 * (1 + i % 4),
                "iscrowd": 0,
                "segmentation": box(5, 5, 20, 20),
            }
            for i in range(images)
        ],
        "categories": [
            {"id": 10 * k, "name": name} for k, name in enumerate(NAMES, start=1)
        ],
    }
    for image in content["images"]:
        path = folder / places / image["file_name"]
        Image.new("RGB", (50, 40), (10 * image["id"], 0, 0)).save(path, "JPEG")
    files.write_json(folder / json_name, content)
    return folder / json_name
