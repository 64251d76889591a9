"""Figures of results, side by side (notebooks 05-08).

Each function takes plain data and returns a closed figure. How many panels it has and
how large they are depends on what is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from cstlib.plots.style import (
    CONTROL,
    DASHES,
    FIGURES,
    QUERY,
    SERIES,
    TITLES,
    Figure,
    figure,
    tidy,
)


def results_bars(
    results: Mapping[str, Any], controls: Iterable[str] = (), title: str = ""
) -> Figure:
    """ER and mIoU of several predictors as bars, controls hatched grey.

    Args:
        results: name -> metrics with ``exact_ratio`` and ``miou``, fractions; drawn
            from the top down in this order.
    """
    controls = set(controls)
    fig, axes = figure(1, 2, 4.4, 0.55 + 0.36 * len(results))
    names = list(results)
    for axis, (key, label) in zip(axes[0], FIGURES):
        for row, name in enumerate(names):
            value = 100 * getattr(results[name], key)
            control = name in controls
            axis.barh(
                row,
                value,
                height=0.66,
                color="white" if control else QUERY,
                edgecolor=CONTROL if control else QUERY,
                hatch="////" if control else None,
            )
            axis.text(value, row, f" {value:.1f}", va="center", fontsize=8)
        axis.set_yticks(range(len(names)), names if axis is axes[0, 0] else [])
        axis.invert_yaxis()
        most = 100 * max(getattr(metrics, key) for metrics in results.values())
        axis.set_xlim(0, 108 if most > 50 else max(20, 1.25 * most))
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
    fig.suptitle(title, fontsize=10)
    return fig


def curves(
    series: Mapping[str, Mapping[float, Any]],
    xlabel: str,
    controls: Iterable[str] = (),
    title: str = "",
) -> Figure:
    """ER and mIoU against ways, shots or a fraction: one line a series.

    Args:
        series: name -> {x: metrics with ``exact_ratio`` and ``miou``}; one that is
            empty is left out, and the colours of the others stay.
        controls: names of the series that are drawn dashed and grey.
    """
    controls = set(controls)
    fig, axes = figure(1, 2, 3.8, 2.8)
    for axis, (key, label) in zip(axes[0], FIGURES):
        ticks: set[float] = set()
        for number, (name, points) in enumerate(series.items()):
            if not points:
                continue
            xs = sorted(points)
            ticks |= set(xs)
            axis.plot(
                xs,
                [100 * getattr(points[x], key) for x in xs],
                "--" if name in controls else "-o",
                color=CONTROL if name in controls else SERIES[number % len(SERIES)],
                markersize=5,
                label=name if axis is axes[0, 0] else None,
            )
        axis.set_xticks(sorted(ticks))
        axis.set_ylim(0, 100)
        axis.set_xlabel(xlabel, fontsize=8)
        axis.set_title(label, fontsize=9)
        axis.tick_params(labelsize=8)
    # Below both: lines may be anywhere.
    fig.legend(fontsize=8, frameon=False, ncols=2, loc="outside lower center")
    fig.suptitle(title, fontsize=10)
    return fig


def against_fraction(
    series: Mapping[str, Mapping[float, float]],
    controls: Mapping[str, float],
    label: str = "IoU (%)",
) -> Figure:
    """IoU of masks against the fraction of training masks seen, controls dashed.

    Args:
        series: name -> {fraction: IoU}. controls: name -> IoU; all between 0 and 1.
        label: of the upright axis.
    """
    fig, axes = figure(1, 1, 4.4, 2.6)
    axis = axes[0, 0]
    ticks: set[float] = set()
    for colour, (name, points) in zip(SERIES, series.items()):
        xs = sorted(points)
        ticks |= set(xs)
        ys = [100 * points[x] for x in xs]
        axis.plot(
            [100 * x for x in xs], ys, "-o", color=colour, markersize=5, label=name
        )
    for style, (name, value) in zip(DASHES, controls.items()):
        axis.axhline(100 * value, color=CONTROL, linestyle=style, label=name)
    axis.set_xticks([100 * x for x in sorted(ticks)])
    values = [*controls.values(), *(v for p in series.values() for v in p.values())]
    axis.set_ylim(0, min(100, max(40, 140 * max(values, default=0))))
    axis.set_xlabel("training images with masks (%)", fontsize=8)
    axis.set_ylabel(label, fontsize=8)
    axis.tick_params(labelsize=8)
    if values:
        axis.legend(fontsize=8, frameon=False, ncols=3, loc="upper left")
    return fig


def before_after(before: Sequence[float], after: Sequence[float]) -> Figure:
    """IoU of single masks before and after the enhancer: a point each, fractions."""
    fig, axes = figure(1, 1, 3.4, 3.2)
    axis = axes[0, 0]
    axis.plot([0, 100], [0, 100], "--", color=CONTROL, linewidth=1)
    axis.scatter(
        100 * np.asarray(before), 100 * np.asarray(after), s=14, color=QUERY, alpha=0.5
    )
    axis.text(3, 92, "better", fontsize=8, color=CONTROL)
    axis.text(78, 3, "worse", fontsize=8, color=CONTROL)
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 100)
    axis.set_xlabel("IoU before (%)", fontsize=8)
    axis.set_ylabel("IoU after (%)", fontsize=8)
    axis.tick_params(labelsize=8)
    return fig


def beside_paper(
    rows: Mapping[str, tuple[Mapping, Mapping]], height: float = 3.2, title: str = ""
) -> Figure:
    """The paper's figures and this course's, setting by setting.

    Args:
        rows: setting -> (paper, here), each {"er": percent, "miou": percent}; here a
            figure is a list with one value a run. A missing figure is left out.
        height: of the figure, inches; it does not depend on how many rows there are.
    """
    fig, axes = figure(1, 2, 4.4, height)
    names = list(rows)
    for axis, (key, label) in zip(
        axes[0], (("er", TITLES["er"]), ("miou", TITLES["miou"]))
    ):
        for row, name in enumerate(names):
            paper, here = rows[name]
            value = paper.get(key)
            if value is not None and not math.isnan(value):
                axis.plot(value, row - 0.12, "D", color=CONTROL, markersize=6)
            runs = here.get(key) or []
            if runs:
                axis.plot(runs, [row + 0.15] * len(runs), "|", color=QUERY, ms=9)
                axis.plot(np.mean(runs), row + 0.15, "o", color=QUERY, markersize=6)
        axis.set_yticks(range(len(names)), names if axis is axes[0, 0] else [])
        axis.set_ylim(max(len(names), 1) - 0.4, -0.6)
        axis.set_xlim(0, 100)
        tidy(axis, "x")
        axis.set_xlabel(label, fontsize=8)
    fig.legend(
        handles=[
            Line2D([], [], color=CONTROL, marker="D", ls="", label="paper, Pascal-5i"),
            Line2D([], [], color=QUERY, marker="o", ls="", label="here, mean of runs"),
        ],
        fontsize=8,
        frameon=False,
        ncols=2,
        loc="outside lower center",
    )
    fig.suptitle(title, fontsize=10)
    return fig


__all__ = [
    "against_fraction",
    "before_after",
    "beside_paper",
    "curves",
    "results_bars",
]
