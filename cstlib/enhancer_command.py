"""``python -m cstlib enhancer-choices``: decide the enhancer's open choices again."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cstlib import files, records
from cstlib.enhancer import CUT, EnhancerSettings
from cstlib.enhancer_choices import MARGIN, VARIANTS, decide, final
from cstlib.enhancer_report import (
    choices_markdown,
    final_markdown,
    finding,
    with_tables,
)
from cstlib.enhancer_trial import DECIDED_AT, JUDGES
from cstlib.errors import CstlibError
from cstlib.features import open_features, pick_device
from cstlib.paths import cache_home, results_home
from cstlib.worlds import load_world

KIND = "enhancer"


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib enhancer-choices``."""
    parser = subparsers.add_parser(
        "enhancer-choices",
        help="decide the mask enhancer's open choices by experiment",
        description="Varies one open choice of the mask enhancer at a time, on "
        "training classes alone, then measures the chosen enhancer on the held-out "
        "classes. On the miniature this takes some five minutes of one free core. The "
        "record goes to data/results; docs/mixed_supervision.md shows it.",
    )
    add = parser.add_argument
    add("--data", help="world: mini, pascal, coco, or a path (mini)")
    add("--folds", type=int, nargs="+", help="folds of held-out classes (all)")
    add(
        "--decide-folds",
        type=int,
        nargs="+",
        help="folds to decide on, where fewer must do (those of --folds)",
    )
    add("--seed", type=int, default=0, help="of the enhancers' weights and order (0)")
    add("--show", action="store_true", help="measure nothing, print what is recorded")
    add("--page", type=Path, help="also put the tables into this page of the docs")
    add("--device", help="cpu, cuda, ... (a GPU if there is one)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and record, or read the record, and print its tables."""
    page = args.page and _read(args.page)
    world = load_world(args.data)
    name = records.run_name(world.name, "enhancer-choices")
    if args.show:
        record = recorded(name)
    else:
        folds = list(range(world.n_folds)) if args.folds is None else args.folds
        record = _measured(args, world, name, folds)
        records.write_record(record)
    print(choices_markdown(record), final_markdown(record), sep="\n\n")
    print(f"\n{finding(record)}")
    if page:
        files.write_text(args.page, with_tables(page, record))
    return 0


def recorded(name: str) -> dict:
    """The record of that name.

    Raises:
        CstlibError: there is none yet, or it cannot be read.
    """
    found = records.read_records(results_home(), kind=KIND, name=name)
    if not found:
        raise CstlibError(
            f"There is no record {name}: make it with python -m cstlib enhancer-choices."
        )
    return found[0]


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        for name in ("choices", "final", "finding"):
            text.index(f"<!-- end of {name} -->", text.index(f"<!-- {name} -->"))
    except (OSError, ValueError) as error:
        raise CstlibError(
            f"{path} is not a page with the places for these tables: give "
            "docs/mixed_supervision.md."
        ) from error
    return text


def _measured(args: argparse.Namespace, world, name: str, folds: list[int]) -> dict:
    deciding = folds if args.decide_folds is None else args.decide_folds
    for fold in {*folds, *deciding}:
        world.dataset(fold, "trn")  # a fold that does not exist is said at once
    features = open_features(world, world.backbone, pick_device(args.device))
    began = time.monotonic()
    done = Progress(name, world, features, args.seed)
    choices, after = [], []
    for fold in deciding:
        choices += done.rows("choices", fold, decide, world, features)
    for fold in folds:
        after += done.rows("final", fold, final, world, features)
    return {
        "name": name,
        "kind": KIND,
        "command": records.command_line("enhancer-choices", args.argv),
        "config": {"data": world.name, "backbone": world.backbone, "seed": args.seed},
        "folds": folds,
        "settings": {**asdict(EnhancerSettings()), "cut": CUT},
        "decided": {
            "folds": deciding,
            "on": "classes of the next fold, left out of training too, and classes "
            "that were trained on; training images without a mask to learn from",
            "share": DECIDED_AT,
            "rows": JUDGES,
            "margin": MARGIN,
            "alternatives": len(VARIANTS),
        },
        "device": records.describe_device(features.device),
        "versions": records.versions(),
        "duration_s": None if done.resumed else round(time.monotonic() - began, 1),
        "choices": choices,
        "final": after,
    }


class Progress:
    """Finished folds, kept in the cache so that a stopped command goes on there.

    Only what was measured with the same features, settings and seed is taken up.
    """

    def __init__(self, name: str, world, features, seed: int) -> None:
        self.path = cache_home() / f"{name}.json"
        self.seed = seed
        # The folder's name is made from the images and the backbone's weights.
        place = getattr(features, "path", None)
        self.head = {
            "features": place.name if place else f"{world.name}-{features.name}",
            "settings": {**asdict(EnhancerSettings()), "cut": CUT},
            "variants": [[v.question, v.name] for v in VARIANTS],
            "seed": seed,
        }
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.resumed = False
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            if before["head"] == self.head:
                self.kept = before["kept"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing to go on from

    def rows(self, part: str, fold: int, measure, *where) -> list[dict[str, Any]]:
        """``measure(*where, [fold], seed)``, from the cache if it is there."""
        key = f"{part} {fold}"
        if key not in self.kept:
            self.kept[key] = list(self._said(key, measure(*where, [fold], self.seed)))
            files.write_json(self.path, {"head": self.head, "kept": self.kept})
        else:
            self.resumed = True
        return self.kept[key]

    def _said(self, key: str, rows: Iterator[dict[str, Any]]):
        began = time.monotonic()
        for row in rows:
            what = row.get("name") or f"{row['share']:.1%} of the masks"
            took = f"{time.monotonic() - began:4.0f} s"
            print(f"{key}: {took}  {what}", file=sys.stderr, flush=True)
            yield row
