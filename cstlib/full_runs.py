"""What the paper's runs take, from what `bench` measured on a machine.

    python -m cstlib bench --json bench.json
    python -m cstlib.full_runs bench.json

prints the tables of ``docs/full_runs.md`` for that machine. Speeds are measured, hours
are computed from them: nobody has to wait for a run to know whether to begin it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cstlib.config import BENCHMARKS
from cstlib.errors import CstlibError

NAMES = {"pascal": "Pascal-5i", "coco": "COCO-20i"}
# Images at most: all with masks in VOC2012 and SBD; train2014 and val2014.
IMAGES = {"pascal": 12_031, "coco": 82_081 + 40_137}
KEPT = ("nothing", "supports and keys", "all tokens")
EPOCHS = 100  # an example of a run that ends


@dataclass(frozen=True)
class ImageSize:
    """Bytes of one image's features in half precision, for a ViT.

    Attributes:
        layers: L. width: C. grid: side of the query's patches. support: of the pooled
            support's. By default ViT-S/8 at 400 x 400 pixels.
    """

    layers: int = 12
    width: int = 384
    grid: int = 50
    support: int = 12

    @property
    def pooled(self) -> int:
        """Class token and 144 patches of every layer; class token's query and key."""
        return 2 * self.width * (self.layers * (1 + self.support**2) + 2)

    @property
    def keys(self) -> int:
        """The last block's keys, and its class token's query."""
        return 2 * self.width * (1 + self.grid**2 + 1)

    @property
    def all_tokens(self) -> int:
        """Every token of every layer, and the keys."""
        return 2 * self.width * self.layers * (1 + self.grid**2) + self.keys


@dataclass(frozen=True)
class Speed:
    """Seconds of one episode: of training, and of a 1-way 1-shot test."""

    train: float
    test: float

    def hours(self, episodes: int, validations: int, of: int = 1000) -> float:
        """Of a run: its training episodes, and its validations of so many episodes."""
        return (episodes * self.train + validations * of * self.test) / 3600


def speeds(found: dict[str, Any], precision: str) -> dict[str, Speed]:
    """What is kept on disk -> `Speed`, from the figures that `bench` wrote.

    With pooled supports and keys kept, one of an episode's two images still goes
    through the backbone: that is taken to lie half way, which is an estimate.

    Raises:
        CstlibError: the figures lack a task or a path.
    """
    nothing, everything = (
        Speed(
            *(_seconds(found, task, path, precision) for task in ("train", "evaluate"))
        )
        for path in ("ours", "cached")
    )
    between = Speed(
        (nothing.train + everything.train) / 2, (nothing.test + everything.test) / 2
    )
    return dict(zip(KEPT, (nothing, between, everything)))


def _seconds(found: dict[str, Any], task: str, path: str, precision: str) -> float:
    for row in found["rows"]:
        if (row["task"], row["path"], row["precision"]) == (task, path, precision):
            return 1 / row["per_s"]  # the first is the base setting
    raise CstlibError(
        f"The figures lack the task {task} of the path {path} in {precision}: measure "
        "with `python -m cstlib bench --json FILE`."
    )


def report(found: dict[str, Any]) -> str:
    """Hours on the machine that was measured, as Markdown."""
    precisions = dict.fromkeys(row["precision"] for row in found["rows"])
    head = ["precision", "kept on disk", "train, episodes/s", "test, episodes/s"]
    for name in NAMES.values():
        head += [f"{name}: epoch", f"{EPOCHS} epochs"]
    rows = []
    for precision in precisions:
        for kept, speed in speeds(found, precision).items():
            cells = [precision, kept, f"{1 / speed.train:.2f}", f"{1 / speed.test:.2f}"]
            for data in NAMES:
                _, epoch, episodes = BENCHMARKS[data]
                for count in (1, EPOCHS):
                    hours = speed.hours(count * epoch, count, episodes)
                    cells.append(
                        f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h"
                    )
            rows.append(cells)
    clock = found.get("clock", "wall clock")
    lines = [f"Measured on: {found['device']}, {clock}.", "", *_markdown(head, rows)]
    return "\n".join(lines)


PATHS = {"ours": "live", "cached": "all tokens kept", "naive": "plain reference"}


def speed_report(found: dict[str, Any]) -> str:
    """Our paths beside the plain reference on the machine that was measured.

    Speed-ups are over the reference in float32, which is the only one that it has.
    """
    naive = {
        row["task"]: row["median_s"] for row in found["rows"] if row["path"] == "naive"
    }
    head = ["task", "path", "precision", "s a step", "times the reference"]
    head += ["peak", "of that, the steps"]
    rows = []
    for row in found["rows"]:
        faster = naive.get(row["task"], math.nan) / row["median_s"]
        memory = row.get("memory")
        rows.append(
            [
                *(row["task"], PATHS[row["path"]], row["precision"]),
                f"{row['median_s']:.2f}",
                "-" if math.isnan(faster) else f"{faster:.1f}",
                _megabytes(memory["peak"]) if memory else "-",
                _megabytes(memory["peak"] - memory["before"]) if memory else "-",
            ]
        )
    return "\n".join(_markdown(head, rows))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def cache_report() -> str:
    """Disk that the features of both benchmarks take, as Markdown."""
    image = ImageSize()
    kinds = {
        "all tokens": image.all_tokens,
        "pooled supports and keys": image.pooled + image.keys,
        "pooled supports alone": image.pooled,
    }
    head = ["kept", "an image", *(f"{NAMES[d]}, {IMAGES[d]:,} images" for d in NAMES)]
    rows = [
        [
            kind,
            f"{size / 1e6:.1f} MB",
            *(f"{size * n / 1e9:,.0f} GB" for n in IMAGES.values()),
        ]
        for kind, size in kinds.items()
    ]
    return "\n".join(_markdown(head, rows))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables for a file of `bench`."""
    parser = argparse.ArgumentParser(prog="cstlib.full_runs", description=__doc__)
    parser.add_argument("bench", type=Path, help="what `bench --json` wrote")
    path = parser.parse_args(argv).bench
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        print(report(found), speed_report(found), cache_report(), sep="\n\n")
    except CstlibError as error:
        print(f"cstlib: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, LookupError, TypeError):
        print(
            f"cstlib: {path} holds no figures of bench: make it with `python -m cstlib "
            f"bench --json {path}`.",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
