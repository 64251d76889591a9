"""What two processes do together in `test_distributed.py`, under one `torchrun`.

Each leaves its exit codes in ``codes<rank>.json``; all else lies in the runs' folders.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch

from cstlib import distributed
from cstlib.cli import main
from cstlib.errors import CstlibError
from cstlib.experiment_rows import Row
from cstlib.experiments import Table
from cstlib.fitting import Run
from cstlib.reproduce import jobs, run_job
from cstlib.worlds import load_world

BACKBONE = "random-mini"
# Three episodes for two processes: one has two, the other one.
TRAIN = f"train --data mini --backbone {BACKBONE} --episodes 12 --batch-size 3".split()
TRAIN += ["--validate-every", "6", "--validation-episodes", "5"]
TRAIN += ["--test-episodes", "5"]
TABLE = Table(
    "x",
    "made for this test",
    (Row("CST", {"supervision": "image"}), Row("all", control="foreground")),
    ((1, 1), (2, 1)),
)
SETTINGS = {"backbone": BACKBONE, "episodes": 3, "batch_size": 1}
SETTINGS |= {"validation_episodes": 3, "test_episodes": 4}

TOP = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
ME = int(os.environ.get("RANK", "0"))
codes: dict[str, int] = {}
said: dict[str, str] = {}


def command(name: str, *argv: object) -> None:
    """Run one command, and note how it ended and what this process printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            codes[name] = main([str(word) for word in argv])
        except SystemExit as leaving:
            codes[name] = int(leaving.code)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    said[name] = printed.getvalue()


@contextlib.contextmanager
def at_episode(episode: int, event):
    """Let something happen after the step of the second process that ends there."""
    step = Run.step

    def eventful(self, plans):
        found = step(self, plans)
        if self.position == episode and ME == 1:
            event()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", eventful)
        yield


@contextlib.contextmanager
def small_files(most: int = 100_000):
    """Let the system refuse larger files, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail() -> None:
    raise CstlibError("The second process has a problem: solve it.")


def tables() -> None:
    with distributed.joined("cpu") as device:
        world = load_world("mini")
        for job in jobs(TABLE, world, [0], [0], **SETTINGS):
            run_job(job, world, device)


def everything() -> None:
    command("whole", *TRAIN, "--out", TOP / "two")
    made = ["evaluate", "--checkpoint", TOP / "made.pt", "--episodes", 5, "--way", 2]
    command("evaluate", *made, "--json", TOP / "two.json")
    with at_episode(9, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        command("stopped", *TRAIN, "--out", TOP / "stopped")
    command("resumed", *TRAIN, "--out", TOP / "stopped", "--resume")
    with at_episode(6, fail):
        command("failed", *TRAIN, "--out", TOP / "failed")
    with small_files():
        command("full", *TRAIN, "--out", TOP / "full")
    command("again", *TRAIN, "--out", TOP / "two")
    command("alone", "predict", "--support", TOP, "--query", TOP, "--out", TOP / "no")
    tables()


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    everything()
    torch.distributed.destroy_process_group()
    content = {"codes": codes, "said": said}
    (TOP / f"codes{ME}.json").write_text(json.dumps(content))
