"""What the records say of a table of the paper: figures with spreads, beside the paper's.

Nothing runs here; `cstlib.reproduce` makes the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from cstlib.experiment_rows import Row
from cstlib.experiments import Measure, Table, configuration
from cstlib.paper import paper_rows
from cstlib.reproduce import EPISODES, Job, jobs
from cstlib.training import run_name
from cstlib.worlds import World

TITLES = {"er": "ER", "miou": "mIoU", "fb_iou": "FB-IoU"}
FIGURES = {"er": "exact_ratio", "miou": "miou", "fb_iou": "fb_iou"}  # in records


@dataclass(frozen=True)
class Cell:
    """One figure of a table in percent: ours, over ``runs`` records, and the paper's.

    ``spread`` is the standard deviation over the runs' folds and seeds, None for one.
    ``values`` are the runs' own figures.
    """

    value: float | None
    spread: float | None
    runs: int
    paper: float | None
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        spread = "" if self.spread is None else f" ± {self.spread:.1f}"
        return f"{self.value:.1f}{spread}"


def recorded_seeds(have: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """The seeds of those records, rising; [0] without any."""
    return sorted({record.get("seed", 0) for record in have.values()}) or [0]


def recorded_lengths(have: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """For how many episodes those records were trained, rising; 6,000 without any."""
    runs = (record for record in have.values() if record.get("kind") == "train")
    return sorted({record["config"]["episodes"] for record in runs}) or [EPISODES]


def recorded_cells(
    table: Table,
    world: World,
    have: dict[str, dict],
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    evenly: bool = False,
    **common: Any,
) -> dict[tuple[str, Measure, str], Cell]:
    """`results` of a table from whichever runs are recorded, running nothing.

    Args:
        have: records by name, as `recorded` gives them.
        folds, seeds: which runs count, by default all.
        evenly: of each row count only the runs with the most tests of the table, so
            that the points of a curve over ways or shots are means over the same runs.
        common: as for `jobs`; 6,000 training episodes by default.

    Raises:
        CstlibError: the table is not in miniature.
    """
    folds = range(world.n_folds) if folds is None else folds
    seeds = recorded_seeds(have) if seeds is None else seeds
    todo = jobs(table, world, folds, seeds, **{"episodes": EPISODES, **common})
    if evenly:
        lack = [len(job.missing(have)) for job in todo]
        least = {
            row.name: min(n for n, job in zip(lack, todo) if job.row is row)
            for row in table.rows
        }
        todo = [job for n, job in zip(lack, todo) if n == least[job.row.name]]
    return results(todo, have)


def shown_on(table: Table, worlds: Mapping[str, World], have: dict[str, dict]) -> World:
    """The world that stands in for a table's benchmark in what is shown of the records.

    It is the one of the benchmark's own protocol where anything of the table is recorded
    there, else the one of Pascal's.

    Args:
        worlds: benchmark, "pascal" or "coco", -> the miniature by its protocol.
        have: records by name.
    """
    own = worlds[table.data]
    found = recorded_cells(table, own, have)
    return own if any(cell.runs for cell in found.values()) else worlds["pascal"]


def recorded_runs(
    settings: Mapping[str, Any],
    world: World,
    have: Mapping[str, dict],
    episodes: int = EPISODES,
) -> list[dict]:
    """The training records of these settings, on every fold with every seed there is.

    Args:
        settings: fields of `TrainConfig` off their standard, as in a `Row`.
        episodes: that they were trained for.
    """
    row, common = Row("", dict(settings)), {"episodes": episodes}
    names = (
        run_name(
            configuration(
                row, world.data, fold, seed, backbone=world.backbone, **common
            )
        )
        for fold in range(world.n_folds)
        for seed in recorded_seeds(have)
    )
    return [have[name] for name in names if name in have]


def still_rising(run: Mapping[str, Any]) -> bool:
    """Whether a training's last validation was its best, and beat all before it.

    Such a run had not levelled off.

    Args:
        run: its record.
    """
    curve = [point["miou"] for point in run.get("validation", ())]
    return len(curve) > 1 and curve[-1] > max(curve[:-1])


def results(
    done: Sequence[Job], have: dict[str, dict], void: str = "background"
) -> dict[tuple[str, Measure, str], Cell]:
    """(row, test, figure) -> `Cell`, from the records that there are."""
    table = done[0].table
    found: dict[tuple[str, Measure, str], Cell] = {}
    for row in table.rows:
        mine = [job for job in done if job.row is row]
        for test in table.measures:
            # By name, because jobs of several seeds share a control's record.
            by_name = {job.record_name(test): job.found(test, have) for job in mine}
            kept = [one["metrics"][void] for one in by_name.values() if one]
            for figure, key in FIGURES.items():
                values = [100 * metrics[key] for metrics in kept]
                if figure == "er" and row.settings.get("task") == "fs-s":
                    values = []  # nothing is classified
                found[row.name, test, figure] = Cell(
                    mean(values) if values else None,
                    stdev(values) if len(values) > 1 else None,
                    len(values),
                    _published(table, row, test, figure),
                    tuple(values),
                )
    return found


def _published(table: Table, row: Row, test: Measure, figure: str) -> float | None:
    """The paper's average for this cell; None where it has none."""
    if row.paper is None:
        return None
    way, shot = test
    place = {"table": table.beside or table.number, "way": way, "shot": shot}
    rows = paper_rows(**{**place, **row.paper})
    return rows[0].get(figure) if len(rows) == 1 else None


def as_text(done: Sequence[Job], have: dict[str, dict]) -> str:
    """A table as text: the figures of each test, here and in the paper.

    A spread is the standard deviation over folds and seeds together.
    """
    return cells_text(done[0].table, results(done, have))


def cells_text(table: Table, cells: Mapping[tuple[str, Measure, str], Cell]) -> str:
    """The text of a table whose figures are given, as `recorded_cells` gives them."""
    width = max(len(row.name) for row in table.rows)
    lines = [f"Table {table.number}: {table.title} (%)"]
    for way, shot in table.measures:
        lines += [
            "",
            f"{way}-way {shot}-shot".ljust(width)
            + "".join(f"{TITLES[key]:>14}{'paper':>8}" for key in table.figures)
            + f"{'runs':>6}",
        ]
        for row in table.rows:
            mine = [cells[row.name, (way, shot), figure] for figure in table.figures]
            lines.append(
                row.name.ljust(width)
                + "".join(
                    f"{cell!s:>14}{'-' if cell.paper is None else cell.paper:>8}"
                    for cell in mine
                )
                + f"{mine[0].runs:>6}"
            )
    if table.beside:
        lines += [
            "",
            f"The paper's figures are the averages of its Table {table.beside}.",
        ]
    if table.lacks:
        lines += ["", f"Not in miniature: {table.lacks}."]
    return "\n".join(lines)
