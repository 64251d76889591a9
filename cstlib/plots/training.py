"""Figures of training: losses and held-out figures as it goes (notebooks 05-08).

How large a figure is never depends on how long something was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from cstlib.plots.style import (
    BACKGROUND,
    CONTROL,
    DASHES,
    FIGURES,
    MARKERS,
    QUERY,
    SERIES,
    SUPPORT,
    TITLES,
    Figure,
    figure,
    tidy,
)


def training_progress(
    steps: Sequence[Any],
    title: str = "",
    controls: Mapping[str, Any] | None = None,
    smooth: int = 10,
) -> Figure:
    """Loss, ER and mIoU against the number of episodes seen.

    Args:
        steps: `cstlib.fitting.TrainStep`s so far, may be empty. ER and mIoU are the
            running figures of the training batches; circles are validations.
        controls: name -> metrics (``exact_ratio``, ``miou``) drawn as dashed lines.
        smooth: steps of the running mean of the loss.
    """
    fig, axes = figure(1, 3, 3.1, 2.5)
    loss, ratio, miou = axes[0]
    seen = [step.episode for step in steps]
    held_out = [step for step in steps if step.validation is not None]
    values = np.array([step.loss for step in steps])
    loss.plot(seen, values, color=BACKGROUND, linewidth=0.6)
    loss.plot(seen, _running_mean(values, smooth), color=QUERY)
    loss.set_ylim(bottom=0)
    loss.set_title("loss", fontsize=9)
    for axis, own, key, name in (
        (ratio, "er", *FIGURES[0]),
        (miou, "miou", *FIGURES[1]),
    ):
        axis.plot(seen, [100 * getattr(s, own) for s in steps], color=QUERY)
        if held_out:  # an empty line that is not clipped upsets the layout
            axis.plot(
                [s.episode for s in held_out],
                [100 * getattr(s.validation, key) for s in held_out],
                "o",
                color=SUPPORT,
                markeredgecolor="white",
                markersize=7,
                clip_on=False,
                zorder=3,
            )
        for style, (control, metrics) in zip(DASHES, (controls or {}).items()):
            level = 100 * getattr(metrics, key)
            axis.axhline(level, color=CONTROL, linestyle=style, label=control)
        axis.set_ylim(0, 100)
        axis.set_title(name, fontsize=9)
    if controls:
        miou.legend(fontsize=7, frameon=False, loc="upper left")
    ratio.legend(
        handles=[
            Line2D([], [], color=QUERY, label="training batches"),
            Line2D([], [], color=SUPPORT, marker="o", ls="", label="held-out classes"),
        ],
        fontsize=7,
        frameon=False,
        loc="lower right",
    )
    for axis in axes[0]:
        axis.set_xlabel("episodes", fontsize=8)
        axis.tick_params(labelsize=8)
    fig.suptitle(title, fontsize=10)
    return fig


def loss_curves(losses: Mapping[str, Sequence[float]], xlabel: str = "steps") -> Figure:
    """Losses against steps, a smoothed line for each name."""
    fig, axes = figure(1, 1, 4.4, 2.6)
    axis = axes[0, 0]
    # From wide to narrow, so that lines on top of each other are all seen.
    widths = np.linspace(1.2 + 1.3 * (len(losses) - 1), 1.2, len(losses))
    for colour, width, (name, values) in zip(SERIES, widths, losses.items()):
        smooth = _running_mean(np.asarray(values, dtype=float), 10)
        steps = range(1, len(smooth) + 1)
        axis.plot(steps, smooth, color=colour, linewidth=width, label=name)
    axis.set_ylim(bottom=0)
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_ylabel("loss", fontsize=8)
    axis.tick_params(labelsize=8)
    if len(losses) > 1:
        axis.legend(fontsize=8, frameon=False)
    return fig


def validation_curves(
    series: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    key: str = "miou",
    title: str = "",
) -> Figure:
    """Held-out figures while runs trained: a thin line a run, a thick one their mean.

    Args:
        series: name -> runs, each the ``validation`` of its record: {"episode": n,
            "miou": fraction, ...} in order. Runs of a series share their episodes, or
            the mean is left out.
    """
    fig, axes = figure(1, 1, 4.6, 2.8)
    axis = axes[0, 0]
    highest = 0.0
    for number, (name, runs) in enumerate(series.items()):
        colour = SERIES[number % len(SERIES)]
        lines = [([v["episode"] for v in r], [100 * v[key] for v in r]) for r in runs]
        lines = [line for line in lines if line[0]]
        highest = max([highest, *(y for _, ys in lines for y in ys)])
        for xs, ys in lines:
            axis.plot(xs, ys, color=colour, linewidth=0.8, alpha=0.5)
        if lines and all(xs == lines[0][0] for xs, _ in lines):
            axis.plot(
                lines[0][0],
                np.mean([ys for _, ys in lines], axis=0),
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                label=f"{name}, mean of {len(lines)}",
            )
    axis.set_ylim(0, min(100, max(40, 1.6 * highest)))  # with room for the legend
    axis.set_xlim(left=0)
    axis.set_xlabel("training episodes", fontsize=8)
    axis.set_ylabel(f"validation {TITLES.get(key, key)}", fontsize=8)
    tidy(axis, "y")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, loc="upper left")
    fig.suptitle(title, fontsize=10)
    return fig


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of each value and up to ``width`` - 1 before it."""
    if not len(values):
        return values
    sums = np.concatenate([[0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


__all__ = ["loss_curves", "training_progress", "validation_curves"]
