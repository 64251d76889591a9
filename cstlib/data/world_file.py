"""``world.json``: what one's own data are, as far as they differ from the defaults.

All entries of ``world.json`` are optional; paths start at its folder:

    {"name": "birds",                the folder's name
     "train": "annotations/train.json",  COCO JSON, or (VOC layout) a text file with
     "val": "annotations/val.json",      the names of the images of each split
     "images": "images",             folder of the images that the JSON names
     "classes": ["heron", "stork"],  names of ids 1, 2, ...; of COCO categories these
                                     alone are used, in this order
     "folds": [["heron"], ["stork"]],    held-out classes by name or id, or a number
                                     of folds to be made by the protocol's rule
     "protocol": "pascal",           or "coco": how folds are made and queries drawn
     "least": 0.01,                  what a class must cover to be listed: a share of
                                     the image, or (1 and more) pixels
     "image_size": 400,
     "backbone": "dino-vits8"}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cstlib.data.lists import N_FOLDS, PROTOCOLS, fold_table, read_json
from cstlib.errors import CstlibError

FIELDS: dict[str, Any] = {
    "name": str,
    "train": str,
    "val": str,
    "images": str,
    "classes": list,
    "folds": (list, int),
    "protocol": str,
    "least": (int, float),
    "image_size": int,
    "backbone": str,
    "renderer_version": int,
}


def read_world_file(path: Path) -> dict[str, Any]:
    """The entries of a ``world.json``, checked; none where there is no such file.

    Raises:
        CstlibError: it is not JSON, or an entry is unknown or of the wrong kind.
    """
    if not path.is_file():
        return {}
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise CstlibError(f"{path} is not a JSON object: write it as {{...}}.")
    for key, value in settings.items():
        if key not in FIELDS:
            raise CstlibError(
                f"{path} has an unknown entry {key!r}: it may have {', '.join(FIELDS)}."
            )
        if not _is_kind(key, value):
            raise CstlibError(
                f"{path} has {value!r} for {key}, which is of the wrong kind: see the "
                "example in docs/data.md."
            )
    if settings.get("protocol", "pascal") not in PROTOCOLS:
        raise CstlibError(
            f"{path} asks for the protocol {settings['protocol']!r}: choose one of "
            f"{', '.join(PROTOCOLS)}."
        )
    for key in ("least", "image_size"):
        if settings.get(key, 1) <= 0:
            raise CstlibError(
                f"{path} has {settings[key]} for {key}: give more than 0."
            )
    return settings


def _is_kind(key: str, value: Any) -> bool:
    if not isinstance(value, FIELDS[key]) or isinstance(value, bool):
        return False
    if key == "classes":
        return all(isinstance(name, str) for name in value)
    if key == "folds" and isinstance(value, list):
        lists = all(isinstance(fold, list) for fold in value)
        return lists and all(isinstance(c, (str, int)) for f in value for c in f)
    return True


def own_folds(
    given: int | Sequence[Sequence[Any]] | None,
    class_names: Sequence[str],
    protocol: str,
) -> tuple[tuple[int, ...], ...]:
    """The classes that each fold holds out, as given or by the protocol's rule.

    Args:
        given: a table of names or ids, or the number of folds; None for four folds,
            or for half as many as there are classes if these are fewer than eight.

    Raises:
        CstlibError: fewer than two folds, an unknown class, or one that is in no fold
            or in two.
    """
    count = len(class_names)
    if given is None:
        given = min(N_FOLDS, max(2, count // 2))
    if len(set(class_names)) < count:
        raise CstlibError("Two classes have one name: give each its own.")
    if isinstance(given, int):
        if not 2 <= given <= count:
            raise CstlibError(
                f"{count} classes make no {given} folds: two folds of one class each "
                "are the least, since classes are trained on and tested apart."
            )
        return fold_table(protocol, count, given)
    ids: dict[Any, int] = {c: c for c in range(1, count + 1)}
    ids.update({name: c for c, name in enumerate(class_names, start=1)})
    table = []
    for classes in given:
        for c in classes:
            if c not in ids:
                raise CstlibError(
                    f"A fold names the class {c!r}: choose among "
                    f"{', '.join(class_names)}, or their ids from 1 to {count}."
                )
        table.append(tuple(sorted(ids[c] for c in classes)))
    held = sorted(c for classes in table for c in classes)
    if len(table) < 2 or held != list(range(1, count + 1)) or not all(table):
        raise CstlibError(
            f"The folds hold out the classes {held}: give two folds or more, with each "
            f"of the {count} classes in exactly one of them."
        )
    return tuple(table)
