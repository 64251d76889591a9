"""``python -m cstlib pretrain``: pre-train the miniature's backbone, or measure one."""

from __future__ import annotations

import argparse
from pathlib import Path

from cstlib import records
from cstlib.errors import CstlibError
from cstlib.pretraining import PretrainConfig
from cstlib.pretraining_run import pretrain
from cstlib.probes import report
from cstlib.supervised_twin import train_twin


def add_parser(subparsers) -> None:
    """The command ``python -m cstlib pretrain``."""
    parser = subparsers.add_parser(
        "pretrain", help="pre-train the miniature's backbone by self-distillation"
    )
    standard = PretrainConfig()
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with --out's run")
    for name, what in {
        "images": "unlabelled images to render",
        "steps": "training steps",
        "batch": "images a step",
        "seed": "of images, weights and views",
        "prototypes": "K, the teacher's vocabulary",
        "lr": "highest learning rate",
    }.items():
        value = getattr(standard, name)
        parser.add_argument(
            f"--{name}", type=type(value), default=value, help=f"{what} ({value})"
        )
    parser.add_argument(
        "--precision",
        choices=("float32", "bf16"),
        default=standard.precision,
        help="bf16 is several times faster on processors that support it",
    )
    parser.add_argument(
        "--probe-every",
        type=int,
        default=500,
        metavar="STEPS",
        help="measure with masks and labels this often; 0: never (500)",
    )
    parser.add_argument(
        "--stop-at",
        type=int,
        metavar="STEP",
        help="end after this step of the schedule (at its end)",
    )
    parser.add_argument(
        "--probe",
        metavar="WEIGHTS",
        help="train nothing; measure a weights file or a backbone by name",
    )
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="the control twin: learn the classes from labels instead",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pre-train, or measure weights that are there.

    Raises:
        CstlibError: an option is missing or not possible, or what it leads to.
    """
    if args.probe:
        print(report(args.probe))
        return 0
    if args.out is None:
        raise CstlibError("Say where the run's files go: --out DIR.")
    if min(args.images, args.steps, args.batch, args.prototypes) < 1 or args.lr <= 0:
        raise CstlibError(
            "Pre-training needs positive --images, --steps, --batch, --prototypes "
            "and --lr: give numbers above 0."
        )
    # A resumed run ends in the same weights, so the record names the whole run.
    said = [word for word in args.argv if word != "--resume"]
    command = records.command_line("pretrain", said)
    config = PretrainConfig(
        images=args.images,
        steps=args.steps,
        batch=args.batch,
        seed=args.seed,
        prototypes=args.prototypes,
        lr=args.lr,
        precision=args.precision,
    )
    if args.supervised:
        weights = train_twin(config, args.out, command)
    else:
        weights = pretrain(
            config, args.out, args.resume, args.probe_every, args.stop_at, command
        )
    print(f"The weights are in {weights}.")
    return 0
