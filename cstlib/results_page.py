"""All that is recorded of the miniature, as text for `docs/results.md`.

`cstlib.summary` puts it there, between the page's markers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cstlib.experiments import TABLES, Table
from cstlib.reproduce import EPISODES
from cstlib.result_tables import (
    cells_text,
    recorded_cells,
    recorded_lengths,
    shown_on,
)
from cstlib.worlds import World


def tables_text(worlds: Mapping[str, World], have: dict[str, dict]) -> str:
    """Every table of the paper that the miniature has, beside the paper's figures.

    Below the usual training stands the same after a longer one, where runs of it are
    recorded, with the lines and tests that have some.

    Args:
        worlds: as for `shown_on`. have: records by name.
    """
    texts: list[str] = []
    for table in _once():
        world = shown_on(table, worlds, have)
        if table.data != "pascal":
            table = replace(table, title=f"{table.title}, here --data {world.name}")
        texts += _by_length(table, world, have)
    return "\n\n".join(f"```text\n{text}\n```" for text in texts)


def runs_text(worlds: Mapping[str, World], have: dict[str, dict]) -> str:
    """Every training in these worlds, a line each: its 1-way 1-shot test, its minutes."""
    names = {world.name for world in worlds.values()}
    runs = sorted(
        (
            record
            for record in have.values()
            if record["kind"] == "train" and record["config"]["data"] in names
        ),
        key=_order,
    )
    heads = "run", "ER", "mIoU", "FB-IoU", "best at", "minutes"
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---" + "|---:" * (len(heads) - 1) + "|",
    ]
    for run in runs:
        found = run["metrics"]["background"]
        per_cent = (
            f"{100 * found[key]:.1f}" for key in ("exact_ratio", "miou", "fb_iou")
        )
        best = run.get("selection", {}).get("at_episode")
        ends = ("-" if best is None else f"{best:,}", f"{run['duration_s'] / 60:.1f}")
        lines.append("| " + " | ".join((f"`{run['name']}`", *per_cent, *ends)) + " |")
    return "\n".join(lines)


def _order(run: dict[str, Any]) -> tuple:
    """Runs of one setting together, whatever their fold."""
    fold = f"fold{run['config']['fold']}"
    return run["name"].replace(f"{fold}-", "", 1), fold


def _once() -> Iterator[Table]:
    """The tables with rows; of those that differ by their number alone, the first."""
    seen = set()
    for table in TABLES.values():
        rows = tuple(row.name for row in table.rows)
        content = (rows, table.measures, table.figures, table.data)
        if rows and content not in seen:
            seen.add(content)
            yield table


def _by_length(table: Table, world: World, have: dict[str, dict]) -> Iterator[str]:
    """The table after the usual training, and after longer ones that have runs."""
    yield cells_text(table, recorded_cells(table, world, have))
    for episodes in recorded_lengths(have):
        if episodes <= EPISODES:
            continue
        cells = recorded_cells(table, world, have, episodes=episodes)
        trained = {
            (row.name, test)
            for row in table.rows
            for test in table.measures
            if not row.control and cells[row.name, test, "miou"].runs
        }
        rows = tuple(r for r in table.rows if r.name in {name for name, _ in trained})
        tests = tuple(t for t in table.measures if t in {test for _, test in trained})
        if len(rows) > 1:  # a single line compares nothing
            title = f"{table.title}, after {episodes:,} training episodes"
            kept = replace(table, rows=rows, measures=tests, title=title, lacks="")
            yield cells_text(kept, cells)
