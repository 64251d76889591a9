"""``python -m cstlib evaluate``: a checkpoint, the protocol, a table."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cstlib import distributed, files, records
from cstlib.backbones import load_backbone
from cstlib.data.lists import TASKS, check_task
from cstlib.evaluation import PRECISIONS, evaluate_both, protocol_plans
from cstlib.features import Features, add_cache_option, open_features
from cstlib.shipped_learners import open_learner
from cstlib.supervision import (
    KINDS,
    SOURCES,
    FewMasks,
    check_supervision,
    default_source,
    make_supervision,
)
from cstlib.worlds import load_world


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib evaluate``."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a checkpoint by the protocol",
        description="ER, mIoU, FB-IoU and per-class IoU on the fixed test episodes. "
        "What is not given is taken from the checkpoint.",
    )
    add = parser.add_argument
    add(
        "--checkpoint",
        type=Path,
        required=True,
        help="best.pt, cst-pixel-mini, ..., or the authors' file",
    )
    add("--way", type=int, default=1, help="N, classes of an episode (1)")
    add("--shot", type=int, default=1, help="K, support images of a class (1)")
    add("--episodes", type=int, default=1000, help="test episodes (1000)")
    add("--data", help="mini, mini-coco, pascal, coco, or a path")
    add("--task", choices=TASKS, help="fs-s: the query always shows the class")
    add("--fold", type=int, help="fold of held-out classes (the one held out)")
    add("--supervision", choices=KINDS, help="pixel: true support masks are given")
    add("--mask-source", choices=SOURCES, help="of image-level supervision")
    add("--backbone", help="name of the frozen backbone")
    add("--precision", choices=PRECISIONS, default="fp32", help="of the learner (fp32)")
    add("--device", help="cpu, cuda, ... (a GPU if there is one)")
    add("--json", type=Path, help="file for the figures")
    add_cache_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure as asked; print a table, and write it as JSON if a file is named."""
    with distributed.joined(args.device) as device, contextlib.ExitStack() as stack:
        path = None
        if args.json and distributed.is_first():
            # Claimed now: a folder that cannot be written is no news for afterwards.
            path = stack.enter_context(files.replacing(args.json))
        content = _measure(args, device)
        if path:
            files.write_json(path, content)
    return 0


def _measure(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Run the evaluation, print its table, and describe it."""
    began = time.perf_counter()
    saved = open_learner(args.checkpoint)
    config = dict(saved.config)
    if args.supervision and args.supervision != config.get("supervision"):
        config.pop("mask_source", None)
    asked = ("data", "fold", "task", "supervision", "mask_source", "backbone")
    config.update({k: getattr(args, k) for k in asked if getattr(args, k) is not None})
    kind = config.get("supervision", "image")
    source = config.get("mask_source") or default_source(kind)
    if config.pop("test_masks", False):
        kind, source = "pixel", "true"
    check_supervision(kind, source)
    world = distributed.first_before_others(lambda: load_world(config.get("data")))
    fold, task = config.get("fold", 0), config.get("task", "fs-cs")
    check_task(task, args.way)
    dataset = world.dataset(fold, "val", task)
    # Whatever can be refused is refused before features are computed.
    protocol_plans(dataset, args.way, args.shot, args.episodes)
    name = config.get("backbone") or world.backbone
    backbone = distributed.first_before_others(lambda: load_backbone(name))
    probe = Features(backbone, dataset.image, device)
    learner = saved.for_features(probe).to(device)
    features = open_features(world, backbone, device, precision=args.precision)
    if saved.config.get("fold", fold) != fold:
        print(
            f"cstlib: note: fold {saved.config['fold']} was held out in training, so "
            f"the classes of fold {fold} are not new to this learner.",
            file=sys.stderr,
        )
    few = FewMasks(enhancer=saved.enhancer(features.heads, features.device))
    supervision = make_supervision(kind, source, world, dataset, features, few)
    found = evaluate_both(
        learner,
        dataset,
        features,
        supervision,
        args.way,
        args.shot,
        args.episodes,
        args.precision,
        progress=True,
    )
    metrics = {void: m.as_dict() for void, m in found.items()}
    setting = f"{args.way}-way {args.shot}-shot"
    print(
        f"{world.name}, fold {fold}, {'FS-S, ' * (task == 'fs-s')}{setting}, "
        f"{args.episodes} episodes, supervision {kind} ({source} masks), times 100:"
    )
    print(records.metrics_table(metrics, world.class_names, task))
    return {
        "kind": "evaluate",
        "command": records.command_line("evaluate", args.argv),
        "config": {**config, "supervision": kind, "mask_source": source},
        "fold": fold,
        "way": args.way,
        "shot": args.shot,
        "episodes": args.episodes,
        "precision": args.precision,
        "device": records.describe_device(features.device),
        "processes": distributed.size(),
        "versions": records.versions(),
        "duration_s": round(time.perf_counter() - began, 1),
        "metrics": metrics,
    }
