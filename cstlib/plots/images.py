"""Figures that show images: episodes, folds, views, masks and what supervision sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from cstlib.data.episode import Episode
from cstlib.plots.style import (
    BACKGROUND,
    CLASSES,
    QUERY,
    SUPPORT,
    Figure,
    bare,
    figure,
    picture,
    tint,
)

PANEL = 1.75  # inches


def painted(image, labels) -> np.ndarray:
    """A label map in class colours over an image that is faded elsewhere.

    Args:
        image: 3 x H x W tensor or H x W x 3 array in [0, 1].
        labels: H x W of 0 (background), 1..5 (classes), 255 (void, left white).

    Returns:
        H x W x 3.
    """
    faded = 0.45 * picture(image) + 0.55
    labels = np.asarray(labels)
    known = (labels > 0)[..., None]
    return tint(np.where(known, picture(image), faded), labels, 0.7)


def gallery(
    images: Sequence[Tensor | np.ndarray],
    titles: Sequence[str] = (),
    columns: int = 6,
    colours: Sequence[str | None] = (),
    width: float = 1.5,
) -> Figure:
    """Images in rows of ``columns``, each with its title and a frame in its colour.

    Args:
        images: 3 x H x W tensors or H x W x 3 arrays, of any sizes.
        titles, colours: one an image, or none at all.
        width: of a panel, inches.
    """
    columns = min(columns, len(images))
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    rows = -(-len(images) // columns)
    fig, axes = figure(rows, columns, width, width + 0.18 * lines)
    for place, axis in enumerate(axes.flat):
        bare(axis)
        if place < len(images):
            axis.imshow(picture(images[place]))
            title = titles[place] if titles else ""
            bare(axis, title, colours[place] if colours else None)
    return fig


def episode(
    episode: Episode, class_names: Mapping[int, str], masked: bool = True
) -> Figure:
    """An episode: the query on the left, N rows of K support images on the right.

    Class n of the episode has the n-th class colour everywhere: in the title above its
    supports, in the query's labels and in its supports' masks.
    White is void.

    Args:
        class_names: by class id.
        masked: show the true masks too, where the episode holds them.
    """
    way, shot = episode.way, episode.shot
    query_mask = episode.query_mask if masked else None
    support_masks = episode.support_masks
    left = 1 if query_mask is None else 2
    # One row of supports stands beside a query of the same size, more beside a
    # larger one.
    tall = min(way, 2)
    widths = [tall] * left + [1] * shot
    size = (sum(widths) * PANEL + 0.3, max(way, 1) * (PANEL + 0.3) + 0.25)
    fig = plt.figure(figsize=size, layout="constrained")
    plt.close(fig)
    grid = fig.add_gridspec(way, len(widths), width_ratios=widths)
    axis = fig.add_subplot(grid[:, 0])
    axis.imshow(picture(episode.query_image))
    bare(axis, "query", QUERY)
    if query_mask is not None:
        axis = fig.add_subplot(grid[:, 1])
        axis.imshow(painted(_sized(episode.query_image, query_mask), query_mask))
        bare(axis, "query's labels", QUERY)
    for n, c in enumerate(episode.support_classes):
        for k in range(shot):
            axis = fig.add_subplot(grid[n, left + k])
            image = picture(episode.support_images[n, k])
            if query_mask is not None and support_masks is not None:
                image = painted(image, support_masks[n, k].long() * (n + 1))
            axis.imshow(image)
            title = f"support {k + 1}" if shot > 1 else "support"
            if k == 0:
                title = f"{n + 1}: {class_names[c]}"
                if query_mask is not None:
                    title += " (present)" if episode.presence[n] else " (absent)"
            bare(axis, title, SUPPORT)
            if k == 0:
                axis.title.set_color(_ink(n))
                axis.title.set_fontweight("bold")
    return fig


def folds(
    examples: Mapping[int, Tensor],
    class_names: Mapping[int, str],
    held_out: Sequence[Sequence[int]],
    fold: int,
) -> Figure:
    """One image of each class, a row a fold; the row of ``fold`` is held out.

    Args:
        examples: class id -> 3 x H x W.
        held_out: for each fold the class ids shown; equally many in each.
        fold: which row to frame; the other rows are what training may see.
    """
    fig, axes = figure(len(held_out), len(held_out[0]), 1.5, 1.7)
    for number, (row, classes) in enumerate(zip(axes, held_out)):
        for place, (axis, c) in enumerate(zip(row, classes)):
            axis.imshow(picture(examples[c]))
            mine = number == fold
            bare(axis, f"{c}: {class_names[c]}", CLASSES[place] if mine else None)
        role = "tested on" if number == fold else "trained on"
        row[0].set_ylabel(f"fold {number}\n{role}", fontsize=9)
    return fig


def masks(
    image: Tensor | np.ndarray, labels: Mapping[str, Tensor | np.ndarray]
) -> Figure:
    """An image, and beside it one painted copy for each label map.

    Args:
        labels: title -> H x W of 0 (background), 1..5 (classes), 255 (void); a bool
            map is painted as class 1.
    """
    fig, axes = figure(1, 1 + len(labels), PANEL, PANEL + 0.2)
    axes[0, 0].imshow(picture(image))
    bare(axes[0, 0], "image")
    for axis, (title, label) in zip(axes[0, 1:], labels.items()):
        axis.imshow(painted(image, np.asarray(label).astype(int)))
        bare(axis, title)
    return fig


def supervision(
    images: Sequence[Tensor], labels: Sequence[str], true_masks: Sequence[Tensor]
) -> Figure:
    """What the three kinds of supervision see of the same training images.

    Args:
        images: 3 x H x W each.
        labels: the class that each is labelled with.
        true_masks: H x W bool each.
    """
    kinds = {
        "image-level": 0,
        "mixed": 1,  # of the images drawn; the paper's share is 2.5 to 10 %
        "pixel-level": len(images),
    }
    fig, axes = figure(3, len(images), 1.5, 1.75)
    for row, (kind, annotated) in zip(axes, kinds.items()):
        for place, (axis, image, label) in enumerate(zip(row, images, labels)):
            seen = place < annotated
            mask = torch.as_tensor(true_masks[place]).long()
            axis.imshow(painted(image, mask) if seen else picture(image))
            bare(axis, f"“{label}”" + (" + mask" if seen else ""))
            axis.title.set_color(_ink(0) if seen else "black")
        row[0].set_ylabel(kind, fontsize=10, fontweight="bold")
    return fig


def iou_by_hand(predicted: Tensor, truth: Tensor) -> Figure:
    """Two small masks pixel by pixel: their intersection and what else is in the union.

    ``predicted`` and ``truth`` are H x W bool, a few pixels a side.
    """
    guess, real = np.asarray(predicted), np.asarray(truth)
    fig, axes = figure(1, 3, 1.9, 2.15)
    blank = np.ones((*real.shape, 3))
    for axis, title, labels in zip(
        axes[0],
        ("truth", "prediction", "both (dark) and either"),
        (real * 1, guess * 1, (guess | real) * 1),
    ):
        axis.imshow(tint(blank, labels, 0.45))
        bare(axis, title, BACKGROUND)
        _mesh(axis, *real.shape)
    axes[0, 2].imshow(tint(tint(blank, guess | real, 0.45), guess & real, 0.8))
    return fig


def _mesh(axis, height: int, width: int) -> None:
    axis.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, BACKGROUND, lw=0.6)
    axis.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, BACKGROUND, lw=0.6)


def _ink(n: int) -> str:
    """Class colour number n, dark enough to be read as text."""
    return ("#00704F", "#9A6A00", "#A0487A", "#1F7FB4", "#7D7400")[n % 5]


def _sized(image: Tensor, query_mask: Tensor) -> Tensor:
    """The query at its original size, where its labels live."""
    size = query_mask.shape
    if image.shape[1:] == size:
        return image
    return torch.nn.functional.interpolate(image[None], size, mode="bilinear")[0]


__all__ = [
    "episode",
    "folds",
    "gallery",
    "iou_by_hand",
    "masks",
    "painted",
    "supervision",
]
