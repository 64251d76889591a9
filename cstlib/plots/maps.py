"""Figures of attention: heads, pseudo-masks, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cstlib.plots.images import painted
from cstlib.plots.style import (
    BACKGROUND,
    CLASSES,
    CONTROL,
    HEAT,
    QUERY,
    SUPPORT,
    Figure,
    bare,
    figure,
    picture,
)


def attention(
    image: Tensor,
    maps: Mapping[str, Tensor],
    mean: bool = True,
    support: bool = False,
) -> Figure:
    """Attention maps of one image head by head, a row for each backbone.

    Every panel has its own colour scale, from its smallest value (dark) to its
    largest (bright): what can be compared between panels is the place, not the height.

    Args:
        image: 3 x H x W.
        maps: name -> M x h x w, all with the same M.
        mean: add the heads' mean as a last column.
        support: frame the image as a support's, not as a query's.
    """
    heads = len(next(iter(maps.values())))
    fig, axes = figure(len(maps), 1 + heads + mean, 1.3, 1.55)
    for row, (name, heat) in zip(axes, maps.items()):
        row[0].imshow(picture(image))
        bare(row[0], name, SUPPORT if support else QUERY)
        for head, axis in enumerate(row[1 : heads + 1]):
            axis.imshow(np.asarray(heat[head]), cmap=HEAT)
            bare(axis, f"head {head + 1}")
        if mean:
            row[-1].imshow(np.asarray(heat.mean(0)), cmap=HEAT)
            bare(row[-1], "mean", "black")
    return fig


def attention_place(image: Tensor, heat: Tensor, title: str) -> Figure:
    """One attention map (h x w), beside its image and laid over it."""
    fig, axes = figure(1, 3, 2.1, 2.35)
    extent = (-0.5, image.shape[2] - 0.5, image.shape[1] - 0.5, -0.5)
    axes[0, 0].imshow(picture(image))
    bare(axes[0, 0], "image", QUERY)
    shown = axes[0, 1].imshow(np.asarray(heat), cmap=HEAT)
    bare(axes[0, 1], title)
    bar = fig.colorbar(shown, ax=axes[0, 1], shrink=0.8)
    bar.ax.tick_params(labelsize=7)
    axes[0, 2].imshow(picture(image).mean(2), cmap="gray")
    axes[0, 2].imshow(
        np.asarray(heat), cmap=HEAT, alpha=0.6, extent=extent, interpolation="bilinear"
    )
    bare(axes[0, 2], "laid over the image")
    return fig


def attention_share(shares: Mapping[str, Sequence[float]]) -> Figure:
    """How much more attention than area the objects get, head by head.

    Args:
        shares: backbone -> for each head the attention on object patches, divided by
            the objects' share of the area; 1 is what blind attention gets.
    """
    fig, axes = figure(1, 1, 6.6, 2.9)
    axis = axes[0, 0]
    width = 0.8 / len(shares)
    colours = (QUERY, BACKGROUND, SUPPORT)
    for number, (name, values) in enumerate(shares.items()):
        place = np.arange(len(values)) + (number - (len(shares) - 1) / 2) * width
        axis.bar(place, values, width * 0.92, label=name, color=colours[number % 3])
    axis.axhline(1, color=CONTROL, ls="--", lw=1)
    axis.text(len(values) + 0.08, 1.03, "blind", ha="right", fontsize=8, color=CONTROL)
    axis.set_xticks(range(len(values)), [f"head {m + 1}" for m in range(len(values))])
    axis.set_ylabel("attention on objects\n÷ their area")
    axis.set_xlim(-0.6, len(values) + 0.1)
    axis.legend(
        frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1)
    )
    return fig


def mask_steps(
    image: Tensor, mean: Tensor, large: Tensor, mask: Tensor, threshold: float
) -> Figure:
    """Equations 9-11 from left to right: image, mean map, upsampled map, mask.

    Args:
        image: 3 x H x W.
        mean: h x w, the heads' mean cosine.
        large: H x W in [0, 1], upsampled and moved.
        mask: H x W bool.
    """
    fig, axes = figure(1, 4, 2.1, 2.3)
    axes[0, 0].imshow(picture(image))
    bare(axes[0, 0], "image", QUERY)
    maps = ((mean, "heads' mean cosine"), (large, "upsampled, moved to [0, 1]"))
    for axis, (values, title) in zip(axes[0, 1:], maps):
        shown = axis.imshow(np.asarray(values), cmap=HEAT)
        bare(axis, title)
        bar = fig.colorbar(shown, ax=axis, shrink=0.75, pad=0.02)
        bar.ax.tick_params(labelsize=7)
    axes[0, 3].imshow(painted(image, mask))
    bare(axes[0, 3], f"above {threshold:.2f}")
    return fig


def threshold_sweep(
    thresholds: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    all_foreground: float,
    chosen: float | None = None,
) -> Figure:
    """IoU of the pseudo-masks over the threshold, with the controls in the same plot.

    Args:
        curves: backbone -> one IoU a threshold; the first is drawn solid, the
            controls after it dashed.
        all_foreground: IoU of calling every pixel foreground.
        chosen: the threshold that is kept with the first backbone's weights.
    """
    fig, axes = figure(1, 1, 6.6, 3.3)
    axis = axes[0, 0]
    looks: tuple[dict[str, Any], ...] = (
        {"color": QUERY, "lw": 2.2},
        {"color": CONTROL, "ls": "--"},
        {"color": SUPPORT, "ls": "--"},
    )
    for look, (name, values) in zip(looks, curves.items()):
        axis.plot(thresholds, values, label=name, **look)
    axis.axhline(all_foreground, color=BACKGROUND, ls=":", label="all foreground")
    if chosen is not None:
        axis.axvline(chosen, color=CLASSES[0], lw=1, label="kept with the weights")
    axis.set_xlabel("threshold on (mean cosine + 1) / 2")
    axis.set_ylabel("IoU with the objects")
    axis.set_xlim(thresholds[0], thresholds[-1])
    axis.set_ylim(0, 1)
    axis.legend(frameon=False, fontsize=8, loc="upper right")
    return fig


def threshold_view(
    image: Tensor, soft: Tensor, truth: Tensor, threshold: float
) -> Figure:
    """One image at one threshold: soft map, its histogram, pseudo-mask, true mask.

    Args:
        soft: H x W in [0, 1], equation 11 before its threshold.
        truth: H x W bool.
    """
    mask = soft > threshold
    both, either = (mask & truth).sum().item(), (mask | truth).sum().item()
    fig, axes = figure(1, 4, 2.1, 2.35)
    axes[0, 0].imshow(np.asarray(soft), cmap=HEAT)
    bare(axes[0, 0], "soft map")
    lowest = min(soft.min().item(), threshold) - 0.02
    bins = np.linspace(lowest, max(soft.max().item(), threshold) + 0.02, 61)
    parts = (
        (soft[~truth], BACKGROUND, "background"),
        (soft[truth], CLASSES[0], "object"),
    )
    for values, colour, name in parts:
        axes[0, 1].hist(values.numpy(), bins, color=colour, alpha=0.75, label=name)
    axes[0, 1].axvline(threshold, color="black", lw=1.2)
    axes[0, 1].set_yticks([])
    axes[0, 1].tick_params(labelsize=7)
    axes[0, 1].set_box_aspect(1)
    axes[0, 1].set_title("pixels by value", fontsize=9)
    axes[0, 1].legend(frameon=False, fontsize=7, loc="upper left")
    axes[0, 2].imshow(painted(image, mask))
    bare(axes[0, 2], f"pseudo-mask: IoU {both / max(either, 1):.2f}")
    axes[0, 3].imshow(painted(image, truth))
    bare(axes[0, 3], "all objects, by hand")
    return fig


def pseudo_mask_rows(
    images: Sequence[Tensor],
    rows: Mapping[str, Sequence[Tensor]],
    titles: Sequence[str] = (),
) -> Figure:
    """Several images, and below each its masks: one row for each source of masks.

    Args:
        images: 3 x H x W each.
        rows: source -> one H x W bool mask an image.
        titles: one an image.
    """
    fig, axes = figure(1 + len(rows), len(images), 1.4, 1.5)
    for place, (axis, image) in enumerate(zip(axes[0], images)):
        axis.imshow(picture(image))
        bare(axis, titles[place] if titles else "")
    axes[0, 0].set_ylabel("image", fontsize=9)
    for row, (name, found) in zip(axes[1:], rows.items()):
        for axis, image, mask in zip(row, images, found):
            axis.imshow(painted(image, mask))
            bare(axis)
        row[0].set_ylabel(name, fontsize=9)
    return fig


__all__ = [
    "attention",
    "attention_place",
    "attention_share",
    "mask_steps",
    "pseudo_mask_rows",
    "threshold_sweep",
    "threshold_view",
]
