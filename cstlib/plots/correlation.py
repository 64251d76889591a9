"""Figures of correlations: what a query patch sees in the support, layer by layer.

Maps lie over a grey copy of their image, each on a scale of its own unless said
otherwise: deep layers' cosines are all high, and what matters is where they are
highest. The ends of the scale stand below the map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.patches import Rectangle

from cstlib.plots.style import (
    BACKGROUND,
    CLASSES,
    CONTROL,
    HEAT,
    QUERY,
    SUPPORT,
    Axes,
    Figure,
    bare,
    figure,
    picture,
)

PANEL = 1.75  # inches


def patch_view(
    query_image,
    support_image,
    support_map,
    patch: tuple[int, int],
    query_grid: tuple[int, int],
    title: str = "correlation",
) -> Figure:
    """One query patch and how alike the support's patches are to it.

    Args:
        query_image, support_image: 3 x S x S in [0, 1].
        support_map: h x w cosines of the support's patches with the query patch.
        patch: (row, column) of the query patch, from 0.
        query_grid: (h, w) of the query's patches.

    Returns:
        Three panels: query with the patch marked, support, support under the map.
    """
    fig, axes = figure(1, 3, 2.3, 2.65)
    query, support, over = axes[0]
    show_patch(query, query_image, patch, query_grid)
    support.imshow(picture(support_image))
    bare(support, "support", SUPPORT)
    show_map(over, support_image, support_map, title)
    return fig


def patch_view_grid(
    query_image,
    support_image,
    support_maps,
    patch: tuple[int, int],
    query_grid: tuple[int, int],
    rows: Sequence[str],
    columns: Sequence[str],
) -> Figure:
    """As `patch_view`, for R x C maps at once: rows of layers, columns of heads.

    Args:
        support_maps: R x C x h x w cosines, with R of at least 2.
        rows, columns: R and C titles.
    """
    maps = _array(support_maps)
    fig, axes = figure(len(rows), len(columns) + 1, 1.45, 1.62)
    show_patch(axes[0, 0], query_image, patch, query_grid)
    axes[1, 0].imshow(picture(support_image))
    bare(axes[1, 0], "support", SUPPORT)
    for axis in axes[2:, 0]:
        axis.set_axis_off()
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            show_map(
                axes[i, j + 1], support_image, maps[i, j], column if i == 0 else ""
            )
        axes[i, 1].set_ylabel(row, fontsize=9)
    return fig


def query_map_rows(
    images: Sequence[tuple],
    maps,
    titles: Sequence[str],
    columns: Sequence[str],
    truths: Sequence | None = None,
) -> Figure:
    """Maps over queries, one row an episode: where each query resembles its support.

    Args:
        images: R pairs (query image, support image), each 3 x S x S in [0, 1].
        maps: R x C x h x w. A column's maps share one scale, so rows may be compared.
        titles: R row titles, such as "star: present".
        columns: C column titles.
        truths: R support masks S x S (bool), outlined on the supports.
    """
    maps = _array(maps)
    fig, axes = figure(len(images), len(columns) + 2, PANEL, PANEL + 0.2)
    for i, (query, support) in enumerate(images):
        axes[i, 0].imshow(picture(query))
        bare(axes[i, 0], "query" if i == 0 else "", QUERY)
        axes[i, 0].set_ylabel(titles[i], fontsize=9)
        axes[i, 1].imshow(picture(support))
        if truths is not None and np.asarray(truths[i]).any():
            axes[i, 1].contour(np.asarray(truths[i]), [0.5], colors=CLASSES[0])
        bare(axes[i, 1], "support" if i == 0 else "", SUPPORT)
        for j, column in enumerate(columns):
            ends = float(maps[:, j].min()), float(maps[:, j].max())
            title = column if i == 0 else ""
            show_map(axes[i, j + 2], query, maps[i, j], title, ends, QUERY)
    return fig


def layer_separation(present, absent, by_head, single, control: float) -> Figure:
    """How well each layer's correlations tell present from absent classes.

    Args:
        present, absent: L mean best matches (cosines), over episodes whose query
            shows the class and over those whose query does not.
        by_head: L x M areas under the ROC curve, head by head.
        single: L areas, for the cosine over all channels at once.
        control: the area that needs no network, drawn dashed.
    """
    by_head = _array(by_head)
    layers = np.arange(1, len(by_head) + 1)
    fig, axes = figure(1, 2, 4.6, 3.4)
    left, right = axes[0]
    left.plot(layers, _array(present), "o-", color=CLASSES[0], label="class present")
    left.plot(layers, _array(absent), "s-", color=BACKGROUND, label="class absent")
    left.set(xlabel="layer", ylabel="mean best match (cosine)", xticks=layers)
    left.set_title("The gap is what a learner can use", fontsize=10)
    left.legend(frameon=False, loc="lower right")
    for head, line in enumerate(by_head.T):
        label = "one head" if head == 0 else None
        right.plot(layers, line, ".", color=CLASSES[3], label=label, zorder=1)
    right.plot(layers, _array(single), "o-", color=QUERY, label="all channels at once")
    right.axhline(control, color=CONTROL, linestyle="--", label="raw pixels")
    right.axhline(0.5, color=BACKGROUND, linewidth=0.8)
    right.annotate("chance", (layers[0], 0.5), (0, 3), textcoords="offset points",
                   fontsize=8, color=CONTROL)  # fmt: skip
    right.set(xlabel="layer", ylabel="AUC of presence", xticks=layers, ylim=(0.38, 1))
    right.set_title("Telling present from absent by one number", fontsize=10)
    right.legend(frameon=False, ncols=3, fontsize=8, loc="lower right")
    return fig


def show_patch(
    axis: Axes, image, patch: tuple[int, int], grid: tuple[int, int], title="query"
) -> None:
    """The image with patch (row, column) of its grid framed."""
    pixels = picture(image)
    height, width = pixels.shape[0] / grid[0], pixels.shape[1] / grid[1]
    corner = patch[1] * width - 0.5, patch[0] * height - 0.5
    axis.imshow(pixels)
    for colour, line in (("black", 3.5), ("white", 1.8)):
        frame = Rectangle(corner, width, height, fill=False, ec=colour, lw=line)
        axis.add_patch(frame)
    bare(axis, title, QUERY)


def show_map(
    axis: Axes,
    image,
    values,
    title: str = "",
    ends: tuple[float, float] | None = None,
    colour: str = SUPPORT,
) -> None:
    """A map (h x w) over a grey image; the scale is the map's own unless given."""
    values = _array(values)
    low, high = ends or (float(values.min()), float(values.max()))
    grey = picture(image).mean(2)
    size = grey.shape
    axis.imshow(grey, cmap="gray", vmin=0, vmax=1)
    extent = (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)
    axis.imshow(values, cmap=HEAT, alpha=0.72, extent=extent, vmin=low, vmax=high)
    bare(axis, title, colour)
    axis.set_xlabel(f"{values.min():.2f} to {values.max():.2f}", fontsize=7)


def _array(values) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().float().cpu().numpy()
    return np.asarray(values)
