"""Grids of pictures: episodes, masks and maps, predictions (notebooks 05-08)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cstlib.plots.style import (
    CLASSES,
    HEAT,
    QUERY,
    SUPPORT,
    Axes,
    Figure,
    bare,
    figure,
    picture,
    tint,
)
from cstlib.right_or_wrong import judge


@dataclass(frozen=True)
class Panel:
    """One picture of a grid.

    ``image``: 3 x H x W or H x W x 3; None leaves a white panel. ``labels``: H x W
    of 0 (background), 1..5 and 255, painted on it; shrunk or grown to the image by
    nearest neighbour. ``heat``: draw a map of one number a pixel instead.
    """

    image: Any
    labels: Any = None
    title: str = ""
    frame: str | None = None
    heat: bool = False


def panels(rows: Sequence[Sequence[Panel]], size: float = 1.45) -> Figure:
    """Pictures in rows and columns; shorter rows are filled up with nothing.

    Args:
        size: of a panel, inches.
    """
    columns = max(len(row) for row in rows)
    fig, axes = figure(len(rows), columns, size, 1.13 * size)
    for line, row in zip(axes, rows):
        for axis in line:
            axis.axis("off")
        for axis, panel in zip(line, row):
            _draw(axis, panel)
    return fig


def _draw(axis: Axes, panel: Panel) -> None:
    if panel.image is None:
        axis.set_title(panel.title, fontsize=8)
        return
    axis.axis("on")
    if panel.heat:
        axis.imshow(np.asarray(panel.image), cmap=HEAT, interpolation="nearest")
    elif panel.labels is None:
        axis.imshow(picture(panel.image))
    else:
        labels = _fitted(panel.labels, panel.image)
        axis.imshow(tint(panel.image, labels))
        _outline(axis, labels)
    bare(axis, panel.title, panel.frame)
    axis.title.set_fontsize(8)


def _outline(axis: Axes, labels: np.ndarray) -> None:
    """Draw the edge of each class, which a tint alone can hide on its own colour."""
    for number, colour in enumerate(CLASSES, start=1):
        here = labels == number
        if here.any() and not here.all():
            axis.contour(here, [0.5], colors=[colour], linewidths=1.3)


def _fitted(labels, image) -> np.ndarray:
    """Labels at the size of the picture, by nearest neighbour."""
    labels = np.asarray(labels).astype(int)
    height, width = picture(image).shape[:2]
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows][:, columns]


def prediction_grid(
    episodes: Sequence[Any],
    predictions: Mapping[str, Sequence[Any]],
    names=None,
    ious: Mapping[str, Sequence[float]] | None = None,
    rows: int = 0,
) -> Figure:
    """Episodes in rows: supports, query with its truth, and what each learner says.

    Args:
        episodes: `cstlib.data.episode.Episode`s with masks, all of the same way.
        predictions: learner -> its `cstlib.learner.Prediction` of each episode. A
            learner's title is followed by a tick where all its presence bits are
            right, and by a cross where one is wrong.
        names: class id -> name, for the titles of the supports.
        ious: learner -> the IoU of each of its label maps, for the titles.
        rows: at least as many; where episodes are missing, a row says so.
    """
    lines = []
    for number, episode in enumerate(episodes):
        line = []
        for n, c in enumerate(episode.support_classes):
            mask = episode.support_masks[n, 0].int() * (n + 1)
            name = names[c] if names else f"class {c}"
            line.append(Panel(episode.support_images[n, 0], mask, name, SUPPORT))
        present = int(episode.presence.sum())
        title = "query, truth" if present else "query: absent"
        line.append(Panel(episode.query_image, episode.query_mask, title, QUERY))
        for learner, found in predictions.items():
            one = found[number]
            right = bool((one.presence.cpu() == episode.presence).all())
            title = f"{learner} {'✓' if right else '✗'}"
            if ious:
                title += f" {ious[learner][number]:.2f}"
            line.append(Panel(episode.query_image, one.label.cpu(), title))
        lines.append(line)
    lines += [[Panel(None, title="(no other)")]] * (max(rows, 1) - len(lines))
    return panels(lines)


def live_episode(
    episode: Any, prediction: Any, names=None, support_masks=None
) -> Figure:
    """One N-way K-shot episode: query, truth, prediction, and a row of supports a class.

    Args:
        episode: a `cstlib.data.episode.Episode` with masks.
        prediction: the `cstlib.learner.Prediction` of it. Its title bears the IoU of the
            label maps (`cstlib.right_or_wrong`); each class's first support, the
            probability that the class is present, with a tick where that bit is right.
        names: class id -> name.
        support_masks: N x K x S x S bool that the learner is given; by default the
            true ones.

    Returns:
        N rows of 3 + K panels, the first three used in the first row only.
    """
    masks = episode.support_masks if support_masks is None else support_masks.cpu()
    verdict = judge(prediction, episode.presence, episode.query_mask)
    right = (prediction.presence.cpu() == episode.presence).tolist()
    lines = []
    for n, c in enumerate(episode.support_classes):
        line = [Panel(None)] * 3
        if n == 0:
            line = [
                Panel(episode.query_image, None, "query", QUERY),
                Panel(episode.query_image, episode.query_mask, "truth", QUERY),
                Panel(
                    episode.query_image,
                    prediction.label.cpu(),
                    f"prediction, IoU {verdict.iou:.2f}",
                ),
            ]
        name = names[c] if names else f"class {c}"
        said = f"{name}: {prediction.presence_prob[n]:.2f} {'✓' if right[n] else '✗'}"
        for k, image in enumerate(episode.support_images[n]):
            title = said if k == 0 else ""
            line.append(Panel(image, masks[n, k].int() * (n + 1), title, SUPPORT))
        lines.append(line)
    return panels(lines)


__all__ = ["Panel", "live_episode", "panels", "prediction_grid"]
