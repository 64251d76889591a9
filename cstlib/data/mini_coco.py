"""The miniature as COCO JSON, so that the COCO path runs on a laptop too.

    images/<name>.png
    annotations/instances_train.json, instances_val.json
    world.json

The drawings are those of `cstlib.data.mini`; the void along their borders, which COCO
does not know, becomes background. Each class of an image is one annotation with
compressed run lengths. ``world.json`` asks for COCO's folds (of 20 classes fold f
holds out f + 1, f + 5, ...) and its way of drawing queries.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from cstlib import files
from cstlib.data.list_rule import whole_folder
from cstlib.data.lists import read_json
from cstlib.data.mini import (
    CLASS_NAMES,
    IMAGE_SIZE,
    RENDERER_VERSION,
    Scene,
    check_request,
    scenes,
)
from cstlib.errors import CstlibError
from cstlib.paths import data_home

PARTS = {"trn": "train", "val": "val"}


def build_mini_coco(
    root: str | Path,
    seed: int = 0,
    train: int = 2000,
    val: int = 500,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the miniature into ``root`` in COCO's layout; returns ``root``.

    The folder appears whole or not at all. Arguments as in `mini.build_mini`.

    Raises:
        CstlibError: a number makes no sense, ``root`` holds something else already,
            or the disk is full or not writable.
    """
    root = Path(root)
    check_request(root, seed, train, val)
    with whole_folder(root, replace=False) as folder:
        (folder / "images").mkdir()
        for stream, count in (("trn", train), ("val", val)):
            drawn = scenes(seed, count, stream, workers, f"{stream} images", progress)
            content = _write_images(folder / "images", stream, drawn)
            path = folder / "annotations" / f"instances_{PARTS[stream]}.json"
            files.write_json(path, content)
        world = {
            "name": "mini-coco",
            "renderer_version": RENDERER_VERSION,
            "train": "annotations/instances_train.json",
            "val": "annotations/instances_val.json",
            "images": "images",
            "protocol": "coco",
            "folds": 4,
            "least": 0.01,
            "image_size": IMAGE_SIZE,
            "backbone": "dino-mini",
        }
        files.write_json(folder / "world.json", world)
    return root


def ensure_mini_coco(root: str | Path | None = None) -> Path:
    """The folder of the miniature in COCO's layout, rendered now if it is not there.

    One of another renderer version is drawn anew.
    """
    root = Path(root) if root is not None else data_home() / "mini-coco"
    if (root / "world.json").is_file():
        if read_json(root / "world.json").get("renderer_version") == RENDERER_VERSION:
            return root
        shutil.rmtree(root)
    try:
        return build_mini_coco(root)
    except CstlibError:
        # Another process may have finished the same folder in the meantime.
        if (root / "world.json").is_file():
            return root
        raise


def _write_images(folder: Path, stream: str, drawn) -> dict[str, Any]:
    """Write the images of a stream; returns their annotation file's content."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, scene in enumerate(drawn):
        name = f"{stream}_{index:06d}.png"
        Image.fromarray(scene.image).save(folder / name)
        image = {"id": index + 1, "file_name": name}
        images.append({**image, "height": IMAGE_SIZE, "width": IMAGE_SIZE})
        annotations += _annotate(scene, index + 1, len(annotations) + 1)
    categories = [{"id": c, "name": n} for c, n in enumerate(CLASS_NAMES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotate(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    found = []
    for number, c in enumerate(scene.classes):
        region = np.asfortranarray(scene.mask == c, dtype=np.uint8)
        code = rle.encode(region)
        found.append(
            {
                "id": first_id + number,
                "image_id": image_id,
                "category_id": c,
                "iscrowd": 0,
                "area": int(rle.area(code)),
                "bbox": [float(x) for x in rle.toBbox(code)],
                "segmentation": {
                    "size": [IMAGE_SIZE, IMAGE_SIZE],
                    "counts": code["counts"].decode("ascii"),
                },
            }
        )
    return found
