"""The paper's own figures, from one data file, to stand beside what is measured here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cstlib.errors import CstlibError
from cstlib.paths import PACKAGE, data_home

NAME = "paper_results.json"


def paper_rows(**wanted: Any) -> list[dict[str, Any]]:
    """Rows of the paper's tables: averages over the folds of Pascal-5i, in percent.

    Args:
        wanted: keep the rows with these values: ``paper_rows(table="7", way=1)``.

    Returns:
        Dicts with ``table``, ``method``, ``supervision``, ``way``, ``shot``, what
        else tells the rows of a table apart, and ``er`` and ``miou`` where given.

    Raises:
        CstlibError: the data file is missing or unreadable.
    """
    rows = _content()["rows"]
    return [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]


def paper_row(**wanted: Any) -> dict[str, Any]:
    """The one row with these values.

    Raises:
        CstlibError: there is none, or more than one.
    """
    found = paper_rows(**wanted)
    if len(found) != 1:
        raise CstlibError(
            f"{len(found)} of the paper's rows fit {wanted}: name table, way and "
            "whatever else tells them apart."
        )
    return found[0]


def paper_notes() -> list[str]:
    """Where the paper's tables contradict one another."""
    return list(_content()["notes"])


@cache
def _content() -> dict[str, Any]:
    for folder in (PACKAGE.parent / "data", data_home()):
        path = Path(folder) / NAME
        if path.is_file():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CstlibError(
                    f"data/{NAME} is not readable: bring it back from version control."
                ) from error
    raise CstlibError(
        f"There is no data/{NAME}: work in a clone of the course, or bring the file "
        "back from version control."
    )
