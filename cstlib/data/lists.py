"""The benchmarks' lists: folds of classes, and which image is listed under which.

A list has one line ``name__cc`` for each image and class that it is listed under;
an image with two classes has two lines. A label file holds for each image all classes
that it shows, however small. Both are written once, when the data are built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from cstlib import files
from cstlib.errors import CstlibError

Entries = Sequence[tuple[str, int]]
ImagesOfClass = Mapping[int, Sequence[str]]

PROTOCOLS = ("pascal", "coco")
# Classification and segmentation; segmentation of a class that is always there.
TASKS = ("fs-cs", "fs-s")
N_FOLDS = 4
N_CLASSES = {"pascal": 20, "coco": 80}
AGAIN = (
    "prepare the data again with python -m cstlib data (the miniature: delete its "
    "folder first)"
)

_LINE = re.compile(r"(?P<name>.*\S)__(?P<class>[0-9]+)")


def fold_classes(fold: int, protocol: str = "pascal") -> tuple[int, ...]:
    """The class ids that a fold holds out, in rising order.

    Pascal-5i takes five in a row (fold 0: 1..5), COCO-20i every fourth of 80
    (fold 0: 1, 5, 9, ...).

    Raises:
        CstlibError: there is no such fold or protocol.
    """
    check_protocol(protocol)
    return pick_fold(fold_table(protocol, N_CLASSES[protocol]), fold)


def fold_table(
    protocol: str, n_classes: int, n_folds: int = N_FOLDS
) -> tuple[tuple[int, ...], ...]:
    """The held-out classes of each fold, for any number of classes 1..n.

    Pascal's rule takes them in a row, nearly equally many a fold; COCO's rule gives
    fold f the classes f + 1, f + 1 + n_folds, and so on.

    Raises:
        CstlibError: there is no such protocol, or a fold would be empty.
    """
    check_protocol(protocol)
    if not 1 <= n_folds <= n_classes:
        raise CstlibError(
            f"{n_classes} classes cannot be held out in {n_folds} folds: give at least "
            "one class to each fold."
        )
    if protocol == "coco":
        return tuple(
            tuple(range(f + 1, n_classes + 1, n_folds)) for f in range(n_folds)
        )
    ends = [-(-n_classes * f // n_folds) for f in range(n_folds + 1)]
    return tuple(tuple(range(a + 1, b + 1)) for a, b in pairwise(ends))


def pick_fold(folds: Sequence[tuple[int, ...]], fold: int) -> tuple[int, ...]:
    """Entry ``fold`` of a fold table.

    Raises:
        CstlibError: there is none.
    """
    if fold not in range(len(folds)):
        raise CstlibError(
            f"There is no fold {fold}: choose one of 0 to {len(folds) - 1}."
        )
    return folds[fold]


def read_list(path: str | Path) -> list[tuple[str, int]]:
    """Read a list file: (name, class) for each line, in the file's order.

    Raises:
        CstlibError: the file is missing, a line is malformed, or a line repeats.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise CstlibError(f"The list {path} is missing: {AGAIN}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CstlibError(
            f"The list {path} cannot be read ({error}): {AGAIN}."
        ) from error
    first_line: dict[tuple[str, int], int] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        entry = (match["name"], int(match["class"])) if match else ("", 0)
        if entry[1] < 1:
            raise CstlibError(
                f"Line {number} of {path} is {line!r} where name__class was expected, "
                "like 2007_000033__01: correct it or prepare the data again."
            )
        if entry in first_line:
            raise CstlibError(
                f"Line {number} of {path} repeats line {first_line[entry]} "
                f"({line}): delete one of the two."
            )
        first_line[entry] = number
    return list(first_line)


def write_list(path: str | Path, entries: Iterable[tuple[str, int]]) -> None:
    """Write ``entries`` as a list file, the class in two digits, all or nothing."""
    files.write_text(path, "".join(f"{name}__{c:02d}\n" for name, c in entries))


def images_by_class(
    entries: Entries, classes: Iterable[int] | None = None
) -> dict[int, list[str]]:
    """The images listed under each class, in list order; classes in rising order.

    Args:
        classes: the classes to expect; by default those that occur. An expected
            class without an image gets an empty list.

    Raises:
        CstlibError: an entry's class is not among ``classes``.
    """
    expected = sorted({c for _, c in entries} if classes is None else set(classes))
    images: dict[int, list[str]] = {c: [] for c in expected}
    for name, c in entries:
        if c not in images:
            raise CstlibError(
                f"The image {name} is listed under class {c}, which is not among the "
                f"classes {expected}: correct the list or prepare the data again."
            )
        images[c].append(name)
    return images


def read_json(path: Path) -> Any:
    """Read a JSON file that belongs to the data.

    Raises:
        CstlibError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CstlibError(f"The file {path} is missing: {AGAIN}.") from error
    except (OSError, ValueError) as error:
        raise CstlibError(f"The file {path} cannot be read: {AGAIN}.") from error


def read_labels(path: Path) -> dict[str, frozenset[int]]:
    """Read a label file: for each image name the classes that it shows.

    Raises:
        CstlibError: the file is missing or does not map names to class ids.
    """
    content = read_json(path)
    try:
        return {name: frozenset(map(int, ids)) for name, ids in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise CstlibError(
            f"The label file {path} does not map names to class ids: {AGAIN}."
        ) from error


def check_task(task: str, way: int = 1) -> None:
    """See to it that ``task`` is "fs-cs" or "fs-s", with one way in FS-S.

    Raises:
        CstlibError: it is not.
    """
    if task not in TASKS:
        raise CstlibError(
            f"There is no task {task!r}: choose one of {', '.join(TASKS)}."
        )
    if task == "fs-s" and way != 1:
        raise CstlibError(
            f"FS-S segments one class at a time, so {way} ways are not possible: ask "
            "for 1, or choose the task fs-cs."
        )


def check_protocol(protocol: str) -> None:
    """See to it that ``protocol`` is "pascal" or "coco".

    Raises:
        CstlibError: it is another.
    """
    if protocol not in PROTOCOLS:
        raise CstlibError(
            f"There is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}."
        )
