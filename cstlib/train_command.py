"""``python -m cstlib train``: the options of a run, and where its results go."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cstlib import distributed, records
from cstlib.baselines import LEARNERS
from cstlib.checkpoints import load_checkpoint
from cstlib.config import BENCHMARKS, MINIATURE, SELECTORS, TrainConfig
from cstlib.data.lists import TASKS
from cstlib.errors import CstlibError
from cstlib.evaluation import PRECISIONS
from cstlib.features import add_cache_option
from cstlib.paths import data_home
from cstlib.supervision import KINDS, SOURCES
from cstlib.training import run_name, train
from cstlib.worlds import chosen_data, load_world


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib train``."""
    parser = subparsers.add_parser(
        "train",
        help="train a learner on cached features",
        argument_default=argparse.SUPPRESS,
        description="Train a learner, with the paper's settings by default.",
    )
    d = TrainConfig()
    add = parser.add_argument
    add(
        "--data",
        help="mini, mini-coco, pascal, coco, or a path (CSTLIB_WORLD, or mini)",
    )
    add("--fold", type=int, help=f"fold whose classes are held out ({d.fold})")
    add(
        "--task",
        choices=TASKS,
        help="fs-s: segmentation alone, of a class that the query always shows, as in "
        f"Table 8 ({d.task})",
    )
    add("--supervision", choices=KINDS, help=f"labels ({d.supervision})")
    add(
        "--mask-source",
        choices=SOURCES,
        help="of image-level supervision: pseudo-masks from the backbone (dino, the "
        "default), from random or class-supervised weights, none, or all foreground",
    )
    add(
        "--mask-fraction",
        type=float,
        help="of mixed supervision: share of the images that show their masks, like 0.05",
    )
    add(
        "--no-enhancer",
        dest="mask_source",
        action="store_const",
        const="dino",
        help="of mixed supervision: leave the pseudo-masks as they are",
    )
    add(
        "--test-masks",
        action="store_true",
        help="give true support masks in testing, as row (c) of Table 3",
    )
    add("--backbone", help="name of the frozen backbone (the world's own)")
    add("--learner", help=f"{', '.join(LEARNERS)} ({d.learner})")
    add(
        "--heads",
        type=int,
        help="heads of the correlations: 1 is the single-head ablation (the backbone's)",
    )
    add("--episodes", type=int, help=f"training episodes in all ({_lengths(0)})")
    add("--seed", type=int, help=f"of weights and order ({d.seed})")
    add("--batch-size", type=int, help=f"episodes in a batch ({d.batch_size})")
    add("--lr", dest="learning_rate", type=float, help=f"Adam ({d.learning_rate})")
    add("--lam", type=float, help=f"weight of the classification loss ({d.lam})")
    add("--precision", choices=PRECISIONS, help=f"of the learner ({d.precision})")
    add(
        "--validate-every",
        type=int,
        help=f"episodes between validations ({_lengths(1)})",
    )
    add(
        "--validation-episodes",
        type=int,
        help=f"episodes of a validation ({_lengths(2)})",
    )
    add(
        "--select-by",
        choices=SELECTORS,
        help=f"which validation figure chooses best.pt ({d.select_by})",
    )
    add("--out", type=Path, default=None, help="the run's folder (data/runs/...)")
    add("--resume", action="store_true", default=False, help="continue the run there")
    add(
        "--overwrite",
        action="store_true",
        default=False,
        help="start anew although the folder holds a run",
    )
    add(
        "--test-episodes",
        type=int,
        default=1000,
        help="episodes of the test at the end (1000; 0 for none)",
    )
    add(
        "--record",
        action="store_true",
        default=False,
        help="keep the record in data/results too, where notebooks list it",
    )
    add("--device", default=None, help="cpu, cuda, ... (a GPU if there is one)")
    add_cache_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train as asked, print the figures, and keep the record beside the checkpoints.

    Raises:
        CstlibError: an option is not possible, or as in `train`.
    """
    with distributed.joined(args.device) as device:
        return _run(args, device)


def _run(args: argparse.Namespace, device: torch.device) -> int:
    given = {k: v for k, v in vars(args).items() if k in TrainConfig.field_names()}
    if args.test_episodes < 0:
        raise CstlibError(
            f"A test of {args.test_episodes} episodes is not possible: give 1 or more, "
            "or 0 for no test."
        )
    # What is not said again stays as it was.
    if before := distributed.from_first(lambda: _before(args)):
        if given.get("supervision", before["supervision"]) != before["supervision"]:
            del before["mask_source"]
        if given.get("task", before.get("task")) != before.get("task"):
            before.pop("lam", None)
        given = {**before, **given}
    config = TrainConfig.from_dict({"data": chosen_data(), **given})
    world = distributed.first_before_others(lambda: load_world(config.data))
    config = replace(config, backbone=config.backbone or world.backbone)
    out = args.out or data_home() / "runs" / run_name(config)
    try:
        record = train(
            config,
            out,
            args.resume,
            args.overwrite,
            world,
            device=device,
            test_episodes=args.test_episodes,
            command=records.command_line("train", args.argv),
        )
    except KeyboardInterrupt:
        if (Path(out) / "last.pt").is_file():
            print(
                f"Stopped and saved: continue with the same command and --resume "
                f"(folder {out}).",
                file=sys.stderr,
            )
        raise
    # Only when asked: stored notebooks and the README list what lies there.
    if args.record and distributed.is_first():
        records.write_record(record)
    chosen = record["selection"]
    print(
        f"Trained {config.episodes} episodes in {record['duration_s']:.0f} s; best.pt "
        f"is the learner at episode {chosen['at_episode']}, chosen by {chosen['by']}."
    )
    if record["metrics"]:
        parts = record["metrics"], world.class_names, config.task
        print(records.metrics_table(*parts))
    print(f"Folder: {out}")
    return 0


def _lengths(which: int) -> str:
    """What a length is where it is not given, in words."""
    others = (f"{data} {own[which]}" for data, own in BENCHMARKS.items())
    return f"{MINIATURE[which]}; {', '.join(others)}"


def _before(args: argparse.Namespace) -> dict[str, Any] | None:
    """The configuration of the run that is to be resumed, if its folder is named."""
    if args.resume and args.out and (args.out / "last.pt").is_file():
        return load_checkpoint(args.out / "last.pt")["config"]
    return None
