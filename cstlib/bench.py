"""``python -m cstlib bench``: how fast this machine is, and how far from its limit.

Our path and the naive one (`cstlib.naive_path`) do the same steps in turns, on random
weights and images, so that the ratio means something on a busy machine too. Beside the
times stands the arithmetic limit: the paper's multiply-accumulates at the rate that
this machine reaches in large matrix products.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cstlib import files, records
from cstlib.bench_measure import TASKS, flops, peak_memory, time_in_turns
from cstlib.bench_paths import Setting, make_path
from cstlib.bench_report import report
from cstlib.complexity import (
    backbone_complexity,
    learner_complexity,
    learner_names,
)
from cstlib.errors import CstlibError
from cstlib.evaluation import PRECISIONS
from cstlib.features import pick_device

PATHS = ("ours", "cached", "naive")
BACKWARD = 2  # a backward pass computes two products for each one of the forward


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib bench``."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description="Training steps, evaluation episodes and backbone images a second, "
        "and peak memory, beside a naive reference and the arithmetic limit; random "
        "weights and images. The defaults take some minutes on two cores.",
    )
    add = parser.add_argument
    add("--image-size", type=int, default=400, help="pixels, a multiple of 8 (400)")
    add("--width", type=int, default=384, help="channels of the ViT (384)")
    add("--depth", type=int, default=12, help="its blocks (12)")
    add("--heads", type=int, default=6, help="its heads (6)")
    add("--batch", type=int, default=1, help="pairs in a training step (1)")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    add("--rounds", type=int, default=3, help="measured steps of each (3)")
    add("--ways", nargs="*", type=int, default=[2, 5], help="more N to evaluate")
    add("--shots", nargs="*", type=int, default=[5], help="more K to evaluate")
    add("--batches", nargs="*", type=int, default=[4], help="more batches to train")
    add("--sizes", nargs="*", type=int, default=[224], help="more image sizes")
    add("--no-growth", action="store_true", help="leave these four out")
    add("--no-memory", action="store_true", help="leave peak memory out")
    add("--device", help="cpu, cuda, ... (a GPU if there is one)")
    add("--json", type=Path, help="file for the figures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print tables, and write the figures if a file is named.

    Raises:
        CstlibError: a number is not possible, or the file cannot be written.
    """
    numbers = [args.batch, args.rounds, args.width, args.depth, args.heads]
    numbers += [args.image_size, *args.ways, *args.shots, *args.batches, *args.sizes]
    if min(numbers) < 1 or max(args.ways, default=1) > 5:
        raise CstlibError(
            "Counts and sizes must be 1 or more, and ways at most 5: correct the option."
        )
    pick_device(args.device)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(files.replacing(args.json)) if args.json else None
        found = measure(args)
        print(report(found))
        if path:
            files.write_json(path, found)
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures, as they are written to JSON."""
    began = time.perf_counter()
    base = Setting(
        image_size=args.image_size,
        width=args.width,
        depth=args.depth,
        heads=args.heads,
        batch=args.batch,
        device=args.device,
    )
    device = pick_device(args.device)
    rates = {precision: flops(precision, device) for precision in PRECISIONS}
    rows: list[dict[str, Any]] = []
    for change in [{}, *([] if args.no_growth else _growth(args))]:
        rows += _rows(replace(base, **change), args, rates, memory=not args.no_memory)
    return {
        "kind": "bench",
        "command": records.command_line("bench", args.argv),
        "device": records.describe_device(device),
        "versions": records.versions(),
        "flops": rates,
        "rows": rows,
        "table_a2": table_a2(base, memory=not args.no_memory),
        "duration_s": round(time.perf_counter() - began, 1),
    }


def _growth(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What to change in the setting, one thing at a time."""
    for field, values in (
        ("way", args.ways),
        ("shot", args.shots),
        ("batch", args.batches),
        ("image_size", args.sizes),
    ):
        for value in values:
            yield {field: value}


def _rows(
    setting: Setting, args: argparse.Namespace, rates: dict[str, float], memory: bool
) -> Iterator[dict[str, Any]]:
    """One row for each task and path of a setting."""
    settings = {
        _label(path, precision): replace(setting, path=path, precision=precision)
        for path in args.paths
        for precision in (args.precision if path != "naive" else ["fp32"])
    }
    paths = {name: make_path(each) for name, each in settings.items()}
    for task in args.tasks:
        if not _matters(task, setting, args):
            continue
        chosen = {
            name: path
            for name, path in paths.items()
            if task != "backbone" or path.setting.path != "cached"
        }
        timings = time_in_turns(chosen, task, args.rounds)
        for name, timing in timings.items():
            own = settings[name]
            per_step = own.batch if task != "evaluate" else 1
            row = {
                "task": task,
                "path": own.path,
                "precision": own.precision,
                "image_size": own.image_size,
                "batch": own.batch,
                "way": own.way,
                "shot": own.shot,
                "seconds": timing.seconds,
                "median_s": timing.median,
                "per_s": per_step / timing.median,
                "speedup": timing.speedup,
                "limit_s": 2 * _macs(task, own) / rates[own.precision],
            }
            if memory and own.path != "cached":
                row["memory"] = peak_memory(own, task)
            changed = "".join(
                f", {field} {row[field]}"
                for field in ("image_size", "batch", "way", "shot")
            )
            progress = f"{task}, {name}{changed}: {timing.median:.2f} s"
            print(progress, file=sys.stderr, flush=True)
            yield row


def _label(path: str, precision: str) -> str:
    return path if path == "naive" else f"{path} {precision}"


def _matters(task: str, setting: Setting, args: argparse.Namespace) -> bool:
    """Whether a task depends on what differs from the base setting."""
    if setting.way > 1 or setting.shot > 1:
        return task == "evaluate"
    if setting.batch != args.batch:
        return task != "evaluate"
    return True


def _macs(task: str, setting: Setting) -> float:
    """Multiply-accumulates of a step that does nothing twice."""
    image, learner = _costs(setting)
    cached = setting.path == "cached"
    if task == "backbone":
        return setting.batch * image
    if task == "train":
        pair = (0 if cached else 2 * image) + (1 + BACKWARD) * learner
        return setting.batch * pair
    supports = setting.way * setting.shot
    return (0 if cached else (1 + supports) * image) + supports * learner


def _costs(setting: Setting) -> tuple[int, int]:
    """MACs of the backbone on an image, and of the learner on a pair."""
    side = setting.image_size // 8
    tokens, width = 1 + side * side, setting.width
    image = 3 * 64 * width * side * side + setting.depth * (
        12 * tokens * width * width + 2 * tokens * tokens * width
    )
    channels = setting.depth * setting.heads
    learner = learner_complexity(setting.learner, channels, (side, side))
    return image, learner.all_macs


def table_a2(base: Setting, memory: bool) -> list[dict[str, Any]]:
    """Table a.2: each learner of the registry on the setting's ViT and on ResNet50."""
    side = base.image_size // 8
    rows = []
    for name in learner_names():
        for backbone, channels in (
            ("dino-vits8", 72),
            ("resnet50", 13),
        ):
            frozen = backbone_complexity(backbone)
            grid = (50, 50)
            learner = learner_complexity(name, channels, grid)
            row = {
                "learner": name,
                "backbone": backbone,
                "backbone_parameters": frozen.parameters,
                "backbone_macs": frozen.macs,
                "backbone_attention_macs": frozen.attention_macs,
                "learner_parameters": learner.parameters,
                "learner_macs": learner.macs,
                "learner_attention_macs": learner.attention_macs,
            }
            if memory and backbone == "dino-vits8":
                own = replace(base, learner=name, batch=1, way=1, shot=1)
                row["memory"] = peak_memory(own, "evaluate")
                row["memory_image_size"] = 8 * side
            rows.append(row)
    return rows
