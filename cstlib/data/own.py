"""Data of one's own: a folder in the VOC layout or a COCO-format JSON, with folds.

``--data PATH`` takes

- a prepared folder (with ``ImageSets/FewShot/labels.json``): used as it is,
- a folder in the VOC layout: ``JPEGImages/<name>.jpg`` (or .png), and
  ``SegmentationClass/<name>.png`` with ids from 1, 255 for void,
- a COCO-format ``.json``, whose images lie beside it or in ``images/`` beside it or
  beside its folder,
- a folder with a ``world.json``, which says what differs from the defaults
  (`cstlib.data.world_file`).

By default the VOC layout follows Pascal's protocol and JSON follows COCO's, with four
folds (fewer for fewer than eight classes); without splits every fifth image by name
is for validation. Nothing is written into the data; what is derived from them goes
to ``prepared/`` in the data home, under a key of their content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cstlib.data import list_rule
from cstlib.data.coco import draw_masks
from cstlib.data.coco_json import MOST_CLASSES, CocoFile, read_coco
from cstlib.data.layout import Layout
from cstlib.data.list_rule import Shown
from cstlib.data.prepared import write_prepared
from cstlib.data.world_file import own_folds, read_world_file
from cstlib.errors import CstlibError
from cstlib.files import sha256
from cstlib.paths import data_home

FORMAT = 1  # of prepared folders; part of their key
VOC_SPLIT = "ImageSets/Segmentation"


@dataclass(frozen=True)
class OwnData:
    """What there is before it is prepared.

    Attributes:
        folder: where relative paths start.
        settings: the content of ``world.json``, checked; empty without one.
        json_files: the COCO JSON of "trn" and, if it is another, of "val"; empty for
            the VOC layout.
    """

    folder: Path
    settings: Mapping[str, Any]
    json_files: Mapping[str, Path]

    @property
    def protocol(self) -> str:
        """The protocol asked for, or that of the layout."""
        return self.settings.get("protocol", "coco" if self.json_files else "pascal")

    @property
    def name(self) -> str:
        """A name that files may bear."""
        path = self.folder
        if self.json_files and not self.settings:
            path = self.json_files["trn"].with_suffix("")
        name = str(self.settings.get("name") or path.resolve().name)
        return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "own"


def prepare_own(path: str | Path, progress: bool = True) -> Path:
    """The prepared folder of the data at ``path``, made now if it is not there.

    Raises:
        CstlibError: there is nothing of the kind, or something in it is wrong; the
            sentence says what.
    """
    path = Path(path)
    if (path / "ImageSets" / "FewShot" / "labels.json").is_file():
        return path
    own = read_own(path)
    root = data_home() / "prepared" / f"{own.name}-{_key(own)}"
    if not (root / "meta.json").is_file():
        with list_rule.whole_folder(root, replace=False) as folder:
            (_prepare_coco if own.json_files else _prepare_voc)(own, folder, progress)
    return root


def read_own(path: Path) -> OwnData:
    """Find out what lies at ``path`` and read its ``world.json``.

    Raises:
        CstlibError: there is nothing that can be used, or ``world.json`` is wrong.
    """
    if path.suffix == ".json" and path.is_file() and path.name != "world.json":
        return OwnData(path.parent, {}, {"trn": path})
    if path.name == "world.json":
        path = path.parent
    if not path.is_dir():
        raise CstlibError(
            f"There are no data at {path}: give a folder in the VOC layout or a "
            "COCO-format JSON."
        )
    settings = read_world_file(path / "world.json")
    train, val = settings.get("train", ""), settings.get("val", "")
    files = {}
    if train.endswith(".json"):
        files = {"trn": path / train}
        if val:
            files["val"] = path / val
    elif not (path / settings.get("images", "JPEGImages")).is_dir():
        raise CstlibError(
            f"{path} has neither JPEGImages nor a world.json that names a COCO JSON as "
            "train: arrange it so, or give the JSON itself."
        )
    return OwnData(path, settings, files)


def _key(own: OwnData) -> str:
    """Twelve digits that change with anything that the prepared folder depends on."""
    digest = hashlib.sha256(json.dumps([FORMAT, own.settings]).encode())
    digest.update(str(own.folder.resolve()).encode())
    for path in own.json_files.values():
        if not path.is_file():
            raise CstlibError(f"There is no file {path}: check world.json.")
        digest.update(sha256(path).encode())
    if not own.json_files:
        parts = [own.folder / VOC_SPLIT / f"{s}.txt" for s in ("train", "val")]
        parts += [own.folder / own.settings.get(s, "") for s in ("train", "val")]
        parts += sorted((own.folder / _voc_masks(own)).glob("*.png"))
        for path in parts:
            if path.is_file():
                state = path.stat()
                digest.update(f"{path}{state.st_size}{state.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def _voc_masks(own: OwnData) -> Path:
    return Layout(own.folder, own.folder, (), {}).masks


def _prepare_coco(own: OwnData, root: Path, progress: bool) -> None:
    """Masks, lists and labels from one JSON, or one for each split."""
    classes = own.settings.get("classes")
    read = {s: read_coco(path, classes) for s, path in own.json_files.items()}
    names = read["trn"].class_names
    images = _images_folder(own, read["trn"])
    shown: dict[str, dict[str, Shown]] = {}
    for split, file in read.items():
        if file.class_names != names:
            raise CstlibError(
                f"{file.path} has other categories than {read['trn'].path}: give both "
                "the same, or choose with classes in world.json."
            )
        for name in file.names:
            if not (images / file.file_names[name]).is_file():
                raise CstlibError(
                    f"The image {file.file_names[name]} of {file.path} is not in "
                    f"{images}: put it there, or name the folder in world.json."
                )
        shown[split] = draw_masks(file, root / "SegmentationClass", "", progress)
    if "val" not in shown:
        shown = _split(shown["trn"])
    elif both := set(shown["trn"]) & set(shown["val"]):
        raise CstlibError(
            f"The image {min(both)} is both in {read['trn'].path.name} and "
            f"{read['val'].path.name}: leave it to one of the two."
        )
    _write(own, root, names, images, root / "SegmentationClass", shown)


def _images_folder(own: OwnData, file: CocoFile) -> Path:
    """Where the images of a JSON are: as said, or the first place that has one."""
    if "images" in own.settings:
        return own.folder / own.settings["images"]
    at = file.path.parent
    places = [at, at / "images", at.parent, at.parent / "images"]
    first = file.file_names[file.names[0]] if file.names else ""
    for place in places:
        if first and (place / first).is_file():
            return place
    raise CstlibError(
        f"The images of {file.path} ({first} for one) are not beside it nor in "
        "images/: put them there, or name their folder in a world.json."
    )


def _prepare_voc(own: OwnData, root: Path, progress: bool) -> None:
    """Lists and labels of a VOC-layout folder; its masks stay where they are."""
    masks = _voc_masks(own)
    images = own.folder / own.settings.get("images", "JPEGImages")
    places = Layout(own.folder, images, (), {})
    given = own.settings.get("classes")
    train, val = _voc_split(own, "train"), _voc_split(own, "val")
    if train is None or val is None:
        names = sorted(path.stem for path in masks.glob("*.png"))
    else:
        names = [*train, *val]
        if both := set(train) & set(val):
            raise CstlibError(
                f"The image {min(both)} is both in the training and the validation "
                "list: leave it to one of the two."
            )
    for name in names:
        places.image_path(name)
    n_classes = len(given) if given else MOST_CLASSES
    every = list_rule.scan_masks(
        names, lambda name: masks / f"{name}.png", n_classes, progress
    )
    if not given:
        highest = max((c for image in every.values() for c in image.pixels), default=0)
        given = [f"class {c}" for c in range(1, highest + 1)]
    if train is None or val is None:
        shown = _split(every)
    else:
        shown = {
            "trn": {name: every[name] for name in train},
            "val": {name: every[name] for name in val},
        }
    _write(own, root, tuple(map(str, given)), images, masks, shown)


def _voc_split(own: OwnData, split: str) -> list[str] | None:
    path = own.folder / own.settings.get(split, f"{VOC_SPLIT}/{split}.txt")
    if not path.is_file() and split not in own.settings:
        return None
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise CstlibError(f"The list {path} cannot be read: check the path.") from error


def _split(every: Mapping[str, Shown]) -> dict[str, dict[str, Shown]]:
    """Every fifth image by name is for validation."""
    names = sorted(every)
    return {
        "trn": {name: every[name] for i, name in enumerate(names) if i % 5 != 4},
        "val": {name: every[name] for i, name in enumerate(names) if i % 5 == 4},
    }


def _write(own, root, class_names, images, masks, shown) -> None:
    folds = own_folds(own.settings.get("folds"), class_names, own.protocol)
    least = own.settings.get("least", list_rule.LEAST_SHARE)
    entries = {s: list_rule.list_entries(part, s, least) for s, part in shown.items()}
    meta = {
        "name": own.name,
        "protocol": own.protocol,
        "class_names": list(class_names),
        "image_size": own.settings.get("image_size", 400),
        "backbone": own.settings.get("backbone", "dino-vits8"),
    }
    every = {**shown["trn"], **shown["val"]}
    write_prepared(root, meta, images, masks, folds, entries, every)
