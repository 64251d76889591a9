"""Figures of recorded runs: means with their spread, beside the paper's (notebook 08).

The functions take `cstlib.reproduce.Cell`s, or anything with a ``value``, a ``spread``
(the standard deviation over folds and seeds, None for a single run), the runs' own
``values`` and the ``paper``'s figure, all in per cent; each may be missing. They return
closed figures of a size that depends on what is compared, never on how many runs there
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cstlib.plots.runs import SERIES
from cstlib.plots.style import (
    BACKGROUND,
    CLASSES,
    CONTROL,
    QUERY,
    SUPPORT,
    Figure,
    figure,
)

TITLES = {"er": "ER (%)", "miou": "mIoU (%)", "fb_iou": "FB-IoU (%)"}
MARKERS = "osD^vP"
# A verdict's colour and marker: told apart without colour, too.
VERDICTS = {
    "holds": (CLASSES[0], "o"),
    "does not hold": (SUPPORT, "X"),
    "too close to call": (CLASSES[1], "s"),
}
UNJUDGED = (BACKGROUND, "")


def bars(
    rows: Mapping[str, Mapping[str, Any]],
    figures: Sequence[str] = ("er", "miou"),
    controls: Iterable[str] = (),
    title: str = "",
) -> Figure:
    """A bar for each row's mean, a whisker for its spread, a tick for each run.

    Diamonds are the paper's figures on its own benchmark.

    Args:
        rows: name -> {"er": cell, "miou": cell, ...}, drawn from the top down.
        figures: a panel each. controls: names of rows that are drawn hatched grey.
    """
    controls, names = set(controls), list(rows)
    fig, axes = figure(1, len(figures), 4.4, 0.95 + 0.36 * max(1, len(names)))
    for axis, key in zip(axes[0], figures):
        for place, name in enumerate(names):
            _bar(axis, place, rows[name].get(key), name in controls)
        axis.set_yticks(range(len(names)), names if axis is axes[0, 0] else [])
        axis.set_ylim(max(len(names), 1) - 0.4, -0.6)
        axis.set_xlim(0, 100)
        _tidy(axis, "x")
        axis.set_xlabel(TITLES.get(key, key), fontsize=8)
    fig.legend(handles=_legend(), fontsize=8, frameon=False, ncols=3, loc=_BELOW)
    fig.suptitle(title, fontsize=10)
    return fig


_BELOW = "outside lower center"


def _bar(axis: Axes, place: int, cell: Any, control: bool) -> None:
    """One row of `bars`: nothing where there is neither a run nor a paper's figure."""
    if cell is None:
        return
    if cell.value is not None:
        axis.barh(
            place,
            cell.value,
            height=0.6,
            color="white" if control else QUERY,
            edgecolor=CONTROL if control else QUERY,
            hatch="////" if control else None,
            alpha=1 if control else 0.55,
        )
        axis.plot(cell.values, [place] * len(cell.values), "|", color="black", ms=6)
        if cell.spread is not None:
            axis.errorbar(
                cell.value, place, xerr=cell.spread, color="black", capsize=3, lw=1.2
            )
    if cell.paper is not None:
        axis.plot(cell.paper, place, "D", color=SUPPORT, markersize=6, zorder=3)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=QUERY, alpha=0.55, lw=8, label="here, mean of the runs"),
        Line2D(
            [], [], color="black", marker="|", label="spread over folds and seeds, runs"
        ),
        Line2D([], [], color=SUPPORT, marker="D", ls="", label="paper"),
    ]


def curves_with_spread(
    series: Mapping[str, Mapping[Any, Any]],
    xlabel: str,
    ylabel: str = TITLES["miou"],
    controls: Iterable[str] = (),
    title: str = "",
    order: Sequence[Any] = (),
) -> Figure:
    """Two panels on one scale: the recorded runs with their spread, and the paper.

    Args:
        series: name -> {x: cell}. The x stand side by side at equal distances: 0,
            2.5 and 100% are no scale.
        controls: names of series that are drawn dashed and grey.
        order: of the x; as first named where not given.
    """
    controls = set(controls)
    fig, axes = figure(1, 2, 3.9, 2.9)
    here, paper = axes[0]
    xs = list(order) or list(dict.fromkeys(x for p in series.values() for x in p))
    place = {x: number for number, x in enumerate(xs)}
    for number, (name, points) in enumerate(series.items()):
        colour = CONTROL if name in controls else SERIES[number % len(SERIES)]
        style = {
            "color": colour,
            "linestyle": "--" if name in controls else "-",
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 5,
            "linewidth": 1.3,
            "label": name,
        }
        known = {x: c for x, c in points.items() if c.value is not None}
        if known:
            here.errorbar(
                [place[x] for x in known],
                [cell.value for cell in known.values()],
                yerr=[cell.spread or 0 for cell in known.values()],
                capsize=3,
                elinewidth=1,
                **style,
            )
        printed = {x: c.paper for x, c in points.items() if c.paper is not None}
        if printed:
            paper.plot([place[x] for x in printed], list(printed.values()), **style)
    for axis, name in ((here, "here: mean ± spread"), (paper, "paper")):
        axis.set_xticks(range(len(xs)), [str(x) for x in xs])
        axis.set_xlim(-0.3, max(len(xs) - 0.7, 0.3))
        axis.set_ylim(0, 100)
        axis.set_xlabel(xlabel, fontsize=8)
        axis.set_title(name, fontsize=9)
        _tidy(axis, "y")
    here.set_ylabel(ylabel, fontsize=8)
    handles = [
        Line2D(
            [],
            [],
            color=CONTROL if name in controls else SERIES[number % len(SERIES)],
            linestyle="--" if name in controls else "-",
            marker=MARKERS[number % len(MARKERS)],
            label=name,
        )
        for number, name in enumerate(series)
    ]
    if handles:
        fig.legend(handles=handles, fontsize=8, frameon=False, ncols=3, loc=_BELOW)
    fig.suptitle(title, fontsize=10)
    return fig


def fraction_of_masks(series: Mapping[str, Mapping[float, Any]], title: str = ""):
    """`curves_with_spread` of mIoU against the share of training masks, Table 3.

    Args:
        series: name -> {fraction between 0 and 1: cell}.
    """
    fractions = sorted({x for points in series.values() for x in points})
    percent = {x: f"{100 * x:g}" for x in fractions}
    return curves_with_spread(
        {
            name: {percent[x]: points[x] for x in fractions if x in points}
            for name, points in series.items()
        },
        "training images with masks (%)",
        title=title,
        order=list(percent.values()),
    )


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
    _tidy(axis, "y")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, loc="upper left")
    fig.suptitle(title, fontsize=10)
    return fig


def effects(verdicts: Sequence[Any], title: str = "") -> Figure:
    """The claims' effects in points: here with the interval of the rule, and the paper.

    Args:
        verdicts: `cstlib.verdicts.Verdict`s of claims in points of per cent. A claim
            with a bound is drawn with it, as a short line.
    """
    fig, axes = figure(1, 1, 7.4, 0.95 + 0.32 * max(1, len(verdicts)))
    axis = axes[0, 0]
    axis.axvline(0, color=CONTROL, linewidth=0.8)
    for place, one in enumerate(verdicts):
        colour, marker = VERDICTS.get(one.says, UNJUDGED)
        if one.claim.bound:
            ends = [place - 0.35, place + 0.35]
            axis.plot([one.claim.bound] * 2, ends, ":", color=CONTROL)
        if one.paper is not None:
            axis.plot(one.paper, place, "D", color=CONTROL, mfc="white", markersize=6)
        if one.effect is not None:
            error = None if one.error is None else 2 * one.error
            axis.errorbar(
                *(one.effect, place),
                xerr=error,
                color=colour,
                marker=marker or ".",
                markersize=7,
                capsize=3,
            )
    axis.set_yticks(range(len(verdicts)), [one.claim.text for one in verdicts])
    axis.set_ylim(max(len(verdicts), 1) - 0.4, -0.6)
    axis.set_xlabel("effect, points of per cent (± twice its standard error)", size=8)
    _tidy(axis, "x")
    fig.legend(
        handles=_verdict_legend(), fontsize=8, frameon=False, ncols=5, loc=_BELOW
    )
    fig.suptitle(title, fontsize=10)
    return fig


def _verdict_legend() -> list[Line2D]:
    known = {**VERDICTS, "too few runs": (BACKGROUND, ".")}
    return [
        *(
            Line2D([], [], color=colour, marker=marker, label=name)
            for name, (colour, marker) in known.items()
        ),
        Line2D(
            [],
            [],
            color=CONTROL,
            mfc="white",
            marker="D",
            ls="",
            label="paper's effect",
        ),
    ]


def _tidy(axis: Axes, along: Literal["x", "y"]) -> None:
    axis.grid(axis=along, color="#e5e5e5", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)


__all__ = [
    "bars",
    "curves_with_spread",
    "effects",
    "fraction_of_masks",
    "validation_curves",
]
