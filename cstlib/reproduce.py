"""Run what is missing of a table, record it, and set it beside the paper's figures."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

import torch

from cstlib import distributed, records
from cstlib.baselines import load_learner
from cstlib.baselines.controls import all_foreground, pseudo_mask_prediction
from cstlib.baselines.panet import prototype_prediction
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.evaluation import evaluate_both, measure
from cstlib.experiments import Measure, Row, Table, configuration
from cstlib.features import Features, open_features
from cstlib.fitting import Run
from cstlib.metrics import VOID_WAYS, Metrics
from cstlib.paper import paper_rows
from cstlib.paths import data_home
from cstlib.supervision import TrueMasks
from cstlib.training import run_name, train
from cstlib.worlds import World, name_in_files

TITLES = {"er": "ER", "miou": "mIoU", "fb_iou": "FB-IoU"}
# Of training: enough for validation to level off on the miniature.
EPISODES = 6000
TEST_EPISODES = 1000
FIGURES = {"er": "exact_ratio", "miou": "miou", "fb_iou": "fb_iou"}


@dataclass(frozen=True)
class Job:
    """One row of a table on one fold with one seed, and its tests."""

    table: Table
    row: Row
    config: TrainConfig
    test_episodes: int = TEST_EPISODES

    @property
    def run(self) -> str:
        """The name of the run; a control's depends on fold and task alone."""
        if self.row.control:
            data, fold = name_in_files(self.config.data), f"fold{self.config.fold}"
            task = "" if self.config.task == "fs-cs" else self.config.task
            return records.run_name(data, fold, self.row.control, task)
        return run_name(self.config)

    @property
    def tests(self) -> list[str]:
        """The command's words for the episodes of a test, unless they are usual."""
        usual = self.test_episodes == TEST_EPISODES
        return [] if usual else ["--test-episodes", f"{self.test_episodes}"]

    def record_name(self, measure: Measure) -> str:
        """Of the record that holds this test."""
        if self.row.control:
            return _with_test(self.run, measure)
        return record_name(self.config, measure)

    def missing(self, have: Collection[str]) -> list[Measure]:
        """The tests whose records are not among those names."""
        return [m for m in self.table.measures if self.record_name(m) not in have]


def record_name(config: TrainConfig, measure: Measure) -> str:
    """A training run's own record holds its 1-way 1-shot test; others have their own."""
    name = run_name(config)
    return name if measure == (1, 1) else _with_test(name, measure)


def _with_test(name: str, measure: Measure) -> str:
    way, shot = measure
    return f"{name}-{way}way{shot}shot"


def jobs(
    table: Table,
    world: World,
    folds: Sequence[int],
    seeds: Sequence[int],
    test_episodes: int = TEST_EPISODES,
    **common: Any,
) -> list[Job]:
    """All jobs of a table, seed by seed and fold by fold; a control has no seed.

    Args:
        common: fields of `TrainConfig` for all rows, such as ``episodes``.

    Raises:
        CstlibError: the table cannot be run.
    """
    if not table.rows:
        raise CstlibError(
            f"Table {table.number} is not in miniature ({table.needs}): see `"
            f"{table.instead}`, or choose another table from --list."
        )
    common = {"backbone": world.backbone, **common}
    return [
        Job(
            table,
            row,
            configuration(row, world.data, fold, seed, **common),
            test_episodes,
        )
        for seed in seeds
        for fold in folds
        for row in table.rows
        if not row.control or seed == seeds[0]
    ]


def recorded() -> dict[str, dict]:
    """All records by name."""
    return {record["name"]: record for record in records.read_records()}


def recorded_seeds(have: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """The seeds of those records, rising; [0] without any."""
    return sorted({record.get("seed", 0) for record in have.values()}) or [0]


def recorded_cells(
    table: Table,
    world: World,
    have: dict[str, dict],
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    **common: Any,
) -> dict[tuple[str, Measure, str], Cell]:
    """`results` of a table from whichever runs are recorded, running nothing.

    Args:
        have: records by name, as `recorded` gives them.
        folds, seeds: which runs count, by default all.
        common: as for `jobs`; 6,000 training episodes by default.

    Raises:
        CstlibError: the table is not in miniature.
    """
    folds = range(world.n_folds) if folds is None else folds
    seeds = recorded_seeds(have) if seeds is None else seeds
    todo = jobs(table, world, folds, seeds, **{"episodes": EPISODES, **common})
    return results(todo, have)


def recorded_runs(
    settings: Mapping[str, Any], world: World, have: Mapping[str, dict]
) -> list[dict]:
    """The training records of these settings, on every fold with every seed there is.

    Args:
        settings: fields of `TrainConfig` off their standard, as in a `Row`.
    """
    row, common = Row("", dict(settings)), {"episodes": EPISODES}
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


def run_job(job: Job, world: World, device: str | torch.device | None = None) -> None:
    """Train and test what is missing; each result is recorded as soon as it is there.

    A training run that was cut off goes on where it stopped.
    """
    wanted = distributed.from_first(lambda: job.missing(set(recorded())))
    if not wanted:
        return
    backbone, precision = job.config.backbone, job.config.precision
    features = distributed.first_before_others(
        lambda: open_features(world, backbone, device, precision=precision)
    )
    if job.row.control:
        for test in wanted:
            began = time.perf_counter()
            found = _control(job, world, features, test)
            _record(job, test, found, features, time.perf_counter() - began)
        return
    out = data_home() / "runs" / job.run
    begun, trained = distributed.from_first(
        lambda: [(out / name).is_file() for name in ("last.pt", "best.pt")]
    )
    if (1, 1) in wanted or not trained:
        record = train(
            job.config,
            out,
            resume=begun,
            world=world,
            features=features,
            test_episodes=job.test_episodes,
            command=records.command_line("train", job.config.options() + job.tests),
        )
        if distributed.is_first():
            records.write_record(record)
    more = [test for test in wanted if test != (1, 1)]
    if not more:
        return
    run = Run(job.config, world, features)
    saved = distributed.from_first(lambda: load_learner(out / "best.pt").learner)
    run.learner.load_state_dict(saved.state_dict())
    for way, shot in more:
        began = time.perf_counter()
        found = evaluate_both(
            run.learner,
            run.held_out,
            features,
            run.held_out_supervision,
            way,
            shot,
            job.test_episodes,
            job.config.precision,
            progress=True,
        )
        seconds = time.perf_counter() - began
        _record(job, (way, shot), found, features, seconds)


def _control(
    job: Job, world: World, features: Features, test: Measure
) -> dict[str, Metrics]:
    """A predictor that learns nothing, under both treatments of void."""
    held_out = world.dataset(job.config.fold, "val", job.config.task)
    predictor = {
        "foreground": lambda: all_foreground(held_out),
        "dino": lambda: pseudo_mask_prediction(held_out, features),
        "panet": lambda: prototype_prediction(
            held_out, features, TrueMasks(held_out, features)
        ),
    }[job.row.control]()
    meter = measure(predictor, held_out, *test, job.test_episodes, progress=True)
    return {void: meter.metrics(void) for void in VOID_WAYS}


def _record(
    job: Job,
    test: Measure,
    metrics: dict[str, Metrics],
    features: Features,
    seconds: float,
) -> None:
    if not distributed.is_first():
        return
    way, shot = test
    config = job.config
    again = [job.table.number, "--data", config.data, "--folds", f"{config.fold}"]
    again += ["--seeds", f"{config.seed}", "--episodes", f"{config.episodes}"]
    again += job.tests
    records.write_record(
        {
            "name": job.record_name(test),
            "kind": "control" if job.row.control else "evaluate",
            "control": job.row.control,
            "command": records.command_line("reproduce", again),
            "config": asdict(config),
            "seed": config.seed,
            "way": way,
            "shot": shot,
            "test_episodes": job.test_episodes,
            "device": records.describe_device(features.device),
            "processes": distributed.size(),
            "versions": records.versions(),
            "duration_s": round(seconds, 1),
            "metrics": {void: found.as_dict() for void, found in metrics.items()},
        }
    )


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


def results(
    done: Sequence[Job], have: dict[str, dict], void: str = "background"
) -> dict[tuple[str, Measure, str], Cell]:
    """(row, test, figure) -> `Cell`, from the records that there are."""
    table = done[0].table
    found: dict[tuple[str, Measure, str], Cell] = {}
    for row in table.rows:
        mine = [job for job in done if job.row is row]
        for test in table.measures:
            kept = [
                have[name]["metrics"][void]
                for name in dict.fromkeys(job.record_name(test) for job in mine)
                if name in have
            ]
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
