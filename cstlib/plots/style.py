"""Colours and small helpers that all figures share.

The palette is Okabe and Ito's, which the common forms of colour blindness keep apart
("Color Universal Design", 2008). A colour means the same in every notebook.
"""

from __future__ import annotations

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
    "HEAT",
    "QUERY",
    "SIGNED",
    "SUPPORT",
    "Axes",
    "Figure",
    "bare",
    "figure",
    "picture",
    "tint",
]
