"""The switch of worlds: the same course on the miniature, Pascal-5i or COCO-20i."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cstlib.data.lists import N_FOLDS
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.paths import data_home

VARIABLE = "CSTLIB_WORLD"
WORLDS = ("mini", "pascal", "coco")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


PASCAL_CLASSES = _names(
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)
COCO_CLASSES = _names(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, "
    "traffic light, fire hydrant, stop sign, parking meter, bench, bird, cat, dog, "
    "horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, "
    "tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, "
    "baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, "
    "fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, "
    "hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, "
    "toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
    "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, "
    "hair drier, toothbrush"
)


@dataclass(frozen=True)
class World:
    """A benchmark and the backbone that goes with it.

    Attributes:
        name: "mini", "pascal" or "coco".
        root: its data folder, in the layout of `cstlib.data.voc`.
        image_size: S, the side of the square images that the backbone sees.
        backbone: name for `cstlib.backbones.load_backbone`.
        class_names: of classes 1, 2, ... in order.
        n_folds: the folds of held-out classes.
        protocol: "pascal" or "coco": the classes of a fold and how queries are drawn.
    """

    name: str
    root: Path
    image_size: int
    backbone: str
    class_names: tuple[str, ...]
    n_folds: int = N_FOLDS
    protocol: str = "pascal"

    def dataset(self, fold: int, split: str) -> VocDataset:
        """The split "trn" or "val" of a fold; errors as in `VocDataset`."""
        return VocDataset(
            self.root, fold, split, self.image_size, self.class_names, self.protocol
        )


def load_world(name: str | None = None) -> World:
    """The world of that name; by default of ``CSTLIB_WORLD``, else the miniature.

    The miniature is rendered on first use (about a minute).

    Raises:
        CstlibError: there is no such world, or its data are not here.
    """
    name = name or os.environ.get(VARIABLE) or "mini"
    if name not in WORLDS:
        raise CstlibError(
            f"There is no world {name!r}: choose one of {', '.join(WORLDS)} "
            f"(argument or environment variable {VARIABLE})."
        )
    if name == "mini":
        from cstlib.data.mini import CLASS_NAMES, IMAGE_SIZE, ensure_mini

        return World(name, ensure_mini(), IMAGE_SIZE, "dino-mini", tuple(CLASS_NAMES))
    title, class_names = {
        "pascal": ("Pascal-5i", PASCAL_CLASSES),
        "coco": ("COCO-20i", COCO_CLASSES),
    }[name]
    root = data_home() / name
    if not root.is_dir():
        raise CstlibError(
            f"{title} is not in {root}: put it there in the VOC layout that the README "
            f"describes, or stay with the miniature ({VARIABLE}=mini)."
        )
    return World(name, root, 400, "dino-vits8", class_names, protocol=name)
