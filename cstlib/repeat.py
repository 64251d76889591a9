"""Make a recorded figure again, from nothing, and say whether it comes out the same.

On the machine and with the versions that made a record, it does to the last digit.
Elsewhere rounding differs, and training carries that on; then a figure must stay within
the spread that its row of a table states: the standard deviation over the folds and
seeds that are recorded of the same setting.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import torch

from cstlib import distributed
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.experiment_rows import Row
from cstlib.experiments import Table
from cstlib.paths import data_home
from cstlib.reproduce import Job, recorded, run_job
from cstlib.result_tables import FIGURES, TITLES
from cstlib.worlds import World

# In points of per cent: what is printed alike, where nothing states a spread.
SAME = 0.05
# What tells the runs of one row apart.
APART = ("fold", "seed")


@dataclass(frozen=True)
class Repeated:
    """One figure in per cent, as recorded and as it came out again.

    ``allowed`` is how far the two may be apart, in points.
    """

    figure: str
    before: float
    after: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether the two are as close as allowed."""
        return abs(self.after - self.before) <= self.allowed


def repeat(
    name: str, world: World, device: str | torch.device | None = None
) -> list[Repeated]:
    """Train and test again what a record tells of, and compare ER, mIoU and FB-IoU.

    What is made on the way lies in ``data/runs/again`` until it has been compared: a
    repetition that was stopped goes on there.

    Args:
        name: of the record.

    Raises:
        CstlibError: there is no such record, or it is not of this world.
    """
    have = recorded()
    job = job_of(name, have, world)
    home = data_home() / "runs" / "again" / name
    run_job(job, world, device, home)
    distributed.wait_for_all()
    compared = compare(have[name], recorded(home / "results")[name], have)
    distributed.wait_for_all()
    if distributed.is_first():
        _remove(home)
    return compared


def job_of(name: str, have: Mapping[str, dict], world: World) -> Job:
    """The job that made a record.

    Raises:
        CstlibError: there is no such record, or it is not of this world.
    """
    record = have.get(name, {})
    if "metrics" not in record:
        alike = [n for n, r in have.items() if name in n and "metrics" in r]
        like = f", such as {alike[0]}" if alike else ""
        raise CstlibError(
            f"There is no recorded run {name!r}: name a file of data/results without "
            f"its .json{like}."
        )
    config = TrainConfig.from_dict(record["config"])
    if config.data != world.data:
        raise CstlibError(
            f"The record {name!r} is of --data {config.data}, not of {world.data}: give "
            "that, or name another record."
        )
    row = Row(name, control=record.get("control", ""))
    words = shlex.split(record["command"])  # python -m cstlib reproduce TABLE ...
    number = words[4] if words[3:4] == ["reproduce"] else ""
    table = Table(number, "made again", (row,), (_measure(record),))
    return Job(table, row, config, record["test_episodes"])


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], have: Mapping[str, dict]
) -> list[Repeated]:
    """The figures of two records of one run, and how far they may be apart.

    Args:
        have: all records: those of the same setting give the spread.
    """
    alike = [r for r in have.values() if "metrics" in r and _row(r) == _row(before)]
    found = []
    for figure, key in FIGURES.items():
        if figure == "er" and before["config"].get("task") == "fs-s":
            continue
        values = [_figure(record, key) for record in alike]
        allowed = stdev(values) if len(values) > 1 else 0.0
        both = _figure(before, key), _figure(after, key)
        found.append(Repeated(TITLES[figure], *both, max(allowed, SAME)))
    return found


def as_text(name: str, compared: list[Repeated]) -> str:
    """A line a figure: recorded, again, the difference, and what is allowed."""
    lines = [f"{name} (%)", f"{'':<8}{'recorded':>10}{'again':>10}{'apart':>10}"]
    for one in compared:
        apart = abs(one.after - one.before)
        says = "" if one.agrees else "  too far apart"
        lines.append(
            f"{one.figure:<8}{one.before:>10.2f}{one.after:>10.2f}{apart:>10.2f}"
            f" of {one.allowed:.2f} allowed{says}"
        )
    return "\n".join(lines)


def _measure(record: Mapping[str, Any]) -> tuple[int, int]:
    """Ways and shots; a training run's own record is of the 1-way 1-shot test."""
    return record.get("way", 1), record.get("shot", 1)


def _row(record: Mapping[str, Any]) -> tuple:
    """What all runs of one row and test have in common."""
    config = {k: v for k, v in record["config"].items() if k not in APART}
    control = record.get("control", "")
    return config, control, _measure(record), record["test_episodes"]


def _figure(record: Mapping[str, Any], key: str) -> float:
    return 100 * record["metrics"]["background"][key]


def _remove(home: Path) -> None:
    """What has been compared goes; the folder around it too, once it is empty."""
    shutil.rmtree(home)
    if not any(home.parent.iterdir()):
        home.parent.rmdir()
