"""The folder of a training run: what lies there, who may write, and what is resumed.

``last.pt`` holds everything that is needed to go on exactly where a run stopped,
``best.pt`` the learner that the selecting figure chose. Of several processes only the
first reads or writes here.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cstlib import distributed, files
from cstlib.checkpoints import load_checkpoint, save_checkpoint
from cstlib.config import TrainConfig, option
from cstlib.errors import CstlibError
from cstlib.fitting import Run
from cstlib.run_log import RunLog

# Where a resumed run may differ from the one that it continues.
FREE_ON_RESUME = ("episodes",)


def state_to_resume(out: Path, config: TrainConfig) -> dict[str, Any]:
    """The content of last.pt, if it belongs to this configuration.

    Raises:
        CstlibError: there is none, or it is of another run.
    """
    if not (out / "last.pt").is_file():
        raise CstlibError(
            f"There is no run to resume in {out}: leave out --resume to start one, or "
            "check --out."
        )
    state = load_checkpoint(out / "last.pt")
    before = state["config"]
    now = asdict(config)
    if not now["backbone"]:
        now["backbone"] = before["backbone"]
    for name, value in now.items():
        if name not in FREE_ON_RESUME and before.get(name, value) != value:
            raise CstlibError(
                f"The run in {out} was started with {option(name)} {before[name]}, not "
                f"{value}: resume it as it was, or start another one in a new folder."
            )
    return state


def check_free(out: Path) -> None:
    """Make sure that a new run may begin here.

    Raises:
        CstlibError: a run is in the way.
    """
    if (out / "last.pt").exists():
        raise CstlibError(
            f"{out} already holds a run: continue it with --resume, replace it with "
            "--overwrite, or choose another folder."
        )


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Make the folder and prove that it can be written, before an hour is spent.

    A folder that is made here and stays empty, because something else is wrong, goes
    again.
    """
    if not distributed.is_first():
        yield
        return
    made = not out.exists()
    files.write_text(out / ".writable", "")
    (out / ".writable").unlink()
    try:
        yield
    except BaseException:
        if made and not any(out.iterdir()):
            out.rmdir()
        raise


def open_log(out: Path, position: int | None) -> RunLog | None:
    """The log of a run that goes on at ``position``, or anew; None but on the first.

    What is left of an earlier run goes, and so does the record, for it says that the
    run is finished.
    """
    if not distributed.is_first():
        return None
    (out / "record.json").unlink(missing_ok=True)
    if position is None:
        for stale in ("last.pt", "best.pt", "log.csv"):
            (out / stale).unlink(missing_ok=True)
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
    return RunLog(out / "log.csv", position)


def save(out: Path, run: Run, log: RunLog | None, seconds: float) -> None:
    """Write the log, last.pt and best.pt; all processes wait for the first to do it.

    Raises:
        CstlibError: the folder cannot be written, or the disk is full.
    """
    if log:
        # The log first: whatever it is ahead of last.pt is cut off on resuming.
        log.flush()
        save_checkpoint(out / "last.pt", **run.state_dict(), seconds=seconds)
        if run.best:
            save_checkpoint(out / "best.pt", **_selected(run))
    distributed.wait_for_all()


def _selected(run: Run) -> dict[str, Any]:
    """The content of best.pt: the learner, and what it needs to be used."""
    assert run.best is not None
    return {
        "config": asdict(run.config),
        "in_channels": run.learner.in_channels,
        "learner": run.best.state,
        "enhancer": run.enhancer.state_dict() if run.enhancer else None,
        "episode": run.best.episode,
        "validation": run.best.metrics.as_dict(),
    }


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that a step is never cut in half.

    The second Ctrl-C stops at once, but not under `torchrun`, which repeats to its
    processes what they have already heard. Outside the main thread signals stay as
    they are.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, frame: Any) -> None:
        again = number in received and number == signal.SIGINT
        if again and not distributed.launched():
            raise KeyboardInterrupt
        received.append(number)

    for stop in (signal.SIGINT, signal.SIGTERM):
        previous[stop] = signal.signal(stop, note)
    try:
        yield received
    finally:
        for stop, handler in previous.items():
            signal.signal(stop, handler)
