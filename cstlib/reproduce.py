"""The runs that a table is made of: made one after the other, recorded, resumed.

What the records say, as a table beside the paper's figures, is in
`cstlib.result_tables`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cstlib import distributed, records
from cstlib.baselines import load_learner
from cstlib.baselines.controls import all_foreground, pseudo_mask_prediction
from cstlib.baselines.panet import prototype_prediction
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.evaluation import evaluate_both, measure
from cstlib.experiment_rows import Row
from cstlib.experiments import Measure, Table, configuration
from cstlib.features import Features, open_features
from cstlib.fitting import Run
from cstlib.metrics import VOID_WAYS, Metrics
from cstlib.paths import data_home
from cstlib.supervision import TrueMasks
from cstlib.training import run_name, train
from cstlib.worlds import World, name_in_files

# Of training, on the miniature. Notebook 06 shows which runs have levelled off by then.
EPISODES = 6000
TEST_EPISODES = 1000


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

    def found(self, measure: Measure, have: Mapping[str, dict]) -> dict | None:
        """The record of this test, unless it is of fewer episodes."""
        record = have.get(self.record_name(measure))
        enough = record and record.get("test_episodes", math.inf) >= self.test_episodes
        return record if enough else None

    def missing(self, have: Mapping[str, dict]) -> list[Measure]:
        """The tests that are not among those records."""
        return [m for m in self.table.measures if self.found(m, have) is None]


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


def recorded(folder: str | Path | None = None) -> dict[str, dict]:
    """All records of a folder (``data/results`` by default) by name."""
    return {record["name"]: record for record in records.read_records(folder)}


def run_job(
    job: Job,
    world: World,
    device: str | torch.device | None = None,
    home: Path | None = None,
) -> None:
    """Train and test what is missing; each result is recorded as soon as it is there.

    A training run that was cut off goes on where it stopped.

    Args:
        home: the folder that holds ``runs`` and ``results``, `data_home` by default.
    """
    home = home or data_home()
    results = home / "results"
    wanted = distributed.from_first(lambda: job.missing(recorded(results)))
    if not wanted:
        return
    backbone, precision = job.config.backbone, job.config.precision
    features = distributed.first_before_others(
        lambda: open_features(world, backbone, device, precision=precision)
    )
    keep = _Keeper(job, features, results)
    if job.row.control:
        for test in wanted:
            began = time.perf_counter()
            found = _control(job, world, features, test)
            keep.test(test, found, time.perf_counter() - began)
        return
    out = home / "runs" / job.run
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
        keep.write(record)
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
        keep.test((way, shot), found, time.perf_counter() - began)


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


@dataclass(frozen=True)
class _Keeper:
    """Writes the records of a job; of several processes only the first one does."""

    job: Job
    features: Features
    folder: Path

    def write(self, record: dict[str, Any]) -> None:
        if distributed.is_first():
            records.write_record(record, folder=self.folder)

    def test(self, test: Measure, metrics: dict[str, Metrics], seconds: float) -> None:
        way, shot = test
        job, config = self.job, self.job.config
        again = [job.table.number, "--data", config.data, "--folds", f"{config.fold}"]
        again += ["--seeds", f"{config.seed}", "--episodes", f"{config.episodes}"]
        again += job.tests
        self.write(
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
                "device": records.describe_device(self.features.device),
                "processes": distributed.size(),
                "versions": records.versions(),
                "duration_s": round(seconds, 1),
                "metrics": {void: found.as_dict() for void, found in metrics.items()},
            }
        )
