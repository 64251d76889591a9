"""Read annotations in COCO's JSON format and draw masks of class ids from them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as rle

from cstlib.errors import CstlibError

MOST_CLASSES = 254  # 0 is background and 255 void in a mask of bytes


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file, by image names without their extension.

    Attributes:
        path: the file.
        class_names: of classes 1, 2, ...
        images: name -> (H, W).
        file_names: name -> the image file as written in the JSON.
        of_image: name -> its annotations, each with its "class".
    """

    path: Path
    class_names: tuple[str, ...]
    images: dict[str, tuple[int, int]]
    file_names: dict[str, str]
    of_image: dict[str, list[dict[str, Any]]]

    @property
    def names(self) -> list[str]:
        """The images' names, sorted."""
        return sorted(self.images)

    def annotations(self, name: str) -> list[dict[str, Any]]:
        """The annotations of an image, in the file's order."""
        return self.of_image.get(name, [])


def read_coco(path: str | Path, classes: Sequence[str] | None = None) -> CocoFile:
    """Read a COCO-format annotation file.

    Args:
        classes: names of the categories to use, as classes 1, 2, ... in this order;
            by default all, sorted by id. Annotations of other categories are left out.

    Raises:
        CstlibError: the file is missing, not JSON, or not of COCO's format; it names a
            file outside the images' folder, or has more than 254 categories.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CstlibError(f"There is no file {path}: check the path.") from error
    except (OSError, ValueError) as error:
        raise CstlibError(
            f"The file {path} is not JSON ({error}): get it anew."
        ) from error
    try:
        category = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        chosen = _choose(path, category, classes)
        images, file_names, name_of = {}, {}, {}
        for image in content["images"]:
            name = _name(path, str(image["file_name"]))
            if name in images:
                raise CstlibError(
                    f"{path} has two images named {name}: give their files different "
                    "names."
                )
            images[name] = int(image["height"]), int(image["width"])
            file_names[name] = str(image["file_name"])
            name_of[image["id"]] = name
        of_image: dict[str, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            c = chosen.get(int(annotation["category_id"]))
            if annotation["category_id"] not in category:
                raise KeyError(f"category_id {annotation['category_id']}")
            if c is not None:
                kept = {
                    "id": int(annotation["id"]),
                    "class": c,
                    "crowd": bool(annotation.get("iscrowd")),
                    "segmentation": annotation.get("segmentation"),
                }
                of_image.setdefault(name_of[annotation["image_id"]], []).append(kept)
    except (KeyError, TypeError, ValueError) as error:
        raise CstlibError(
            f"{path} is not in COCO's format ({type(error).__name__}: {error}): it "
            "needs images, annotations and categories that belong together."
        ) from error
    names = tuple(category[k] for k in sorted(chosen, key=chosen.__getitem__))
    return CocoFile(path, names, images, file_names, of_image)


def class_mask(
    height: int, width: int, annotations: Sequence[Mapping[str, Any]]
) -> np.ndarray:
    """Paint an image's annotations into H x W uint8 class ids, 0 for background.

    Crowds first, then single objects from the largest to the smallest, equal ones by
    rising id: what is painted later covers what is there.

    Raises:
        CstlibError: an annotation has no valid region for an image of this size.
    """
    regions = [(region_of(a, height, width), a) for a in annotations]
    regions.sort(key=lambda r: (not r[1]["crowd"], -int(r[0].sum()), r[1]["id"]))
    mask = np.zeros((height, width), dtype=np.uint8)
    for region, annotation in regions:
        mask[region] = annotation["class"]
    return mask


def region_of(annotation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """H x W bool from polygons, run lengths or compressed run lengths.

    Raises:
        CstlibError: the region is missing, malformed or of another size.
    """
    segmentation = annotation["segmentation"]
    try:
        if isinstance(segmentation, list):
            if not segmentation or any(len(p) < 6 or len(p) % 2 for p in segmentation):
                raise ValueError("a polygon needs three points or more")
            code = rle.merge(rle.frPyObjects(segmentation, height, width))
        else:
            if [*map(int, segmentation["size"])] != [height, width]:
                raise ValueError(f"its size is {segmentation['size']}")
            code = dict(segmentation)
            if isinstance(code["counts"], list):
                if sum(code["counts"]) != height * width or min(code["counts"]) < 0:
                    raise ValueError("its counts do not fill the image")
                code = rle.frPyObjects(code, height, width)
        region = _decoded(code)
    except Exception as error:  # pycocotools raises whatever it meets
        raise CstlibError(
            f"Annotation {annotation['id']} has no valid segmentation for an image of "
            f"{width}x{height} pixels ({error}): correct it or take it out."
        ) from error
    return region.astype(bool)


def _decoded(code: Mapping[str, Any]) -> np.ndarray:
    """H x W uint8, without pycocotools' complaint about itself under NumPy 2."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "__array__ implementation doesn't accept", DeprecationWarning
        )
        return rle.decode(code)


def _choose(
    path: Path, category: Mapping[int, str], classes: Sequence[str] | None
) -> dict[int, int]:
    """Category id -> class id from 1 on."""
    if classes is None:
        ids = sorted(category)
    else:
        id_of = {name: k for k, name in category.items()}
        unknown = [name for name in classes if name not in id_of]
        if unknown:
            raise CstlibError(
                f"{path} has no category {unknown[0]!r}: choose among "
                f"{', '.join(sorted(id_of))}."
            )
        ids = [id_of[name] for name in classes]
    if not 1 <= len(ids) <= MOST_CLASSES or len(set(ids)) < len(ids):
        raise CstlibError(
            f"{len(ids)} categories of {path} were chosen: choose 1 to {MOST_CLASSES} "
            "different ones."
        )
    return {k: c for c, k in enumerate(ids, start=1)}


def _name(path: Path, file_name: str) -> str:
    """The name without its extension; it may not lead out of the images' folder."""
    inside = PurePosixPath(file_name.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0]:
        raise CstlibError(
            f"{path} names the image file {file_name!r} outside its folder: write "
            "paths below the folder of the images."
        )
    return inside.with_suffix("").as_posix()
