"""Small made originals in the real layouts: VOC2012, SBD and COCO 2014."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from cstlib import files
from cstlib.data.class_names import COCO_CLASSES
from cstlib.data.pixels import voc_palette

H, W = 100, 120
TRAIN = ["2007_000001", "2007_000002", "2008_000003"]
VAL = ["2007_000010", "2007_000011", "2009_000012"]
# SBD has images of its own, and others of VOC's train and val.
SBD_OWN = ["2008_000020", "2008_000021", "2010_000022"]
SBD_ALL = [*SBD_OWN, TRAIN[2], VAL[0]]
# The real file has 91 ids for 80 categories; which are left out does not matter here.
COCO_IDS = [
    c for c in range(1, 91) if c not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
]


def box_mask(*boxes: tuple[int, int]) -> np.ndarray:
    """H x W with a column of boxes: (class, pixels), a pixel row after the other."""
    mask = np.zeros(H * W, dtype=np.uint8)
    at = 0
    for c, pixels in boxes:
        mask[at : at + pixels] = c
        at += pixels
    return mask.reshape(H, W)


# 2048 pixels are listed, 2047 are not.
VOC_MASKS = {
    TRAIN[0]: box_mask((1, 2048), (255, 100), (7, 3000)),
    TRAIN[1]: box_mask((20, 2500), (1, 2047)),
    TRAIN[2]: box_mask((15, 5000)),
    VAL[0]: box_mask((3, 2100), (2, 2100)),
    VAL[1]: box_mask((12, 9000), (255, 2000)),
    VAL[2]: box_mask((16, 2048), (6, 1)),
}
SBD_MASKS = {
    SBD_OWN[0]: box_mask((1, 4000)),
    SBD_OWN[1]: box_mask((8, 2048), (9, 2049)),
    SBD_OWN[2]: box_mask((19, 2047)),
    # Must not replace VOC's own masks.
    TRAIN[2]: box_mask((4, 9000)),
    VAL[0]: box_mask((5, 9000)),
}
# By hand, from the masks above.
LISTS = {
    "trn/fold0.txt": "2007_000001__01\n2008_000020__01\n",
    "trn/fold1.txt": "2007_000001__07\n2008_000021__08\n2008_000021__09\n",
    "trn/fold2.txt": "2008_000003__15\n",
    "trn/fold3.txt": "2007_000002__20\n",
    "val/fold0.txt": "2007_000010__02\n2007_000010__03\n",
    "val/fold1.txt": "",
    "val/fold2.txt": "2007_000011__12\n",
    "val/fold3.txt": "2009_000012__16\n",
}


def lists_of(out: Path) -> dict[str, str]:
    """The few-shot lists of a prepared folder, to be compared with `LISTS`."""
    folder = out / "ImageSets" / "FewShot"
    return {name: (folder / name).read_text(encoding="utf-8") for name in LISTS}


def made_voc2012(voc: Path) -> Path:
    """A VOC2012 folder of nine images, six with masks."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for split, names in (("train", TRAIN), ("val", VAL)):
        path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for index, name in enumerate([*VOC_MASKS, *SBD_OWN]):
        image = np.full((H, W, 3), 20 * index, dtype=np.uint8)
        Image.fromarray(image).save(voc / "JPEGImages" / f"{name}.jpg")
    for name, mask in VOC_MASKS.items():
        image = Image.fromarray(mask)
        image.putpalette(voc_palette())
        image.save(voc / "SegmentationClass" / f"{name}.png")
    return voc


def made_sbd(sbd: Path) -> Path:
    """SBD's ``dataset`` folder with five class masks."""
    (sbd / "cls").mkdir(parents=True)
    (sbd / "train.txt").write_text("\n".join(SBD_ALL[:3]) + "\n", encoding="utf-8")
    (sbd / "val.txt").write_text("\n".join(SBD_ALL[3:]) + "\n", encoding="utf-8")
    for index, (name, mask) in enumerate(SBD_MASKS.items()):
        (sbd / "cls" / f"{name}.mat").write_bytes(mat_bytes(mask, index % 2 == 0))
    return sbd


def made_pascal(root: Path) -> Path:
    """VOC2012 and SBD as their archives unpack."""
    made_voc2012(root / "VOCdevkit" / "VOC2012")
    made_sbd(root / "benchmark_RELEASE" / "dataset")
    return root


def element(kind: int, body: bytes) -> bytes:
    """An element of a MATLAB 5 file, in the short form where it fits."""
    if len(body) <= 4:
        return struct.pack("<HH", kind, len(body)) + body.ljust(4, b"\0")
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def matrix(array_class: int, shape: tuple[int, ...], name: str, *rest: bytes) -> bytes:
    """A matrix element: flags, dimensions, name, and what follows."""
    head = element(6, struct.pack("<II", array_class, 0))
    head += element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name.encode()) + b"".join(rest))


def mat_bytes(mask: np.ndarray, compressed: bool) -> bytes:
    """SBD's file of a mask: GTcls with Boundaries, Segmentation, CategoriesPresent."""
    cell = matrix(9, (1, 1), "", element(2, b"\1"))
    pixels = element(2, mask.tobytes(order="F"))
    names = b"".join(
        field.encode().ljust(32, b"\0")
        for field in ("Boundaries", "Segmentation", "CategoriesPresent")
    )
    struct_ = matrix(
        2,
        (1, 1),
        "GTcls",
        element(5, struct.pack("<i", 32)),
        element(1, names),
        matrix(1, (1, 1), "", cell),
        matrix(9, mask.shape, "", pixels),
        matrix(9, (1, 1), "", element(2, b"\1")),
    )
    if compressed:
        squeezed = zlib.compress(struct_)
        struct_ = struct.pack("<II", 15, len(squeezed)) + squeezed
    return (
        b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM" + struct_
    )


def box(x: int, y: int, w: int, h: int) -> list[list[float]]:
    """A rectangle as COCO's polygons."""
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(number: int, image: int, c: int, segmentation, crowd: int = 0) -> dict:
    """An annotation of class ``c`` (1..80, by sorted category id)."""
    return {
        "id": number,
        "image_id": image,
        "category_id": COCO_IDS[c - 1],
        "iscrowd": crowd,
        "segmentation": segmentation,
    }


def made_coco(root: Path, per_class: int = 1) -> Path:
    """COCO 2014 with ``per_class`` images of each class in each part, two a picture."""
    for part, first in (("train2014", 1), ("val2014", 100_001)):
        images, annotations = [], []
        (root / part).mkdir(parents=True)
        for index in range(80 * per_class):
            number = first + index
            name = f"COCO_{part}_{number:012d}.jpg"
            Image.new("RGB", (W, H), (index % 255, 0, 0)).save(root / part / name)
            images.append({"id": number, "file_name": name, "height": H, "width": W})
            c = 1 + index % 80
            # 50 x 50 pixels are listed, 10 x 10 of the next class are not.
            regions = [(c, box(5, 5, 50, 50)), (1 + c % 80, box(80, 80, 10, 10))]
            for k, region in regions:
                annotations.append(
                    annotation(len(annotations) + first, number, k, region)
                )
        content = {
            "images": images,
            "annotations": annotations,
            # In the real file, too, the order says nothing.
            "categories": [
                {"id": k, "name": name}
                for k, name in reversed([*zip(COCO_IDS, COCO_CLASSES, strict=True)])
            ],
        }
        files.write_json(root / "annotations" / f"instances_{part}.json", content)
    return root
