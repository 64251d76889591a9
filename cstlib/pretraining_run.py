"""A pre-training run: checkpoints, a log and measurements around `cstlib.pretraining`.

The training itself sees pixels only. The measurements on the way use masks and labels
(`cstlib.probes`) and return nothing to it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.layers import set_fused_attn
from torch import nn
from tqdm.auto import tqdm

from cstlib import files, records, snapshots
from cstlib.backbones import Backbone
from cstlib.data.mini import RENDERER_VERSION
from cstlib.errors import CstlibError
from cstlib.pretraining import (
    PretrainConfig,
    Pretraining,
    PretrainStep,
    pretraining_images,
)
from cstlib.probes import Prober, backbone_from
from cstlib.worlds import load_world

LOG_EVERY = 50  # steps
CHECKPOINT_EVERY = 100
LOG_HEADER = "step,loss,teacher_entropy,matching,images_per_s\n"


def export(teacher: nn.Module, path: Path, notes: dict) -> None:
    """Write weights in half precision with their notes beside them.

    ``path`` is a ``.safetensors`` file; the notes go to ``.json`` and carry its
    SHA-256, which `cstlib.backbones.load_backbone` checks.
    """
    half = {k: v.detach().half().contiguous() for k, v in teacher.state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(half, temporary)
    files.write_json(path.with_suffix(".json"), {"sha256": files.sha256(path), **notes})


def pretrain(
    config: PretrainConfig,
    out: Path,
    resume: bool = False,
    probe_every: int = 500,
    stop_at: int | None = None,
    command: str = "",
    progress: bool = True,
) -> Path:
    """Pre-train, with checkpoints and measurements on the way; returns the weights.

    ``out`` receives ``last.pt`` (all that a resumed run needs), ``log.csv``, the
    attention maps of every measurement (`cstlib.snapshots`) and, at the end,
    ``dino-mini.safetensors`` with ``dino-mini.json``.

    Args:
        probe_every: steps between two measurements with masks and labels; 0: never.
            They only measure: nothing of them returns to the training.
        stop_at: end after this step, though the schedule would go on.

    Raises:
        CstlibError: ``out`` cannot be written, holds a run already and ``resume`` is
            off, or holds no run and ``resume`` is on.
    """
    checkpoint, log = out / "last.pt", out / "log.csv"
    if checkpoint.is_file() and not resume:
        raise CstlibError(
            f"{out} holds a run already: go on with --resume or give another --out."
        )
    state = _read_checkpoint(checkpoint) if resume else None
    # On a CPU the fused attention's backward pass takes longer than all the rest.
    set_fused_attn(False)
    run = Pretraining(config, pretraining_images(config.images, config.seed, progress))
    history: list[dict] = []
    seconds = 0.0
    if state:
        run.restore(state["run"])
        history, seconds = state["history"], state["seconds"]
        _cut_log(log, run.step)
    else:
        files.write_text(log, LOG_HEADER)

    end = min(stop_at or config.steps, config.steps)
    probe = _Probe() if probe_every else None
    maps = out / "dino-mini-maps.safetensors"
    if probe and run.step == 0:
        probe.look(run, maps)
    measured = [row["step"] for row in history]
    if probe and 0 < run.step < end and run.step % probe_every == 0:
        # A run that had been told to stop here measured after its last checkpoint.
        history += [probe(run, maps)] if run.step not in measured else []
    recent: list[PretrainStep] = []
    began = time.monotonic() - seconds
    bar = tqdm(
        total=end,
        initial=run.step,
        unit="step",
        disable=not progress,
        desc="pretrain",
        mininterval=1.0,
    )
    with bar:
        while run.step < end:
            recent.append(run.advance())
            bar.update()
            last = run.step == end
            if run.step % LOG_EVERY == 0 or last:
                _log(log, recent, bar, config.batch)
                recent.clear()
            if probe and run.step % probe_every == 0 and not last:
                history.append(probe(run, maps))
                bar.write(_localisation(history[-1]), file=sys.stderr)
            if run.step % CHECKPOINT_EVERY == 0 or last:
                seconds = time.monotonic() - began
                state = {"run": run.state(), "history": history, "seconds": seconds}
                with files.replacing(checkpoint) as temporary:
                    torch.save(state, temporary)
    if probe:
        history.append(probe(run, maps))
    weights = out / "dino-mini.safetensors"
    notes = {
        "method": "DINO self-distillation, no labels, no masks",
        # The best one for the cross map: that is the map a learner is trained on.
        "threshold": history[-1]["cross_threshold"] if history else 0.4,
        "output_threshold": history[-1]["output_cross_threshold"] if history else 0.4,
        "renderer_version": RENDERER_VERSION,
        "command": command,
        "seed": config.seed,
        "images_seen": run.step * config.batch,
        "duration_s": round(seconds),
        "device": records.describe_device("cpu"),
        "versions": records.versions(),
        "config": asdict(config),
        "probe": history,
    }
    export(run.teacher, weights, notes)
    return weights


def _log(log: Path, steps: list[PretrainStep], bar: tqdm, batch: int) -> None:
    """Show the latest steps' means and append them to the log."""
    loss, entropy, matching = _means(steps)
    bar.set_postfix_str(
        f"loss {loss:.3f} entropy {entropy:.2f} matching {matching:.2f}"
    )
    speed = (bar.format_dict["rate"] or 0.0) * batch
    with log.open("a", encoding="utf-8") as file:
        file.write(
            f"{steps[-1].step},{loss:.5f},{entropy:.5f},{matching:.5f},{speed:.0f}\n"
        )


def _localisation(figures: dict) -> str:
    return (
        f"step {figures['step']}: self IoU {figures['self_iou']:.3f}, "
        f"cross IoU {figures['cross_iou']:.3f}, nearest neighbour "
        f"{figures['nearest_neighbour']:.3f}, matching AUC {figures['matching_auc']:.3f}"
    )


def _means(steps: list[PretrainStep]) -> tuple[float, float, float]:
    count = len(steps)
    return (
        sum(s.loss for s in steps) / count,
        sum(s.entropy for s in steps) / count,
        sum(s.matching for s in steps) / count,
    )


def _cut_log(log: Path, step: int) -> None:
    """Drop the lines of steps that the resumed run will take again."""
    lines = log.read_text(encoding="utf-8").splitlines()[1:] if log.is_file() else []
    kept = [line for line in lines if int(line.split(",")[0]) <= step]
    files.write_text(log, LOG_HEADER + "".join(f"{line}\n" for line in kept))


def _read_checkpoint(path: Path) -> dict:
    if not path.is_file():
        raise CstlibError(f"There is no {path} to resume: leave out --resume.")
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        raise CstlibError(
            f"{path} is damaged or no checkpoint: delete it and start anew."
        ) from error


class _Probe:
    """Measures the teacher now and then; all that knows masks is in `cstlib.probes`."""

    def __init__(self) -> None:
        self.prober = Prober(load_world("mini"))

    def __call__(self, run: Pretraining, maps: Path) -> dict:
        """Figures with labels and masks; the maps of a few images go to a file."""
        backbone = self.look(run, maps)
        seen = run.step * run.config.batch
        return {"step": run.step, "images_seen": seen, **self.prober.measure(backbone)}

    def look(self, run: Pretraining, maps: Path) -> Backbone:
        """Keep what the teacher's class token looks at now."""
        backbone = backbone_from(run.teacher.state_dict())
        pixels = self.prober.val.pixels[: snapshots.IMAGES]
        snapshots.keep(maps, run.step, snapshots.class_token_maps(backbone, pixels))
        return backbone
