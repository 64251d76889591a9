"""The paper's own figures, from one data file, to stand beside what is measured here.

`rows` gives single figures, to filter and to join with records; `paper_rows` gives the
lines of the tables as they are printed, all figures of a setting together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cstlib.errors import CstlibError
from cstlib.paths import PACKAGE, data_home

NAME = "paper_results.json"
FOLDS = "_folds"  # "miou_folds" holds the four folds behind "miou"
# Fields of a configuration that say what was run. The data, the fold and the backbone
# do not count: a run on the miniature has its counterpart on Pascal-5i.
COMPARED = (
    "task",
    "supervision",
    "mask_source",
    "learner",
    "heads",
    "correlation",
    "lam",
)
# Where masks come from under mixed supervision takes these instead of one word.
MIXED = ("mask_fraction", "enhancer", "test_masks")


def rows(**wanted: Any) -> list[dict[str, Any]]:
    """Every figure of the paper's tables as a row of its own, in the paper's order.

    Args:
        wanted: keep the rows with these values; a list stands for any of its members:
            ``rows(table="4", method="CST", metric=["er", "miou"], fold="mean")``.

    Returns:
        Dicts with ``table``, ``method``, what else sets the figure apart (the fields
        listed in the data file, among them those of `cstlib.config.TrainConfig` by
        the same names), ``fold`` (0 to 3, "mean", or None where folds play no part),
        ``metric`` (one of `metrics`), ``value`` in that metric's unit, and ``note``
        where something is odd about it.

    Raises:
        CstlibError: the data file is missing or unreadable.
    """
    found = (row for line in _content()["rows"] for row in _single(line))
    return [row for row in found if _fits(row, wanted)]


def rows_like(config: Mapping[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The paper's figures for what a run did, from whichever tables print them.

    A row fits where supervision, mask source, learner, lambda and what else both name
    are equal; what the configuration does not name must be as in the CST of Table 1.

    Args:
        config: of a record, or ``asdict`` of a `cstlib.config.TrainConfig`.
        wanted: as in `rows`: ``rows_like(record["config"], data="pascal", way=1)``.
    """
    defaults = _content()["defaults"]
    usual = {**defaults["data"]["pascal"], **defaults["method"]["CST"]}
    usual |= defaults["supervision"].get(config.get("supervision"), {})
    fields = set(COMPARED)
    if config.get("supervision") == "mixed":
        fields = fields - {"mask_source"} | set(MIXED)
    asked = {k: v for k, v in {**usual, **config}.items() if k in fields}
    return [
        row
        for row in rows(**wanted)
        if "supervision" in row and all(row.get(k, v) == v for k, v in asked.items())
    ]


def paper_rows(**wanted: Any) -> list[dict[str, Any]]:
    """Lines of the paper's tables as printed, averages over the folds.

    Args:
        wanted: keep the lines with these values: ``paper_rows(table="7", way=1)``.

    Returns:
        Dicts with ``table``, ``method``, what tells the lines of a table apart
        (``supervision``, ``way``, ``shot``, ...) and a key for each figure given:
        ``er``, ``miou`` in percent, ``er_folds``, ``miou_folds`` where the folds are
        printed too, and others of `metrics`.

    Raises:
        CstlibError: the data file is missing or unreadable.
    """
    # In Table 6 the paper's own words tell the mask sources apart.
    lines = (
        {**line, "mask_source": line["masks"]} if "masks" in line else dict(line)
        for line in _content()["rows"]
    )
    return [line for line in lines if _fits(line, wanted)]


def paper_row(**wanted: Any) -> dict[str, Any]:
    """The one line with these values.

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


def paper_tables() -> list[dict[str, str]]:
    """All tables of the paper: ``table``, ``title``, ``about``, and what it ``needs``.

    ``missing`` says so where a table's figures are not in the data file.
    """
    return [dict(table) for table in _content()["tables"]]


def paper_notes(table: str | None = None) -> list[str]:
    """What is odd about a table's figures.

    Without ``table``: where ER and mIoU on Pascal-5i contradict themselves or others.
    """
    notes = _content()["notes"].values()
    if table is not None:
        return [note["text"] for note in notes if table in note["tables"]]
    return [
        note["text"]
        for note in notes
        if note["kind"] == "contradiction" and note.get("data") == "pascal"
    ]


def metrics() -> dict[str, dict[str, str]]:
    """The kinds of figures: key -> ``title``, and ``about`` with the unit."""
    return dict(_content()["metrics"])


def _single(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line of a table -> its figures one by one, with all settings filled in."""
    content = _content()
    figures, noted = content["metrics"], line.get("noted", {})
    given = {
        key: value
        for key, value in line.items()
        if key != "noted" and key.removesuffix(FOLDS) not in figures
    }
    usual: dict[str, Any] = {}
    for field, values in content["defaults"].items():
        usual |= values.get(line.get(field), {})
    found = []
    for metric in figures:
        if metric not in line:
            continue
        note = content["notes"][noted[metric]]["text"] if metric in noted else None
        values = dict(enumerate(line.get(metric + FOLDS, ())))
        # Only what was measured on test episodes has folds.
        tested = metric in ("er", "miou", "fb_iou")
        values["mean" if tested else None] = line[metric]
        for fold, value in values.items():
            row = {"table": line["table"], **usual, **given}
            row |= {"fold": fold, "metric": metric, "value": value}
            found.append(row | ({"note": note} if note else {}))
    return found


def _fits(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        among = value if isinstance(value, (list, tuple, set)) else (value,)
        if row.get(key) not in among:
            return False
    return True


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
