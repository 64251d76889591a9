"""``python -m cstlib <command>``: one parser, and one way to say what went wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import cstlib
from cstlib.errors import CstlibError

# Each module offers add_parser(subparsers) and run(args) -> exit code. Only the one
# that is asked for is imported: `--help` need not wait for torch.
COMMANDS = {
    "check": ("cstlib.check", "say what this machine has and what is missing"),
    "data": ("cstlib.data_command", "prepare a benchmark's data"),
    "pretrain": ("cstlib.pretrain_command", "pre-train the miniature's backbone"),
    "train": ("cstlib.train_command", "train a learner on cached features"),
    "evaluate": ("cstlib.evaluate_command", "measure a checkpoint by the protocol"),
    "enhancer-choices": (
        "cstlib.enhancer_command",
        "decide the mask enhancer's open choices by experiment",
    ),
    "reproduce": ("cstlib.reproduce_command", "run what is missing of a table"),
    "paper": ("cstlib.paper_command", "print a table of the paper, with its notes"),
    "predict": ("cstlib.predict_command", "classify and segment your own pictures"),
    "bench": ("cstlib.bench", "measure speed and memory on this machine"),
    "notebooks": ("cstlib.notebooks", "run the notebooks and store their outputs"),
    "export": ("cstlib.export", "write the course as HTML pages with their figures"),
}
# What several processes can share (`cstlib.distributed`).
SHARED = ("train", "evaluate", "reproduce")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser; the options of ``command`` are filled in, the others only named."""
    parser = argparse.ArgumentParser(
        prog="cstlib",
        description="Learn and run the Classification-Segmentation Transformer (CST).",
        epilog="`python -m cstlib <command> --help` lists a command's options.",
    )
    parser.add_argument("--version", action="version", version=cstlib.__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, (module, summary) in COMMANDS.items():
        if name == command:
            import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def _check_launcher(command: str) -> None:
    """Raise CstlibError where `torchrun` starts several of what is one process."""
    several = os.environ.get("TORCHELASTIC_RUN_ID") and os.environ.get("WORLD_SIZE")
    if several not in (None, "", "1") and command not in SHARED:
        raise CstlibError(
            f"The command {command} works in one process: start it without torchrun, "
            f"which serves {', '.join(SHARED[:-1])} and {SHARED[-1]}."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all went well, 2 for what the user can put right."""
    # OpenMP's threads wait for each other by spinning. Where another program shares
    # the cores, that made training five times slower. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = list(sys.argv[1:] if argv is None else argv)
    at = next((i for i, word in enumerate(argv) if not word.startswith("-")), len(argv))
    args = build_parser(argv[at] if at < len(argv) else None).parse_args(argv)
    args.argv = argv[at + 1 :]  # for the records
    try:
        _check_launcher(args.command)
        return args.run(args) or 0
    except CstlibError as error:
        print(f"cstlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cstlib: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has left. Closing stdout again at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
