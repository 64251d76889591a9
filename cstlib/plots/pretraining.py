"""Figures of pre-training: a live run, the recorded one, and what it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from cstlib.plots.style import CONTROL, HEAT, QUERY, Figure, bare, figure, picture


def live_pretraining(
    losses: Sequence[float],
    entropies: Sequence[float],
    matching: Sequence[float],
    steps: int,
    batch: int,
) -> Figure:
    """The course of a short self-distillation, step by step.

    Args:
        entropies: the teacher's, in units of log K.
        matching: share of images whose view finds its own other view in the batch.
        steps: how many there will be: the width of the axes.
        batch: images a step; 1 / batch is matching by chance.
    """
    fig, axes = figure(1, 3, 2.7, 2.3)
    titles = ("loss", "teacher's entropy ÷ log K", "views that find their twin")
    for axis, title, values in zip(axes[0], titles, (losses, entropies, matching)):
        axis.plot(np.arange(1, len(values) + 1), values, color=QUERY, lw=1)
        if len(values) > 8:
            smooth = np.convolve(values, np.ones(8) / 8, "valid")
            axis.plot(np.arange(len(smooth)) + 4.5, smooth, color="black", lw=1.6)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.set_xlim(1, max(steps, 2))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
    axes[0, 1].set_ylim(0, 1.02)
    axes[0, 2].set_ylim(0, 1.02)
    axes[0, 2].axhline(1 / batch, color=CONTROL, ls="--", lw=1)
    axes[0, 2].text(
        0.98,
        0.96,
        f"dashed: chance, 1/{batch}",
        transform=axes[0, 2].transAxes,
        ha="right",
        va="top",
        fontsize=7,
        color=CONTROL,
    )
    return fig


def pretraining_course(probe: Sequence[Mapping[str, float]], classes: int) -> Figure:
    """The recorded pre-training of shipped weights: four figures over images seen.

    Args:
        probe: measurements in the order made, as in the weights' JSON.
        classes: whose inverse is the chance of the nearest neighbour's class.
    """
    panels: list[tuple[str, str, str, float | str]] = [
        ("self_iou", "own class token", "IoU", "self_iou_all_foreground"),
        ("cross_iou", "a support's class token", "IoU", "cross_iou_all_foreground"),
        ("nearest_neighbour", "nearest neighbour's class", "accuracy", 1 / classes),
        ("matching_auc", "matching tells presence", "AUC", 0.5),
    ]
    fig, axes = figure(1, len(panels), 2.4, 2.4)
    for axis, (key, title, unit, control) in zip(axes[0], panels):
        rows = [entry for entry in probe if key in entry]
        seen = [entry["images_seen"] / 1000 for entry in rows]
        axis.plot(seen, [entry[key] for entry in rows], color=QUERY, marker=".")
        # A control is a number, or the name of a measured one.
        level = rows[-1][control] if isinstance(control, str) else control
        axis.axhline(level, color=CONTROL, ls="--", lw=1)
        name = "all foreground" if isinstance(control, str) else "chance"
        axis.annotate(
            name,
            (0.98, level),
            (0, 2 if level < 0.1 else -8),
            xycoords=axis.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color=CONTROL,
        )
        axis.set_title(title, fontsize=9)
        axis.set_ylabel(unit, fontsize=8)
        axis.set_xlabel("images seen, thousands", fontsize=8)
        axis.set_ylim(0, 1)
        axis.set_xlim(0, None)
        axis.tick_params(labelsize=8)
    return fig


def attention_over_training(images: Sequence, maps: Mapping[int, Tensor]) -> Figure:
    """What the class token looked at while it learned: a row an image, a column a step.

    All panels of a row share one colour scale, from its lowest cosine (dark) to its
    highest (bright), so that contrast is seen to grow.

    Args:
        images: B of 3 x H x W.
        maps: step -> B x h x w cosines, equation (9), one head's or the heads' mean.
    """
    fig, axes = figure(len(images), 1 + len(maps), 1.15, 1.3)
    for number, row in enumerate(axes):
        row[0].imshow(picture(images[number]))
        bare(row[0], "image" if number == 0 else "", QUERY)
        shown = [np.asarray(heat[number].float()) for heat in maps.values()]
        low, high = min(h.min() for h in shown), max(h.max() for h in shown)
        for axis, step, heat in zip(row[1:], maps, shown):
            axis.imshow(heat, cmap=HEAT, vmin=low, vmax=high)
            bare(axis, f"step {step:,}" if number == 0 else "")
    return fig
