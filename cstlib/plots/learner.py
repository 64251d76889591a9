"""Figures of the learner: the mask on its way in, its attention, and how it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cstlib.plots.correlation import show_map
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

MASK = 0.75  # strength of painted masks, so that green shows on red too


def mask_on_its_way(support_image, support_mask, kept: Sequence) -> Figure:
    """The support mask as the attention of each layer sees it.

    Args:
        support_image: 3 x S x S in [0, 1].
        support_mask: S x S bool.
        kept: for each layer a g x g bool map: keys that may be attended to.
    """
    fig, axes = figure(1, 2 + len(kept), 1.9, 2.1)
    row = axes[0]
    row[0].imshow(picture(support_image))
    bare(row[0], "support", SUPPORT)
    row[1].imshow(tint(support_image, np.asarray(support_mask).astype(int), MASK))
    bare(row[1], "its mask", SUPPORT)
    height, width = np.asarray(support_mask).shape
    for layer, (axis, keys) in enumerate(zip(row[2:], kept), start=1):
        keys = np.asarray(keys)
        side = len(keys)
        rows = np.arange(height) * side // height
        columns = np.arange(width) * side // width
        axis.imshow(tint(support_image, keys[rows][:, columns].astype(int), MASK))
        for place in range(1, side):
            axis.axhline(place * height / side - 0.5, color="white", linewidth=0.4)
            axis.axvline(place * width / side - 0.5, color="white", linewidth=0.4)
        bare(axis, f"keys of layer {layer}: {keys.sum()} of {keys.size}", SUPPORT)
    return fig


def parameter_bars(parts: Mapping[str, int]) -> Figure:
    """Where the learner's parameters are: one bar a part, with its number."""
    fig, axes = figure(1, 1, 6.4, 2.1)
    axis = axes[0, 0]
    names, counts = list(parts), list(parts.values())
    axis.barh(names, counts, color=QUERY)
    for place, count in enumerate(counts):
        axis.text(count, place, f" {count:,}", va="center", fontsize=9)
    axis.set_xlim(0, 1.15 * max(counts))
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("parameters")
    axis.tick_params(axis="y", length=0)
    return fig


def fitting(losses: Sequence[Sequence[float]], steps: int) -> Figure:
    """The loss and its two parts, step by step, on a logarithmic scale.

    Args:
        losses: (loss, clf, seg) after each step so far.
        steps: how many there will be: the axis does not move while they come.
    """
    fig, axes = figure(1, 1, 6.4, 3.1)
    axis = axes[0, 0]
    rows = np.asarray(losses, dtype=float).reshape(-1, 3)
    names = ("classification (5)", "segmentation (6)", "together (7)")
    colours = (CLASSES[1], CLASSES[0], QUERY)
    for name, colour, column in zip(names, colours, (1, 2, 0)):
        widths = 2.2 if column == 0 else 1.3
        steps_done = range(1, len(rows) + 1)
        axis.plot(steps_done, rows[:, column], color=colour, lw=widths, label=name)
    axis.axhline(np.log(2), color=BACKGROUND, linestyle="--", linewidth=0.9)
    axis.text(steps, np.log(2), "guessing, ln 2", ha="right", va="bottom", fontsize=8)
    axis.set(yscale="log", xlim=(0, steps), ylim=(0.003, 1.6))
    axis.set(xlabel="step", ylabel="loss")
    axis.legend(frameon=False, loc="lower left", fontsize=8)
    return fig


def token_map_rows(
    images: Sequence[tuple],
    truths: Sequence,
    before,
    after,
    probabilities,
    titles: Sequence[str],
) -> Figure:
    """What the two output tokens see, before and after fitting (as the paper's Fig. 7).

    Args:
        images: R pairs (query image, support image), 3 x S x S in [0, 1].
        truths: R query masks S x S (bool), painted on the queries.
        before, after: R x 2 x h x w, channel-averaged: classification map, then
            segmentation map. Each map has a scale of its own.
        probabilities: R x H x W, foreground after fitting; their scale is 0 to 1.
        titles: R row titles.

    Returns:
        R x 7 panels: support, query, the four maps, the prediction.
    """
    columns = (
        "classification\nmap, before",
        "segmentation\nmap, before",
        "classification\nmap, after",
        "segmentation\nmap, after",
    )
    fig, axes = figure(len(images), 7, 1.5, 1.72)
    for i, (query, support) in enumerate(images):
        axes[i, 0].imshow(picture(support))
        bare(axes[i, 0], "support" if i == 0 else "", SUPPORT)
        axes[i, 0].set_ylabel(titles[i], fontsize=9)
        axes[i, 1].imshow(tint(query, np.asarray(truths[i]).astype(int), MASK))
        bare(axes[i, 1], "query,\ntrue mask" if i == 0 else "", QUERY)
        for j, values in enumerate((*before[i], *after[i])):
            title = columns[j] if i == 0 else ""
            show_map(axes[i, j + 2], query, values, title, colour=QUERY)
        title = "foreground\nprobability" if i == 0 else ""
        show_map(axes[i, 6], query, probabilities[i], title, (0, 1), QUERY)
    return fig


def token_maps(
    images: Sequence[tuple],
    support_masks: Sequence,
    truths: Sequence,
    maps,
    probabilities,
    titles: Sequence[str],
) -> Figure:
    """What the output tokens of a trained learner see (as the paper's Figure a.2).

    Args:
        images: R pairs (query image, support image), 3 x S x S in [0, 1].
        support_masks: R masks S x S (bool) that the learner is given.
        truths: R query masks H x W (bool), painted on the queries.
        maps: R x 2 x h x w, channel-averaged: classification map, then segmentation
            map. Each map has a scale of its own.
        probabilities: R x H x W of foreground; their scale is 0 to 1.
        titles: R row titles.

    Returns:
        R x 5 panels: support, query, the two maps, the prediction.
    """
    fig, axes = figure(len(images), 5, 1.6, 1.84)
    heads = ("classification\nmap", "segmentation\nmap")
    for i, (query, support) in enumerate(images):
        given = tint(support, np.asarray(support_masks[i]).astype(int), MASK)
        axes[i, 0].imshow(given)
        bare(axes[i, 0], "support,\nits mask" if i == 0 else "", SUPPORT)
        axes[i, 0].set_ylabel(titles[i], fontsize=8)
        axes[i, 1].imshow(tint(query, np.asarray(truths[i]).astype(int), MASK))
        bare(axes[i, 1], "query,\ntrue mask" if i == 0 else "", QUERY)
        for j, title in enumerate(heads):
            title = title if i == 0 else ""
            show_map(axes[i, j + 2], query, maps[i][j], title, colour=QUERY)
        title = "foreground\nprobability" if i == 0 else ""
        show_map(axes[i, 4], query, probabilities[i], title, (0, 1), QUERY)
    return fig
