"""The switch of worlds: the miniature, Pascal-5i, COCO-20i, or data of one's own."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from cstlib.backbone_specs import BACKBONES
from cstlib.data.class_names import COCO_CLASSES, PASCAL_CLASSES
from cstlib.data.layout import read_layout
from cstlib.data.lists import N_CLASSES, N_FOLDS, fold_table
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.paths import data_home

VARIABLE = "CSTLIB_WORLD"
WORLDS = ("mini", "mini-coco", "pascal", "coco")


@dataclass(frozen=True)
class World:
    """A benchmark and the backbone that goes with it.

    Attributes:
        name: one of `WORLDS`, or that of one's own data; files may bear it.
        root: its data folder, in the layout of `cstlib.data.voc`.
        image_size: S, the side of the square images that the backbone sees.
        backbone: name for `cstlib.backbones.load_backbone`.
        class_names: of classes 1, 2, ... in order.
        n_folds: the folds of held-out classes.
        protocol: "pascal" or "coco": the classes of a fold and how queries are drawn.
        path: where one's own data were found; empty for the others.
    """

    name: str
    root: Path
    image_size: int
    backbone: str
    class_names: tuple[str, ...]
    n_folds: int = N_FOLDS
    protocol: str = "pascal"
    path: str = ""

    @property
    def data(self) -> str:
        """What ``--data`` takes to get this world: its name, or its path."""
        return self.path or self.name

    def dataset(self, fold: int, split: str, task: str = "fs-cs") -> VocDataset:
        """The split "trn" or "val" of a fold; task and errors as in `VocDataset`."""
        how = self.image_size, self.class_names, self.protocol, task
        return VocDataset(self.root, fold, split, *how)


def chosen_data(name: str | None = None) -> str:
    """What ``--data`` means where it may be left out: ``CSTLIB_WORLD``, else mini."""
    return name or os.environ.get(VARIABLE) or "mini"


def load_world(name: str | None = None) -> World:
    """The world of that name; by default of ``CSTLIB_WORLD``, else the miniature.

    The miniature is rendered on first use (about a minute), in COCO's layout as
    "mini-coco". A path leads to data of one's own (`cstlib.data.own`), which are
    prepared on first use.

    Raises:
        CstlibError: there is no such world, or its data are not here.
    """
    name = chosen_data(name)
    if name == "mini":
        from cstlib.data.mini import CLASS_NAMES, IMAGE_SIZE, ensure_mini

        return World(name, ensure_mini(), IMAGE_SIZE, "dino-mini", tuple(CLASS_NAMES))
    if name == "mini-coco":
        from cstlib.data.mini_coco import ensure_mini_coco

        return _own_world(ensure_mini_coco())
    if name in ("pascal", "coco"):
        return _benchmark(name)
    if Path(name).exists() or os.sep in name or "/" in name or name.endswith(".json"):
        return _own_world(Path(name), name)
    raise CstlibError(
        f"There is no world {name!r}: choose one of {', '.join(WORLDS)}, or the path "
        f"of your own data (argument or environment variable {VARIABLE})."
    )


def name_in_files(data: str) -> str:
    """What the names of runs and records call the world that ``--data`` gives.

    That is its name; for a path the last part of it that says something, and eight
    digits that tell paths with the same last part from each other.
    """
    if data in WORLDS or not (os.sep in data or "/" in data or Path(data).exists()):
        return data
    path = Path(data).resolve()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    if path.name == "world.json":
        path = path.parent
    stem = re.sub(r"[^A-Za-z0-9._]+", "_", path.name.removesuffix(".json"))
    return f"{stem.strip('._') or 'own'}-{digest}"


def with_backbone(world: World, backbone: str) -> World:
    """The same data for another backbone, at the size that this one looks at.

    Raises:
        CstlibError: there is no such backbone.
    """
    if backbone not in BACKBONES:
        raise CstlibError(
            f"There is no backbone {backbone!r}: choose one of {', '.join(BACKBONES)}."
        )
    size = BACKBONES[backbone].image_size
    return replace(world, backbone=backbone, image_size=size)


def _benchmark(name: str) -> World:
    title, class_names = {
        "pascal": ("Pascal-5i", PASCAL_CLASSES),
        "coco": ("COCO-20i", COCO_CLASSES),
    }[name]
    root = data_home() / name
    if not root.is_dir():
        raise CstlibError(
            f"{title} is not in {root}: prepare it with `python -m cstlib data {name}`, "
            f"or stay with the miniature ({VARIABLE}=mini)."
        )
    return World(name, root, 400, "dino-vits8", class_names, protocol=name)


def _own_world(path: Path, given: str = "") -> World:
    from cstlib.data.own import prepare_own

    root = prepare_own(path)
    layout = read_layout(root)
    meta = layout.meta
    protocol = meta.get("protocol", "pascal")
    folds = layout.folds or fold_table(protocol, N_CLASSES[protocol])
    count = sum(map(len, folds))
    names = meta.get("class_names") or [f"class {c}" for c in range(1, count + 1)]
    return World(
        meta.get("name", root.resolve().name),
        root,
        meta.get("image_size", 400),
        meta.get("backbone", "dino-vits8"),
        tuple(names),
        len(folds),
        protocol,
        given,
    )
