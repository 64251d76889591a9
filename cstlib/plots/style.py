"""Colours and small helpers that all figures share.

The palette is Okabe and Ito's, which the common forms of colour blindness keep apart
("Color Universal Design", 2008). A colour means the same in every notebook.
"""

from __future__ import annotations

from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

QUERY = "#0072B2"
SUPPORT = "#D55E00"
CLASSES = ("#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442")  # class 1..5
BACKGROUND = "#999999"
CONTROL = "#666666"  # drawn dashed
HEAT = "cividis"  # attention and other maps of one sign
SIGNED = "PuOr"  # correlations around zero
# What is compared has colours of its own, apart from those of the classes.
SERIES = (QUERY, SUPPORT, CLASSES[0], CLASSES[2], CLASSES[3], CLASSES[1])
MARKERS = "osD^vP"
DASHES = ("--", ":", "-.", (0, (1, 3)))
# A figure's name in records and in metrics, and what an axis says.
TITLES = {"er": "ER (%)", "miou": "mIoU (%)", "fb_iou": "FB-IoU (%)"}
FIGURES = (("exact_ratio", TITLES["er"]), ("miou", TITLES["miou"]))


def figure(rows: int, columns: int, width: float, height: float):
    """A closed figure and its rows x columns axes; sizes are of one panel, inches.

    Closed, so that a notebook shows it once: as the value of its cell.
    """
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(columns * width, rows * height),
        squeeze=False,
        layout="constrained",
    )
    plt.close(fig)
    return fig, axes


def picture(image) -> np.ndarray:
    """An image for matplotlib: 3 x H x W tensor or H x W x 3 array -> H x W x 3."""
    if isinstance(image, torch.Tensor):
        return image.detach().permute(1, 2, 0).float().cpu().numpy().clip(0, 1)
    return np.asarray(image)


def bare(axis: Axes, title: str = "", colour: str | None = None) -> None:
    """No ticks; a title; a frame in ``colour`` (QUERY, SUPPORT or a class's)."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=9)
    for spine in axis.spines.values():
        spine.set_visible(colour is not None)
        if colour is not None:
            spine.set_color(colour)
            spine.set_linewidth(2.5)


def tidy(axis: Axes, along: Literal["x", "y"]) -> None:
    """A pale grid behind the figures, across one axis, and small numbers at both."""
    axis.grid(axis=along, color="#e5e5e5", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)


def tint(image, labels, strength: float = 0.55) -> np.ndarray:
    """Paint label map ``labels`` (H x W; 0 background, 1..5 classes, 255 void) on top."""
    painted = picture(image).astype(float).copy()
    if painted.max() > 1:
        painted /= 255
    labels = np.asarray(labels)
    for number, colour in enumerate(CLASSES, start=1):
        here = labels == number
        painted[here] = (1 - strength) * painted[here] + strength * np.array(
            to_rgb(colour)
        )
    painted[labels == 255] = 1.0
    return painted


__all__ = [
    "BACKGROUND",
    "CLASSES",
    "CONTROL",
    "DASHES",
    "FIGURES",
    "HEAT",
    "MARKERS",
    "QUERY",
    "SERIES",
    "SIGNED",
    "SUPPORT",
    "TITLES",
    "Axes",
    "Figure",
    "bare",
    "figure",
    "picture",
    "tidy",
    "tint",
]
