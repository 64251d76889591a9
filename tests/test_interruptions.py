"""Whatever ends a run, `--resume` goes on to the same losses. And what it logs."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
from made import is_one_sentence
from made_world import BACKBONE, made_home

from cstlib.checkpoints import load_checkpoint
from cstlib.cli import main
from cstlib.errors import CstlibError
from cstlib.fitting import TrainStep
from cstlib.metrics import Metrics
from cstlib.run_log import RunLog

TRAIN = ["train", "--data", "mini", "--backbone", BACKBONE, "--batch-size", "2"]
TRAIN += ["--validate-every", "6", "--validation-episodes", "2", "--test-episodes", "0"]
EPISODES = 18
KILLED = """
import os, signal, sys
from cstlib.cli import main
from cstlib.fitting import Run
step = Run.step

def killed_step(self, plans):
    found = step(self, plans)
    if self.position == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

Run.step = killed_step
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    home = tmp_path_factory.mktemp("home")
    with made_home(home):
        assert command(home / "whole") == 0
        yield SimpleNamespace(home=home, log=log_of(home / "whole"))


def command(out, *more, episodes=EPISODES):
    return main([*TRAIN, "--episodes", str(episodes), "--out", str(out), *more])


def log_of(out):
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_killed_process_goes_on_to_the_same_losses(whole):
    """SIGKILL, which nobody can catch, some steps after the last save."""
    out = whole.home / "killed"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *TRAIN, "--episodes", "18", "--out", str(out)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert not (out / "record.json").exists()
    assert load_checkpoint(out / "last.pt")["position"] == 6
    assert command(out, "--resume") == 0
    assert log_of(out) == whole.log


def test_the_command_says_that_it_was_stopped_and_how_to_go_on(whole, capsys):
    from cstlib.fitting import Run

    step, out = Run.step, whole.home / "stopped"

    def stopped_step(self, plans):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, plans)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", stopped_step)
        assert command(out) == 130
    assert "continue with the same command and --resume" in capsys.readouterr().err
    assert load_checkpoint(out / "last.pt")["position"] == 2
    assert command(out, "--resume") == 0
    assert log_of(out) == whole.log


def test_a_full_disk_is_said_and_then_gone_on_from(whole, capsys):
    resource = pytest.importorskip("resource")
    out = whole.home / "full"
    assert command(out, episodes=6) == 0
    before = load_checkpoint(out / "last.pt")["position"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses to let a file grow, in the middle of writing it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        assert command(out, "--resume") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err.splitlines()[-1].removeprefix("cstlib: ")
    assert "free some disk space" in said and is_one_sentence(said)
    assert load_checkpoint(out / "last.pt")["position"] == before
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert command(out, "--resume") == 0
    assert log_of(out) == whole.log


def test_a_log_that_cannot_grow_is_said_in_one_sentence(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no disk that is always full")
    log = RunLog(tmp_path / "log.csv")
    (tmp_path / "log.csv").symlink_to("/dev/full")
    log.add(TrainStep(3, 1.0, 1.0, 1.0, 0.5, 0.5), 1.0)
    with pytest.raises(CstlibError, match="--resume") as error:
        log.flush()
    assert is_one_sentence(error.value)


class Writer:
    """What TensorBoard's own writer does, written down."""

    made: ClassVar[list[Writer]] = []

    def __init__(self, folder, purge_step=None):
        self.folder, self.purge_step, self.points = folder, purge_step, []
        self.full = False
        Writer.made.append(self)

    def add_scalar(self, curve, value, step):
        if self.full:
            raise OSError(28, "No space left on device")
        self.points.append((curve, value, step))

    def flush(self):
        self.flushed = len(self.points)


@pytest.fixture
def board(monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    return Writer


def test_tensorboard_gets_the_same_figures_where_it_is_installed(
    board, tmp_path, capsys
):
    log = RunLog(tmp_path / "log.csv")
    assert str(tmp_path / "tensorboard") in capsys.readouterr().err
    log.add(TrainStep(3, 1.5, 1.0, 1.4, 0.5, float("nan")), 1.0)
    validation = Metrics(0.25, 0.125, 0.5, {1: 0.125}, 4)
    log.add(TrainStep(6, 1.0, 0.5, 0.95, 0.5, 0.75, validation), 2.0)
    (writer,) = board.made
    assert writer.folder == str(tmp_path / "tensorboard") and writer.points == []
    log.flush()
    points = {(curve, step): value for curve, value, step in writer.points}
    assert points["train/loss", 3] == 1.5 and points["train/miou", 6] == 0.75
    assert points["validation/miou", 6] == 0.125 and writer.purge_step is None
    assert ("train/miou", 3) not in points and ("validation/er", 3) not in points
    assert writer.flushed == len(points) == 5 + 8 - 1
    log.flush()
    assert len(writer.points) == len(points)  # nothing twice

    RunLog(tmp_path / "log.csv", position=3)  # what came later is forgotten
    assert board.made[1].purge_step == 4
    assert [row["episode"] for row in log_of(tmp_path)] == ["3"]

    writer.full = True
    log.add(TrainStep(9, 1.0, 0.5, 0.95, 0.5, 0.75), 3.0)
    with pytest.raises(CstlibError, match="--resume") as error:
        log.flush()
    assert is_one_sentence(error.value)


def test_without_tensorboard_there_is_the_csv_alone(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = RunLog(tmp_path / "log.csv")
    log.add(TrainStep(3, 1.5, 1.0, 1.4, 0.5, 0.5), 1.0)
    log.flush()
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert capsys.readouterr().err == ""
