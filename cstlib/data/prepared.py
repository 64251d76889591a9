"""A prepared data folder: lists, labels and ``meta.json`` over pixels that lie anywhere.

Written by the commands that prepare benchmarks or data of one's own, and checked by
their ``--verify``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.data.layout import read_layout
from cstlib.data.list_rule import Entry, Shown, write_lists
from cstlib.data.lists import read_labels, read_list
from cstlib.data.pixels import read_size
from cstlib.errors import CstlibError


@dataclass
class Report:
    """What a check has found, line by line, and whether all of it is well."""

    problems: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, text: str, good: bool = True) -> None:
        """Add a line; a bad one counts as a problem."""
        self.problems += not good
        self.lines.append(f"{' ' if good else '!'} {text}")


def write_prepared(
    root: Path,
    meta: Mapping[str, Any],
    images: Path,
    masks: Path,
    folds: Sequence[Sequence[int]],
    entries: Mapping[str, Sequence[Entry]],
    shown: Mapping[str, Shown],
) -> None:
    """Write lists, labels and, last, ``meta.json``; each is whole or not there.

    Args:
        root: the prepared folder.
        meta: further entries of ``meta.json``, such as "class_names".
        images, masks: folders of the pixels; below ``root`` they are kept relative, so
            that the folder can be moved.

    Raises:
        CstlibError: the folder cannot be written, or the disk is full.
    """
    (root / "meta.json").unlink(missing_ok=True)
    write_lists(root / "ImageSets" / "FewShot", entries, folds, shown)
    content = {
        **meta,
        "images": _place(images, root),
        "masks": _place(masks, root),
        "folds": [list(classes) for classes in folds],
    }
    files.write_json(root / "meta.json", content)


def _place(path: Path, root: Path) -> str:
    path, root = path.resolve(), root.resolve()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def verify_prepared(root: Path, report: Report) -> bool:
    """Check a prepared folder against the images and masks that its lists name.

    Every listed image must have a label, and an image and a mask of one size; sizes are
    read from the files' headers. Returns whether the lists are there at all.
    """
    lists = root / "ImageSets" / "FewShot"
    if not (lists / "labels.json").is_file() or not (root / "meta.json").is_file():
        report.add(f"{root} is not prepared yet", good=False)
        return False
    layout = read_layout(root)
    labels = read_labels(lists / "labels.json")
    problems: list[str] = []
    listed: dict[str, None] = {}
    for split in ("trn", "val"):
        for fold, classes in enumerate(layout.folds):
            for name, c in read_list(lists / split / f"fold{fold}.txt"):
                listed[name] = None
                if c not in classes or c not in labels.get(name, ()):
                    problems.append(f"{name} is wrongly listed under class {c}")
    for name in listed:
        try:
            size = read_size(layout.image_path(name))
            if read_size(layout.masks / f"{name}.png") != size:
                problems.append(f"the mask of {name} is of another size than its image")
        except CstlibError as error:
            problems.append(str(error).rstrip("."))
    for problem in problems[:5]:
        report.add(problem, good=False)
    if len(problems) > 5:
        report.add(f"and {len(problems) - 5} more of these", good=False)
    if not problems:
        report.add(f"{len(listed)} listed images: each has its label and mask")
    return True
