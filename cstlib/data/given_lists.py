"""Lists that somebody else made: the benchmark's own files, or a variant of them.

Text files ``trn/fold0.txt`` ... ``val/fold3.txt`` hold lines ``name__class``; the
pickles that circulate for COCO-20i hold {class from 0: [names]}. A trn file may hold
the classes that its fold holds out (Pascal-5i's files) or those that it trains on
(COCO-20i's).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

from cstlib.data.layout import EXTENSIONS
from cstlib.data.list_rule import Entry, Shown
from cstlib.data.lists import read_list
from cstlib.errors import CstlibError


def read_given_lists(
    folder: str | Path, folds: Sequence[Sequence[int]], shown: Mapping[str, Shown]
) -> dict[str, list[Entry]]:
    """The entries of "trn" and "val", each in its files' own order.

    Args:
        folder: holds ``trn/`` and ``val/``.
        folds: the classes that each fold holds out.
        shown: what the masks at hand show; every listed image and class must be there.

    Raises:
        CstlibError: a file is missing or malformed, a class is in no file, or an image
            is not at hand or does not show the class that it is listed under.
    """
    folder = Path(folder)
    found = {}
    for split in ("trn", "val"):
        files = [_read(folder / split, fold) for fold in range(len(folds))]
        entries: list[Entry] = []
        for fold, classes in enumerate(folds):
            # A file of the fold itself comes first; else any that holds the class.
            order = [files[fold], *files[:fold], *files[fold + 1 :]]
            if {c for _, c in files[fold]} & set(classes):
                entries += [entry for entry in files[fold] if entry[1] in classes]
                continue
            for c in classes:
                held = next((f for f in order if any(k == c for _, k in f)), [])
                entries += [entry for entry in held if entry[1] == c]
        missing = {c for fold in folds for c in fold} - {c for _, c in entries}
        if missing:
            raise CstlibError(
                f"The lists in {folder / split} have no image of class {min(missing)}: "
                "give the folder of a whole set of lists."
            )
        found[split] = entries
    for name, c in (*found["trn"], *found["val"]):
        if name not in shown:
            raise CstlibError(
                f"The lists in {folder} name the image {name}, which is not in the "
                "data: give the lists of this benchmark or complete the data."
            )
        if c not in shown[name].pixels:
            raise CstlibError(
                f"The lists in {folder} give the image {name} to class {c}, which its "
                "mask does not show: give the lists that belong to these masks."
            )
    return found


def _read(folder: Path, fold: int) -> list[Entry]:
    text, pickled = folder / f"fold{fold}.txt", folder / f"fold{fold}.pkl"
    if pickled.is_file() and not text.is_file():
        entries = _read_pickle(pickled)
    else:
        entries = read_list(text)
    return [(_without_extension(name), c) for name, c in entries]


def _without_extension(name: str) -> str:
    for extension in EXTENSIONS:
        name = name.removesuffix(extension)
    return name


class _Plain(pickle.Unpickler):
    """Unpickles dicts, lists, strings and numbers; anything else could run code."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def _read_pickle(path: Path) -> list[Entry]:
    try:
        with path.open("rb") as file:
            content = _Plain(file).load()
        return [
            (str(name), int(c) + 1)
            for c, names in sorted(content.items())
            for name in names
        ]
    except Exception as error:  # whatever a damaged pickle may come to
        raise CstlibError(
            f"The list {path} is not a plain pickle of {{class: [names]}} ({error}): "
            "give the benchmark's own file or text files."
        ) from error
