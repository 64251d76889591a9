"""``python -m cstlib reproduce``: a table of the paper, run here and printed beside it."""

from __future__ import annotations

import argparse
import sys
import time

import torch

from cstlib import claims, distributed, verdicts
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.evaluation import PRECISIONS
from cstlib.experiments import TABLES, Table, find_table
from cstlib.features import add_cache_option
from cstlib.repeat import as_text as repeated_text
from cstlib.repeat import repeat
from cstlib.reproduce import EPISODES, TEST_EPISODES, jobs, recorded, run_job
from cstlib.result_tables import as_text, recorded_lengths, recorded_seeds
from cstlib.worlds import load_world


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib reproduce``."""
    parser = subparsers.add_parser(
        "reproduce",
        help="run what is missing of a table of the paper",
        description="Runs what is missing of a table, keeps each run's record in "
        "data/results, and prints it beside the paper's figures. Stopped at any "
        "moment, the same command goes on.",
    )
    add = parser.add_argument
    add("table", nargs="?", help="its number: 1, 3, a.5, ...")
    add("--list", action="store_true", help="name all tables and what each needs")
    add("--show", action="store_true", help="run nothing, print what is recorded")
    add("--claims", action="store_true", help="judge the paper's claims on the records")
    add(
        "--again",
        nargs="+",
        metavar="RECORD",
        help="make these recorded figures again from nothing and compare (names of "
        "files in data/results); exit code 1 if one is out of its spread",
    )
    add("--data", help="mini, mini-coco, pascal, coco, or a path")
    add("--folds", type=int, nargs="+", help="folds of held-out classes (all)")
    add(
        "--seeds",
        type=int,
        nargs="+",
        help="of weights and order (0; with --show and --claims, all that are recorded)",
    )
    add(
        "--episodes",
        type=int,
        help=f"of training ({EPISODES}; with --claims, the longest that there are)",
    )
    add(
        "--test-episodes",
        type=int,
        default=TEST_EPISODES,
        help=f"of each test ({TEST_EPISODES})",
    )
    add("--precision", choices=PRECISIONS, default=TrainConfig().precision)
    add("--device", help="cpu, cuda, ... (a GPU if there is one)")
    add_cache_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a table and print it; or list the tables, judge claims, repeat records.

    Raises:
        CstlibError: no table is named, or there is none of that name.
    """
    if args.list:
        print("\n".join(describe(number) for number in TABLES))
        return 0
    if args.claims:
        print(judged(args))
        return 0
    if args.again:
        with distributed.joined(args.device) as device:
            return _again(args, device)
    if not args.table:
        raise CstlibError("Say which table, like 1 or a.5: --list names all of them.")
    table = find_table(args.table)
    if args.test_episodes < 1:
        raise CstlibError(
            f"A test of {args.test_episodes} episodes is not possible: give 1 or more."
        )
    with distributed.joined("cpu" if args.show else args.device) as device:
        return _run(args, table, device)


def _run(args: argparse.Namespace, table: Table, device: torch.device) -> int:
    world = distributed.first_before_others(lambda: load_world(args.data))
    folds = range(world.n_folds) if args.folds is None else args.folds
    seeds = args.seeds or (recorded_seeds(recorded()) if args.show else [0])
    todo = jobs(
        table,
        world,
        folds,
        seeds,
        args.test_episodes,
        episodes=args.episodes or EPISODES,
        precision=args.precision,
    )
    if not args.show:
        _run_all(todo, world, device)
    print(as_text(todo, recorded()))
    return 0


def _again(args: argparse.Namespace, device: torch.device) -> int:
    """Each of these records once more; 1 if a figure is further off than allowed."""
    world = distributed.first_before_others(lambda: load_world(args.data))
    agree = True
    for name in args.again:
        compared = repeat(name.removesuffix(".json"), world, device)
        print(repeated_text(name, compared))
        agree &= all(one.agrees for one in compared)
    return 0 if agree else 1


def judged(args: argparse.Namespace) -> str:
    """The claims table, from the records of these folds, seeds and episodes."""
    world, have = load_world(args.data), recorded()
    folds = range(world.n_folds) if args.folds is None else args.folds
    runs = {
        "data": world.data,
        "backbone": world.backbone,
        "folds": folds,
        "seeds": args.seeds or recorded_seeds(have),
        "lengths": [args.episodes] if args.episodes else recorded_lengths(have),
        "precision": args.precision,
    }
    judged = (verdicts.judge_longest(one, have, **runs) for one in claims.CLAIMS)
    return verdicts.as_text(list(judged))


def _run_all(todo, world, device) -> None:
    """Each job in turn, with the time that those before it lead one to expect."""
    have = distributed.from_first(recorded)
    left = [job for job in todo if job.missing(have)]
    print(f"{len(todo) - len(left)} of {len(todo)} runs are recorded.", file=sys.stderr)
    began = time.monotonic()
    for index, job in enumerate(left):
        rest = ""
        if index:
            each = (time.monotonic() - began) / index
            rest = f", about {each * (len(left) - index) / 60:.0f} minutes left"
        print(f"[{index + 1}/{len(left)}] {job.run}{rest}", file=sys.stderr)
        run_job(job, world, device)


def describe(number: str) -> str:
    """A table in the list: its line, and what of it is not in miniature."""
    table = TABLES[number]
    tests = ", ".join(f"{way}-way {shot}-shot" for way, shot in table.measures)
    what = f"{len(table.rows)} rows ({tests})"
    rest = [f"not in miniature: {table.lacks}"] if table.lacks else []
    if table.needs:
        what = f"not in miniature: {table.needs}"
        rest = [f"at real size: {table.instead}"]
    return "\n       ".join([f"{number:>5}  {table.title}: {what}", *rest])
