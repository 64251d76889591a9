"""What recorded runs of one setting scored, test by test, to stand beside a live run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any, Literal

from cstlib.config import TrainConfig
from cstlib.experiments import Measure
from cstlib.records import read_records

Record = dict[str, Any]
Records = Iterable[Record]

# Fold, seed and length may differ between runs of one setting.
SETTING = (
    "data",
    "task",
    "supervision",
    "mask_source",
    "mask_fraction",
    "test_masks",
    "backbone",
    "learner",
    "heads",
    "lam",
)


@dataclass(frozen=True)
class RecordedTest:
    """The mean over recorded runs of one setting, of one test; figures are fractions.

    ``runs``: how many, over folds and seeds. ``episodes``: trained by each, 0 by a
    control.
    ``miou_spread``: the standard deviation of mIoU over the runs, None for one.
    """

    exact_ratio: float
    miou: float
    miou_spread: float | None
    runs: int
    episodes: int

    def __str__(self) -> str:
        """A line in per cent, to be printed below others."""
        plural = " " if self.runs == 1 else "s"
        trained = f"{self.episodes:,} episodes" if self.episodes else "no training"
        line = (
            f"{self.runs:2} run{plural} of {trained}   "
            f"ER {100 * self.exact_ratio:4.1f}   mIoU {100 * self.miou:4.1f}"
        )
        if self.miou_spread is None:
            return line
        return f"{line} ± {100 * self.miou_spread:.1f}"


def recorded_tests(
    config: TrainConfig,
    records: Records | None = None,
    void: str = "background",
) -> dict[Measure, RecordedTest]:
    """(ways N, shots K) -> what the recorded runs like ``config`` scored there.

    Of runs of several lengths those that are recorded most often count, and of equally
    many the longest.

    Args:
        config: its fold, seed and length do not matter; its backbone must be named.
        records: by default all of ``data/results``; ``read_records(fold=0)`` for those
            of one fold, say.
        void: "background" or "ignore", see `cstlib.metrics`.
    """
    alike, length = _alike(config, records, void)
    found: dict[Measure, list[dict[str, float]]] = defaultdict(list)
    for record in alike:
        found[_test(record)].append(record["metrics"][void])
    return {test: _mean(scores, length) for test, scores in sorted(found.items())}


def recorded_along(
    over: Literal["way", "shot"],
    config: TrainConfig,
    records: Records | None = None,
    void: str = "background",
) -> dict[int, RecordedTest]:
    """N -> what runs scored with N ways and one shot, or with N shots and one way.

    A curve compares its points, so all are means over the same runs: those with the
    most tests of this kind, at the N that all of these were tested with.

    Args:
        over: what changes along the curve. config, records, void: see `recorded_tests`.
    """
    alike, length = _alike(config, records, void)
    place = ("way", "shot").index(over)
    runs: dict[tuple[int, int], dict[int, dict[str, float]]] = defaultdict(dict)
    for record in alike:
        test = _test(record)
        if test[1 - place] == 1:
            run = record["config"]["fold"], record["config"]["seed"]
            runs[run][test[place]] = record["metrics"][void]
    most = max((len(tests) for tests in runs.values()), default=0)
    kept = [tests for tests in runs.values() if len(tests) == most]
    shared = set.intersection(*map(set, kept)) if kept else set()
    return {n: _mean([tests[n] for tests in kept], length) for n in sorted(shared)}


def recorded_control(
    name: str, config: TrainConfig, records: Records | None = None
) -> dict[Measure, RecordedTest]:
    """(ways N, shots K) -> what a predictor that learns nothing scored there.

    Args:
        name: one of `cstlib.experiments.CONTROLS`.
        config: its benchmark, task and backbone count. records: see `recorded_tests`.
    """
    found: dict[Measure, list[dict[str, float]]] = defaultdict(list)
    for record in read_records() if records is None else records:
        control = record.get("control") if record.get("kind") == "control" else None
        if control == name and _same(record, config, ("data", "task", "backbone")):
            found[_test(record)].append(record["metrics"]["background"])
    return {test: _mean(scores, 0) for test, scores in sorted(found.items())}


def _alike(
    config: TrainConfig, records: Records | None, void: str
) -> tuple[list[Record], int]:
    """The records of these settings at their usual length, and that length."""
    alike = [
        record
        for record in (read_records() if records is None else records)
        if record.get("kind") in ("train", "evaluate")
        and _same(record, config, SETTING)
    ]
    lengths = Counter(record["config"]["episodes"] for record in alike)
    if not lengths:
        return [], 0
    usual = max(lengths, key=lambda length: (lengths[length], length))
    kept = [
        record
        for record in alike
        if record["config"]["episodes"] == usual and void in record["metrics"]
    ]
    return kept, usual


def _same(record: Record, config: TrainConfig, keys: Sequence[str]) -> bool:
    """Whether these settings are those of ``config``, or are not recorded."""
    setting, had = asdict(config), record.get("config", {})
    return all(had.get(key, setting[key]) == setting[key] for key in keys)


def _test(record: Record) -> Measure:
    return record.get("way", 1), record.get("shot", 1)


def _mean(scores: Sequence[dict[str, float]], episodes: int) -> RecordedTest:
    mious = [one["miou"] for one in scores]
    return RecordedTest(
        mean(one["exact_ratio"] for one in scores),
        mean(mious),
        stdev(mious) if len(mious) > 1 else None,
        len(scores),
        episodes,
    )
