"""``python -m cstlib paper``: a table of the paper as text, with its notes."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from cstlib.errors import CstlibError
from cstlib.paper import FOLDS, metrics, paper_notes, paper_rows, paper_tables

WIDTH = 88
PERCENT = ("er", "miou", "fb_iou")
TITLES = {
    "pseudo_masks": "pseudo-masks",
    "mask_source": "masks from",
    "mask_fraction": "fraction",
    "test_masks": "true test masks",
    "lam": "lambda",
}


def add_parser(subparsers: Any) -> None:
    """The command ``python -m cstlib paper``."""
    parser = subparsers.add_parser(
        "paper",
        help="print a table of the paper, with its notes",
        description="Print a table of the CST paper as text, fold by fold where the "
        "paper gives the folds. * marks figures that a note below is about.",
    )
    parser.add_argument("table", nargs="?", help="1 to 8, a.1 to a.14")
    parser.add_argument(
        "--list", action="store_true", help="name all tables and what they need"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one table, or the list of them all."""
    if args.table is None or args.list:
        print(tables_text())
    else:
        print(table_text(args.table))
    return 0


def tables_text() -> str:
    """All tables of the paper: what each is about and which settings it needs."""
    lines = []
    for table in paper_tables():
        lines.append(f"{table['table']:5} {table['title']}: {table['about']}.")
        lines.append(f"{'':6}Needs {table['needs']}.")
        if "missing" in table:
            lines.append(f"{'':6}{table['missing']}")
    return "\n".join(_wrapped(line, 6) for line in lines)


def table_text(name: str) -> str:
    """One table: its title, what its lines share, its lines, and its notes.

    Raises:
        CstlibError: the paper has no such table.
    """
    name = name.lower().removeprefix("table").strip()
    tables = {table["table"]: table for table in paper_tables()}
    if name not in tables:
        raise CstlibError(
            f"The paper has no table {name!r}: choose one of 1 to 8 and a.1 to a.14."
        )
    table = tables[name]
    head = [f"Table {name}. {table['title']}: {table['about']}."]
    lines = paper_rows(table=name)
    if lines:
        head.append(_shared(lines))
    if "missing" in table:
        head.append(table["missing"])
    parts = [_wrapped(text, 2) for text in head if text]
    if lines:
        parts += ["", _grid(lines)]
    if notes := paper_notes(name):
        parts += ["", *(_wrapped(f"* {note}", 2) for note in notes)]
    return "\n".join(parts)


def _shared(lines: list[dict[str, Any]]) -> str:
    """The settings that all lines share, in a sentence; empty if there are none."""
    pairs = [
        f"{TITLES.get(key, key)} {_word(lines[0][key])}"
        for key in _settings(lines)
        if key not in _apart(lines)
    ]
    return f"All lines: {', '.join(pairs)}." if pairs else ""


def _grid(lines: list[dict[str, Any]]) -> str:
    """Lines below two heads: settings to the left, figures and their folds after."""
    columns = [
        ["", TITLES.get(key, key), *(_word(line.get(key)) for line in lines)]
        for key in _apart(lines)
    ]
    left = len(columns)
    for metric, kind in metrics().items():
        if not any(metric in line for line in lines):
            continue
        folds = max(len(line.get(metric + FOLDS, ())) for line in lines)
        for fold in range(folds):
            cells = [
                _figure(metric, line[metric + FOLDS][fold]) if metric in line else "-"
                for line in lines
            ]
            columns.append(["" if fold else kind["title"], str(fold), *cells])
        heads = ["", "mean"] if folds else ["", kind["title"]]
        cells = [
            _figure(metric, line.get(metric))
            + ("*" if metric in line.get("noted", {}) else "")
            for line in lines
        ]
        columns.append([*heads, *cells])
    return "\n".join(line for line in _aligned(columns, left) if line)


def _aligned(columns: list[list[str]], left: int) -> list[str]:
    """Columns of cells -> lines of text; the first ``left`` columns to the left."""
    texts = []
    for number, column in enumerate(columns):
        starred = any(cell.endswith("*") for cell in column)
        if starred:  # keep the points below each other
            column = [c if c.endswith("*") else c + " " for c in column]
        width = max(map(len, column))
        if number < left:
            texts.append([f"{cell:<{width}}  " for cell in column])
        else:
            texts.append([f"{cell:>{max(width, 5)}} " for cell in column])
    return ["".join(cells).rstrip() for cells in zip(*texts)]


def _settings(lines: list[dict[str, Any]]) -> list[str]:
    """The fields of the lines that are no figures, in the order of their mention."""
    fields = dict.fromkeys(key for line in lines for key in line)
    figures = metrics()
    hidden = {"table", "noted", "masks"}
    if "pseudo_masks" in fields:  # says the same in the paper's way
        hidden.add("mask_source")
    return [
        key
        for key in fields
        if key not in hidden and key.removesuffix(FOLDS) not in figures
    ]


def _apart(lines: list[dict[str, Any]]) -> list[str]:
    """The settings that tell the lines apart; the method always leads."""
    return [
        key
        for key in _settings(lines)
        if key == "method" or len({line.get(key) for line in lines}) > 1
    ]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _figure(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if metric in PERCENT else f"{value:g}"


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent)
