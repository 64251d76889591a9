"""Figures of answers on pictures of one's own (notebook 09)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from cstlib.plots.images import painted
from cstlib.plots.style import (
    BACKGROUND,
    CLASSES,
    CONTROL,
    QUERY,
    SUPPORT,
    Axes,
    Figure,
    bare,
    figure,
    picture,
)


def answer(
    image: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    presence_prob: Mapping[str, float],
    threshold: float,
    truth: Mapping[str, bool] | None = None,
) -> Figure:
    """A picture, its labels, and the probability of each class beside the threshold.

    Args:
        image: 3 x H x W or H x W x 3 in [0, 1].
        labels: H x W, 0 background, 1..N the classes in order; N is at most 5.
        presence_prob: by class name, in order.
        threshold: the line that a bar has to cross for its class to be present.
        truth: by class name; the names of classes that are there get a tick.
    """
    fig, axes = figure(1, 3, 2.4, 2.1)
    axes[0, 0].imshow(picture(image))
    bare(axes[0, 0], "picture", QUERY)
    axes[0, 1].imshow(painted(image, labels))
    bare(axes[0, 1], "labels")
    _bars(axes[0, 2], presence_prob, threshold, truth or {})
    return fig


def shots(rows: Mapping[str, list[tuple[Tensor, Tensor]]], titles: list[str]) -> Figure:
    """Supports in columns, and in each row their masks of one kind.

    Args:
        rows: kind of mask -> (3 x S x S, S x S labels) of each support; labels hold 0
            and the number of its class, 1..5.
        titles: of the columns.
    """
    fig, axes = figure(len(rows), len(titles), 1.3, 1.45)
    for line, (kind, pairs) in zip(axes, rows.items()):
        for axis, (image, mask) in zip(line, pairs):
            axis.imshow(painted(image, np.asarray(mask).astype(int)))
            bare(axis, "", SUPPORT)
        line[0].set_ylabel(kind, fontsize=9)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return fig


def _bars(
    axis: Axes,
    presence_prob: Mapping[str, float],
    threshold: float,
    truth: Mapping[str, bool],
) -> None:
    for row, (name, probability) in enumerate(presence_prob.items()):
        present = probability > threshold
        colour = CLASSES[row] if present else BACKGROUND
        axis.barh(row, probability, 0.6, color=colour, alpha=1 if present else 0.5)
    names = [f"{name} ✓" if truth.get(name) else name for name in presence_prob]
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.invert_yaxis()
    axis.axvline(threshold, color=CONTROL, linestyle="--", linewidth=1)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1])
    axis.tick_params(labelsize=8)
    axis.set_title("present?", fontsize=9)


__all__ = ["answer", "shots"]
