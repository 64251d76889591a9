"""What the miniature's objects are made of: filled outlines, and named colours.

Points are K x 2 (x, y) in the object's own frame, which is the square [-1, 1] x [-1, 1]
with y pointing down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.random import RandomState

Points = np.ndarray  # K x 2, columns x and y


@dataclass(frozen=True)
class Part:
    """A filled outline, perhaps with a hole, in one of its object's colours.

    ``colour`` is "main", "accent", "dark" or "light". ``texture`` ("stripes",
    "bands", "dots", "checks" or None) is drawn over it in the object's accent
    colour, or in its main colour where the part itself has the accent.
    """

    outline: Points
    colour: str
    texture: str | None = None
    hole: Points | None = None


@dataclass(frozen=True)
class Kind:
    """A class: how to draw it, and its typical (first) and rarer colours."""

    draw: Callable[[RandomState], list[Part]]
    main: tuple[str, ...]
    accent: tuple[str, ...]
    upright: bool = True  # turned by a few degrees only, as a house or a tree is


# Hue, saturation and value. Every drawing jitters them.
COLOURS = {
    "red": (0.99, 0.80, 0.78),
    "orange": (0.07, 0.82, 0.90),
    "yellow": (0.14, 0.78, 0.90),
    "green": (0.33, 0.65, 0.58),
    "teal": (0.48, 0.65, 0.66),
    "blue": (0.60, 0.75, 0.76),
    "purple": (0.77, 0.58, 0.68),
    "pink": (0.91, 0.48, 0.90),
    "brown": (0.07, 0.62, 0.46),
    "white": (0.12, 0.06, 0.95),
    "black": (0.62, 0.25, 0.17),
}


def polygon(*points: tuple[float, float]) -> Points:
    """The outline through K corners: K x 2."""
    return np.array(points, dtype=np.float64)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """The four corners of an upright rectangle: 4 x 2."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(
    x: float, y: float, width: float, height: float, start=0.0, stop=2 * pi
) -> Points:
    """Outline of (a sector's arc of) an ellipse; width and height are radii: 28 x 2."""
    angles = np.linspace(start, stop, 28, endpoint=stop - start < 2 * pi)
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], 1)


def turned(points: Points, angle: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Rotate about the origin by ``angle`` radians, then move by (x, y)."""
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    return points @ turn + (x, y)


def mirrored(points: Points) -> Points:
    """Left and right exchanged."""
    return points * (-1.0, 1.0)
