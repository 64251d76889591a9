"""Train into a folder: checkpoints, log and record around `cstlib.fitting.fit`.

A run's folder holds ``last.pt`` (everything needed to go on exactly where it stopped),
``best.pt`` (the learner that the selecting figure chose), ``log.csv``, where TensorBoard
is installed its event files in ``tensorboard/``, and, once the run is finished,
``record.json``.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from cstlib import distributed, records
from cstlib.config import TrainConfig, option
from cstlib.evaluation import evaluate_both
from cstlib.features import Features
from cstlib.fitting import Best, Run, TrainStep, fit
from cstlib.learner import class_score_loss
from cstlib.metrics import Metrics
from cstlib.run_folder import (
    check_free,
    claimed,
    open_log,
    save,
    state_to_resume,
    stop_signals,
)
from cstlib.run_log import RunLog, logged_validations
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
    state = distributed.from_first(lambda: _state(out, config, resume, overwrite))
    with claimed(out):
        run = Run(config, world, features, device, progress)
        if state:
            run.load_state_dict(state)
        log = open_log(out, run.position if state else None)
        seconds = state["seconds"] if state else 0.0
        seconds = _train_and_save(run, out, log, seconds, save_every, progress)
    record = _finish(run, out, seconds, test_episodes, command, progress)
    if distributed.is_first():
        records.write_record(record, "record", out)
    return record


def _state(out: Path, config: TrainConfig, resume: bool, overwrite: bool):
    """What to go on with: the content of last.pt, or None for a new run."""
    if resume:
        return state_to_resume(out, config)
    if not overwrite:
        check_free(out)
    return None


def _train_and_save(
    run: Run,
    out: Path,
    log: RunLog | None,
    seconds: float,
    save_every: int,
    progress: bool,
) -> float:
    """The loop of `train`; returns the seconds that all of the run's steps took."""
    goal, saved = run.config.lengths.episodes, run.position
    bar = tqdm(
        total=goal,
        initial=run.position,
        desc="train",
        unit="ep",
        disable=not progress,
        file=sys.stderr,
        dynamic_ncols=True,
    )
    with bar, stop_signals() as stopped:
        began = time.perf_counter() - seconds
        for step in fit(run):
            seconds = time.perf_counter() - began
            if log:
                log.add(step, seconds)
            bar.update(step.episode - bar.n)
            bar.set_postfix_str(_postfix(step, run.best), refresh=False)
            done = step.episode >= goal
            due = step.episode // save_every > saved // save_every
            stop = distributed.any_true(bool(stopped))
            if done or due or step.validation or stop:
                save(out, run, log, seconds)
                saved = step.episode
            if stop and not done:
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
        "processes": distributed.size(),
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
        "validation": logged_validations(out / "log.csv"),
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
