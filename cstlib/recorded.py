"""What recorded runs of one setting scored, test by test, to stand beside a live run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from cstlib.config import TrainConfig
from cstlib.experiments import Measure
from cstlib.records import read_records

# Fold, seed and length may differ between runs of one setting.
SETTING = (
    "data",
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

    ``runs``: how many, over folds and seeds. ``episodes``: trained by each.
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
        line = (
            f"{self.runs:2} run{plural} of {self.episodes:,} episodes   "
            f"ER {100 * self.exact_ratio:4.1f}   mIoU {100 * self.miou:4.1f}"
        )
        if self.miou_spread is None:
            return line
        return f"{line} ± {100 * self.miou_spread:.1f}"


def recorded_tests(
    config: TrainConfig,
    records: Iterable[dict[str, Any]] | None = None,
    void: str = "background",
) -> dict[Measure, RecordedTest]:
    """(ways N, shots K) -> what the recorded runs like ``config`` scored there.

    Of runs of several lengths those that are recorded most often count, and of equally
    many the longest.

    Args:
        config: its fold, seed and length do not matter; its backbone must be named.
        records: by default all of ``data/results``.
        void: "background" or "ignore", see `cstlib.metrics`.
    """
    setting = asdict(config)
    alike = [
        record
        for record in (read_records() if records is None else records)
        if record.get("kind") in ("train", "evaluate")
        and all(
            record.get("config", {}).get(key, setting[key]) == setting[key]
            for key in SETTING
        )
    ]
    lengths = Counter(record["config"]["episodes"] for record in alike)
    if not lengths:
        return {}
    usual = max(lengths, key=lambda length: (lengths[length], length))
    found: dict[Measure, list[dict[str, float]]] = defaultdict(list)
    for record in alike:
        if record["config"]["episodes"] == usual and void in record["metrics"]:
            test = record.get("way", 1), record.get("shot", 1)
            found[test].append(record["metrics"][void])
    return {
        test: RecordedTest(
            mean(one["exact_ratio"] for one in scores),
            mean(one["miou"] for one in scores),
            stdev(one["miou"] for one in scores) if len(scores) > 1 else None,
            len(scores),
            usual,
        )
        for test, scores in sorted(found.items())
    }
