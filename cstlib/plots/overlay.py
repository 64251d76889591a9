"""Pictures of predictions on a practitioner's own images.

Drawn with Pillow, in the picture's own pixels: a batch may have thousands.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont, ImageOps

from cstlib.plots.style import CLASSES

Colour = tuple[int, int, int]
STRENGTH = 0.6
INK, PALE, PAPER = (34, 34, 34), (140, 140, 140), (255, 255, 255)
NARROWEST = 240  # pixels: below that, nobody could read the lines under the picture
SHOWN = 20  # classes under a picture; the JSON has all
CELL = 170  # side of a support's place in their sheet, in pixels


def class_colours(count: int) -> list[Colour]:
    """8-bit colours of classes 1..``count``: the course's five, then others.

    The others go round the colour circle by the golden angle, in steps of brightness.
    """
    colours = [_eight_bits(to_rgb(c)) for c in CLASSES[:count]]
    for number in range(count - len(colours)):
        hue, value = (0.11 + 0.618034 * number) % 1, (0.95, 0.7, 0.5)[number % 3]
        colours.append(_eight_bits(colorsys.hsv_to_rgb(hue, 0.75, value)))
    return colours


def _eight_bits(rgb: tuple[float, float, float]) -> Colour:
    red, green, blue = (round(255 * x) for x in rgb)
    return red, green, blue


def paint(
    image: Image.Image, labels: np.ndarray, colours: Sequence[Colour]
) -> Image.Image:
    """Labels (h x w; 0 background) on an image of any size, with outlines: RGB.

    An object loses its own colours under its class's, which would mix to a third.
    """
    # Nearest neighbour: labels have no values in between.
    small = Image.fromarray(labels).resize(image.size, Image.Resampling.NEAREST)
    labels = np.asarray(small)
    pixels = np.asarray(image).astype(np.float32)
    grey = np.asarray(image.convert("L")).astype(np.float32)[..., None]
    palette = np.array([(0, 0, 0), *colours], dtype=np.float32)
    strength = np.full(labels.shape, STRENGTH, dtype=np.float32)
    strength[_outline(labels, max(1, max(image.size) // 300))] = 1
    strength = strength[..., None]  # h x w x 1
    painted = (1 - strength) * grey + strength * palette[labels]
    painted = np.where(labels[..., None] > 0, painted, pixels)
    return Image.fromarray(painted.round().astype(np.uint8))


def _outline(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Pixels that have a pixel of another label within ``thickness``."""
    edge = np.zeros(labels.shape, dtype=bool)
    for step in range(1, thickness + 1):
        down = labels[step:] != labels[:-step]
        across = labels[:, step:] != labels[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= across
        edge[:, :-step] |= across
    return edge


def draw_overlay(
    image: Image.Image,
    labels: np.ndarray,
    presence_prob: Mapping[str, float],
    presence: Mapping[str, bool],
) -> Image.Image:
    """A picture with its classes painted on, and a line for each class below.

    Args:
        image: RGB, of any size. labels: H x W, at the same or another size.
        presence_prob, presence: by class name, in the order of the labels 1..N. Where
            there are many, the most probable are shown.
    """
    names = sorted(presence_prob, key=presence_prob.__getitem__, reverse=True)[:SHOWN]
    colours = dict(zip(presence_prob, class_colours(len(presence_prob))))
    factor = -(-NARROWEST // max(image.size))  # drawings of the course are small
    image = image.resize(
        (factor * image.width, factor * image.height), Image.Resampling.NEAREST
    )
    painted = paint(image, labels, list(colours.values()))
    width = max(NARROWEST, image.width)
    size = max(12, width // 45)
    line = round(1.6 * size)
    sheet = Image.new("RGB", (width, image.height + line * len(names) + size), PAPER)
    sheet.paste(painted, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        top = image.height + size // 2 + row * line
        ink = INK if presence[name] else PALE
        box = (size // 2, top + size // 4, size // 2 + size, top + size // 4 + size)
        draw.rectangle(box, fill=colours[name] if presence[name] else None, outline=ink)
        draw.text((2 * size, top), f"{presence_prob[name]:4.0%}", ink, _font(size))
        text = _fit(name, width - 6 * size, size)
        draw.text((5.5 * size, top), text, ink, _font(size))
    return sheet


def draw_support(
    rows: Mapping[str, Sequence[tuple[Image.Image, np.ndarray, str]]],
) -> Image.Image:
    """A row for each class: its images with their masks painted on, and a word below.

    Args:
        rows: class name -> image, S x S bool mask, word.
    """
    size, gap = 13, 8
    columns = max(map(len, rows.values()))
    width = gap + columns * (CELL + gap)
    height = CELL + 4 * size + gap
    sheet = Image.new("RGB", (width, height * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        colour = class_colours(len(rows))[row]
        top = row * height
        draw.rectangle((gap, top + gap, gap + size, top + gap + size), fill=colour)
        title = _fit(name, width - 4 * gap, size)
        draw.text((gap + 1.5 * size, top + gap - 2), title, INK, _font(size))
        for column, (image, mask, word) in enumerate(images):
            left, under = gap + column * (CELL + gap), top + gap + round(1.7 * size)
            small = ImageOps.contain(image, (CELL, CELL))
            # The mask is square, because backbones look at squares.
            painted = paint(small, mask.astype(np.uint8), [colour])
            sheet.paste(painted, (left, under))
            draw.text((left, under + CELL + 1), word, PALE, _font(size - 2))
    return sheet


@lru_cache(maxsize=8)
def _font(size: int):
    """DejaVu Sans, which comes with matplotlib and has most alphabets."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _fit(text: str, width: float, size: int) -> str:
    """The text, cut to a width in pixels."""
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
