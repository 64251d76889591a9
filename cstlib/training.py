"""Train into a folder: checkpoints, log and record around `cstlib.fitting.fit`.

A run's folder holds ``last.pt`` (everything needed to go on exactly where it stopped),
``best.pt`` (the learner that the selecting figure chose), ``log.csv`` and, once it is
finished, ``record.json``.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from cstlib import files, records
from cstlib.checkpoints import load_checkpoint, save_checkpoint
from cstlib.config import TrainConfig, option
from cstlib.errors import CstlibError
from cstlib.evaluation import evaluate_both
from cstlib.features import Features
from cstlib.fitting import Best, Run, TrainStep, fit
from cstlib.learner import class_score_loss
from cstlib.metrics import Metrics
from cstlib.run_log import RunLog
from cstlib.worlds import World, name_in_files

__all__ = [
    "Best",
    "Run",
    "TrainConfig",
    "TrainStep",
    "class_score_loss",
    "fit",
    "train",
]

# Where a resumed run may differ from the one that it continues.
FREE_ON_RESUME = ("episodes",)


def train(
    config: TrainConfig,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    world: World | None = None,
    features: Features | None = None,
    device: str | torch.device | None = None,
    test_episodes: int = 1000,
    save_every: int = 600,
    command: str = "",
    progress: bool = True,
) -> dict[str, Any]:
    """Train, keep the best and the last weights, and measure the best at the end.

    Args:
        out: the run's folder.
        resume: continue the run in ``out``. Losses are the same as if it had never
            been interrupted.
        overwrite: start anew although ``out`` holds a run.
        test_episodes: of the final test; 0 leaves it out.
        save_every: episodes between two states of ``last.pt``.
        command: as typed, for the record.

    Returns:
        The record, as written to ``out/record.json``.

    Raises:
        CstlibError: nothing to resume, a run is in the way, the folder cannot be
            written, or data and weights do not fit.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM, after saving.
    """
    out = Path(out)
    state = _state_to_resume(out, config) if resume else None
    if not resume and not overwrite and (out / "last.pt").exists():
        raise CstlibError(
            f"{out} already holds a run: continue it with --resume, replace it with "
            "--overwrite, or choose another folder."
        )
    with _claimed(out):
        run = Run(config, world, features, device, progress)
        log = RunLog(out / "log.csv")
        seconds = 0.0
        # A record says that the run is finished, which it no longer is.
        (out / "record.json").unlink(missing_ok=True)
        if state:
            run.load_state_dict(state)
            seconds = state["seconds"]
            log.keep(run.position)
        else:
            for stale in ("last.pt", "best.pt", "log.csv"):
                (out / stale).unlink(missing_ok=True)
        seconds = _train_and_save(run, out, log, seconds, save_every, progress)
    record = _finish(run, out, seconds, test_episodes, command, progress)
    records.write_record(record, "record", out)
    return record


def _train_and_save(run, out, log, seconds, save_every, progress) -> float:
    """The loop of `train`; returns the seconds that all of the run's steps took."""

    def save() -> None:
        # The log first: whatever it is ahead of last.pt is cut off on resuming.
        log.flush()
        save_checkpoint(out / "last.pt", **run.state_dict(), seconds=seconds)
        if run.best:
            save_checkpoint(out / "best.pt", **_selected(run))

    goal, saved = run.config.episodes, run.position
    bar = tqdm(
        total=goal,
        initial=run.position,
        desc="train",
        unit="ep",
        disable=not progress,
        file=sys.stderr,
        dynamic_ncols=True,
    )
    with bar, _stop_signals() as stopped:
        began = time.perf_counter() - seconds
        for step in fit(run):
            seconds = time.perf_counter() - began
            log.add(step, seconds)
            bar.update(step.episode - bar.n)
            bar.set_postfix_str(_postfix(step, run.best), refresh=False)
            done = step.episode >= goal
            due = step.episode // save_every > saved // save_every
            if done or due or step.validation or stopped:
                save()
                saved = step.episode
            if stopped and not done:
                raise KeyboardInterrupt
    return seconds


def _postfix(step: TrainStep, best: Best | None) -> str:
    parts = [f"loss {step.loss:.3f}", f"ER {100 * step.er:.1f}"]
    if not math.isnan(step.miou):
        parts.append(f"mIoU {100 * step.miou:.1f}")
    if best:
        parts.append(
            f"held out: best ER {100 * best.metrics.exact_ratio:.1f} "
            f"mIoU {100 * best.metrics.miou:.1f}"
        )
    return ", ".join(parts)


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


def _finish(run, out, seconds, test_episodes, command, progress) -> dict[str, Any]:
    """Measure the selected learner and describe the run."""
    config, best = run.config, run.best
    metrics: dict[str, Metrics] = {}
    if test_episodes:
        run.learner.load_state_dict(best.state)
        metrics = evaluate_both(
            run.learner,
            run.held_out,
            run.features,
            run.held_out_supervision,
            episodes=test_episodes,
            precision=config.precision,
            progress=progress,
        )
    return {
        "name": run_name(config),
        "kind": "train",
        "command": command,
        "config": asdict(config),
        "seed": config.seed,
        "device": records.describe_device(run.features.device),
        "versions": records.versions(),
        "duration_s": round(seconds, 1),
        "episodes_per_s": round(run.position / seconds, 2) if seconds else None,
        "parameters": sum(p.numel() for p in run.learner.parameters()),
        "selection": {
            "by": config.select_by,
            "on": "the first validation episodes of the held-out classes, as all "
            "this literature does",
            "episodes": config.validation_episodes,
            "at_episode": best.episode,
            "validation": best.metrics.as_dict(),
        },
        "validation": RunLog(out / "log.csv").validations(),
        "test_episodes": test_episodes,
        "metrics": {void: found.as_dict() for void, found in metrics.items()},
    }


# Named in a run's name by themselves; of the others, those off their standard.
NAMED: tuple[str, ...] = (
    "data",
    "fold",
    "supervision",
    "mask_source",
    "mask_fraction",
    "test_masks",
)
NAMED += ("backbone", "learner", "episodes", "seed")


def run_name(config: TrainConfig) -> str:
    """The settings that tell runs apart, as a file name."""
    others = (
        option(name)[2:].replace("-", "") + str(value)
        for name, value in config.unusual().items()
        if name not in NAMED
    )
    return records.run_name(
        name_in_files(config.data),
        f"fold{config.fold}",
        config.supervision,
        f"{100 * config.mask_fraction:g}pct" if config.mask_fraction else "",
        config.mask_source if config.supervision != "pixel" else "",
        "testmasks" if config.test_masks else "",
        config.backbone,
        config.learner if config.learner != "cst" else "",
        *others,
        f"{config.episodes}ep",
        f"seed{config.seed}",
    )


def _state_to_resume(out: Path, config: TrainConfig) -> dict[str, Any]:
    """The content of last.pt, if it belongs to this configuration."""
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


@contextlib.contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Make the folder and prove that it can be written, before an hour is spent.

    A folder that is made here and stays empty, because something else is wrong, goes
    again.
    """
    made = not out.exists()
    files.write_text(out / ".writable", "")
    (out / ".writable").unlink()
    try:
        yield
    except BaseException:
        if made and not any(out.iterdir()):
            out.rmdir()
        raise


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that a step is never cut in half.

    The second Ctrl-C stops at once. Outside the main thread signals stay as they are.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    for stop in (signal.SIGINT, signal.SIGTERM):
        previous[stop] = signal.signal(stop, note)
    try:
        yield received
    finally:
        for stop, handler in previous.items():
            signal.signal(stop, handler)
