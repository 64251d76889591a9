"""How an image of the miniature is drawn: ground, clutter and one to three objects.

The same seed gives the same pixels everywhere: random numbers come from NumPy's frozen
legacy streams, and geometry is rounded to integers before anything is filled.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from PIL import Image, ImageDraw

from cstlib.data.mini_objects import KINDS
from cstlib.data.mini_shapes import COLOURS, Part, Points, box, ellipse

RENDERER_VERSION = 1
CLASS_NAMES = list(KINDS)
IMAGE_SIZE = 96
VOID = 255

# Benchmark and pre-training images never share a random stream.
STREAMS = {"trn": 0, "val": 1, "pretrain": 2}
SUPERSAMPLING = 3
CANVAS = IMAGE_SIZE * SUPERSAMPLING
# Of an object's own area, so much must stay visible behind the others.
LEAST_VISIBLE = 0.4


@dataclass(frozen=True)
class Scene:
    """A drawn image: ``image`` 96 x 96 x 3 uint8, ``mask`` 96 x 96 uint8.

    The mask holds class ids 1..20, 0 for background and 255 along object borders;
    ``classes`` are the ids that own at least one pixel of it, in rising order.
    """

    image: np.ndarray
    mask: np.ndarray
    classes: tuple[int, ...]


def render(seed: int, index: int, stream: str) -> Scene:
    """Draw image number ``index`` of a stream ("trn", "val" or "pretrain").

    The same three arguments give the same pixels for one `RENDERER_VERSION`.
    """
    random = RandomState([RENDERER_VERSION, STREAMS[stream], seed, index])
    while True:
        scene = _draw_scene(random)
        if scene is not None:
            return scene


def _draw_scene(random: RandomState) -> Scene | None:
    """One attempt; None if an object is hidden too much behind the others."""
    canvas = Image.fromarray(_background(random))
    labels = Image.new("L", (CANVAS, CANVAS), 0)
    for _ in range(random.randint(3, 9)):
        _clutter(random, canvas, None)

    count = random.choice([1, 2, 3], p=[0.5, 0.33, 0.17])
    lowest, highest = {1: (0.50, 0.88), 2: (0.42, 0.62), 3: (0.36, 0.5)}[count]
    kinds = random.choice(len(CLASS_NAMES), size=count)
    areas = []
    placed: list[tuple[float, float, float]] = []
    for order, kind in enumerate(kinds):
        radius = random.uniform(lowest, highest) * CANVAS / 2
        centre = _place(random, radius, placed)
        placed.append((*centre, radius))
        # Instances get their own numbers first: two objects of a class may overlap.
        areas.append(_draw_object(random, kind, canvas, labels, centre, radius, order))
    if random.uniform() < 0.3:
        _clutter(random, canvas, labels)

    instances = np.asarray(labels)
    visible = np.bincount(instances.ravel(), minlength=count + 1)[1:]
    if np.any(visible < LEAST_VISIBLE * np.array(areas)):
        return None

    image = _shrink(np.asarray(canvas)).astype(np.int16)
    image += random.randint(-7, 8, size=image.shape).astype(np.int16)
    ids = np.array([0, *(kinds + 1)], dtype=np.uint8)
    mask = _shrink_labels(ids[instances])
    present = np.unique(mask[(mask > 0) & (mask < VOID)])
    return Scene(
        np.clip(image, 0, 255).astype(np.uint8), mask, tuple(int(c) for c in present)
    )


def _place(random: RandomState, radius: float, placed: list) -> tuple[float, float]:
    """A centre that keeps the object in view and, if there is room, off the others."""
    margin = 0.78 * radius
    best, best_gap = (CANVAS / 2, CANVAS / 2), -np.inf
    for _ in range(8):
        x, y = random.uniform(margin, CANVAS - margin, size=2)
        gap = min(
            (np.hypot(x - px, y - py) - 0.72 * (radius + pr) for px, py, pr in placed),
            default=0.0,
        )
        if gap > best_gap:
            best, best_gap = (x, y), gap
        if gap >= 0:
            break
    return best


def _draw_object(
    random: RandomState,
    kind: int,
    canvas: Image.Image,
    labels: Image.Image,
    centre: tuple[float, float],
    radius: float,
    order: int,
) -> int:
    """Draw one object; returns its whole area in canvas pixels, hidden or not."""
    spec = KINDS[CLASS_NAMES[kind]]
    turn = random.uniform(-0.3, 0.3) if spec.upright else random.uniform(-0.8, 0.8)
    mirror = -1.0 if random.uniform() < 0.5 else 1.0
    stretch = random.uniform(0.87, 1.15)
    c, s = np.cos(turn), np.sin(turn)
    frame = np.array([[c, s], [-s, c]]) * radius
    frame = np.diag([mirror * stretch, 1 / stretch]) @ frame
    colours = {
        "main": _colour(random, spec.main),
        "accent": _colour(random, spec.accent),
        "dark": _colour(random, ("black",)),
        "light": _colour(random, ("white",)),
    }

    def to_canvas(points: Points) -> list[tuple[int, int]]:
        return [tuple(p) for p in np.rint(points @ frame + centre).astype(int).tolist()]

    whole = Image.new("1", (CANVAS, CANVAS), 0)
    for part in spec.draw(random):
        shape = Image.new("1", (CANVAS, CANVAS), 0)
        pen = ImageDraw.Draw(shape)
        pen.polygon(to_canvas(part.outline), fill=1)
        if part.hole is not None:
            pen.polygon(to_canvas(part.hole), fill=0)
        canvas.paste(colours[part.colour], mask=shape)
        if part.texture:
            _texture(random, part, canvas, shape, colours, to_canvas)
        whole.paste(1, mask=shape)
    labels.paste(order + 1, mask=whole)
    return int(np.count_nonzero(np.asarray(whole)))


def _texture(random, part: Part, canvas, shape, colours, to_canvas) -> None:
    """Stripes, bands, dots or checks in the part's second colour, inside ``shape``."""
    second = colours["accent" if part.colour == "main" else "main"]
    step = random.uniform(0.38, 0.5)
    shift = random.uniform(-0.1, 0.1)
    cells = np.arange(-1.25, 1.25, step) + shift
    if part.texture == "stripes":
        marks = [box(x, -1.2, x + 0.42 * step, 1.2) for x in cells]
    elif part.texture == "bands":
        marks = [box(-1.2, y, 1.2, y + 0.42 * step) for y in cells]
    elif part.texture == "dots":
        marks = [
            ellipse(x + (step / 2 if row % 2 else 0), y, 0.3 * step, 0.3 * step)
            for row, y in enumerate(cells)
            for x in cells
        ]
    else:  # checks
        marks = [
            box(x, y, x + step, y + step)
            for row, y in enumerate(cells)
            for column, x in enumerate(cells)
            if (row + column) % 2
        ]
    pattern = Image.new("1", (CANVAS, CANVAS), 0)
    pen = ImageDraw.Draw(pattern)
    for mark in marks:
        pen.polygon(to_canvas(mark), fill=1)
    inside = np.asarray(pattern) & np.asarray(shape)
    canvas.paste(second, mask=Image.fromarray(inside))


def _colour(random: RandomState, names: tuple[str, ...]) -> tuple[int, int, int]:
    """A jittered colour: the typical one four times in five, else a rarer one."""
    first = len(names) == 1 or random.uniform() < 0.8
    name = names[0] if first else names[random.randint(1, len(names))]
    h, s, v = COLOURS[name] + random.uniform(-1, 1, size=3) * (0.025, 0.12, 0.1)
    s, v = min(max(s, 0.0), 1.0), min(max(v, 0.05), 1.0)
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(h % 1.0, s, v))
    return red, green, blue


def _background(random: RandomState) -> np.ndarray:
    """Muted, softly varying ground: CANVAS x CANVAS x 3 uint8."""
    h, s, v = random.uniform((0, 0.02, 0.42), (1, 0.12, 0.74))
    base = np.array([round(255 * c) for c in colorsys.hsv_to_rgb(h, s, v)])
    ground = np.zeros((CANVAS, CANVAS, 3), dtype=np.int32)
    for cells, strength in ((4, 26), (12, 14)):
        patch = random.randint(-strength, strength + 1, size=(cells, cells, 1))
        tint = random.randint(-strength // 4, strength // 4 + 1, size=(cells, cells, 3))
        noise = np.clip(patch + tint + 128, 0, 255).astype(np.uint8)
        smooth = Image.fromarray(noise).resize(
            (CANVAS, CANVAS), Image.Resampling.BILINEAR
        )
        ground += np.asarray(smooth, dtype=np.int32) - 128
    return np.clip(ground + base, 0, 255).astype(np.uint8)


def _clutter(random: RandomState, canvas: Image.Image, labels) -> None:
    """A small muted blob, bar or wedge; with ``labels`` it hides what lies behind."""
    x, y = random.uniform(0, CANVAS, size=2)
    wide, high = random.uniform(0.03, 0.09, size=2) * CANVAS
    outline = (
        ellipse(0, 0, 1, 1),
        box(-1.6, -0.5, 1.6, 0.5),
        np.array([(0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)]),
    )[random.randint(0, 3)]
    angle = random.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = np.rint((outline * (wide, high)) @ turn + (x, y)).astype(int).tolist()
    h, s, v = random.uniform((0, 0.05, 0.25), (1, 0.35, 0.85))
    colour = tuple(round(255 * c) for c in colorsys.hsv_to_rgb(h, s, v))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in points], fill=colour)
    if labels is not None:
        ImageDraw.Draw(labels).polygon([tuple(p) for p in points], fill=0)


def _blocks(array: np.ndarray) -> np.ndarray:
    """Split CANVAS x CANVAS [x 3] into 96 x 96 [x 3] x 9 blocks of one pixel each."""
    k = SUPERSAMPLING
    split = array.reshape(IMAGE_SIZE, k, IMAGE_SIZE, k, *array.shape[2:])
    return np.moveaxis(split, (1, 3), (-2, -1)).reshape(
        IMAGE_SIZE, IMAGE_SIZE, *array.shape[2:], k * k
    )


def _shrink(canvas: np.ndarray) -> np.ndarray:
    return _blocks(canvas.astype(np.uint16)).sum(-1) // SUPERSAMPLING**2


def _shrink_labels(labels: np.ndarray) -> np.ndarray:
    """A pixel that a border runs through is void, as in VOC."""
    blocks = _blocks(labels)
    pure = np.all(blocks == blocks[..., :1], axis=-1)
    return np.where(pure, blocks[..., 0], VOID).astype(np.uint8)
