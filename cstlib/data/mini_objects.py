"""The twenty objects of Mini-5i: their outlines, typical colours and textures.

An object is a list of `Part`s, drawn in order in a frame where it fills the square
[-1, 1] x [-1, 1], y pointing down. Shapes vary from one drawing to the next, as two
mugs do. Classes are recognisable the way things are: by outline, by typical pairs
of colours and by texture. No cue suffices alone, because each colour and each
texture is shared by several classes, also within a fold.
"""

from __future__ import annotations

from math import pi

import numpy as np
from numpy.random import RandomState

from cstlib.data.mini_shapes import Kind, Part, box, ellipse, mirrored, polygon, turned


def star(r: RandomState) -> list[Part]:
    """Five points, and a smaller star within."""
    inner = r.uniform(0.42, 0.52)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
    angle = np.arange(10) * pi / 5 - pi / 2
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return [Part(outline, "main"), Part(outline * 0.5, "accent")]


def mug(r: RandomState) -> list[Part]:
    """A banded body with a ring for a handle."""
    x = r.uniform(0.30, 0.42)
    taper = r.uniform(0.0, 0.12)
    body = polygon((-0.9, -0.85), (x, -0.85), (x - taper, 0.9), (-0.9 + taper, 0.9))
    handle = ellipse(x, 0.0, 0.56, r.uniform(0.5, 0.62))
    return [
        Part(handle, "main", hole=ellipse(x, 0.0, 0.30, 0.32)),
        Part(body, "main", "bands"),
    ]


def key(r: RandomState) -> list[Part]:
    """A ring, a shaft and two teeth."""
    ring = ellipse(0.0, -0.52, 0.48, 0.48)
    tooth = r.uniform(0.34, 0.5)
    return [
        Part(box(-0.15, -0.1, 0.15, 1.0), "main"),
        Part(box(0.1, 0.38, tooth + 0.1, 0.6), "accent"),
        Part(box(0.1, 0.76, tooth, 1.0), "accent"),
        Part(ring, "main", hole=ellipse(0.0, -0.55, 0.2, 0.2)),
    ]


def fish(r: RandomState) -> list[Part]:
    """A striped body with a tail, a fin and an eye."""
    height = r.uniform(0.48, 0.62)
    tail = r.uniform(0.45, 0.6)
    return [
        Part(polygon((0.45, 0.0), (1.0, -tail), (0.86, 0.0), (1.0, tail)), "accent"),
        Part(polygon((-0.2, -0.4), (0.25, -0.9), (0.4, -0.25)), "accent"),
        Part(ellipse(-0.2, 0.0, 0.8, height), "main", "stripes"),
        Part(ellipse(-0.68, -0.12, 0.1, 0.1), "dark"),
    ]


def umbrella(r: RandomState) -> list[Part]:
    """A dome with two wedges, a stick and a hook."""
    dome = ellipse(0.0, 0.1, 1.0, r.uniform(0.85, 1.0), pi, 2 * pi)
    wedges = [
        Part(polygon((0.0, -0.8), (x, 0.1), (x + 0.4, 0.1)), "accent")
        for x in (-0.6, 0.2)
    ]
    stick = box(-0.07, 0.0, 0.07, 0.85)
    hook = ellipse(0.2, 0.82, 0.27, 0.18, 0.0, pi)
    return [Part(stick, "dark"), Part(hook, "dark"), Part(dome, "main"), *wedges]


def sailboat(r: RandomState) -> list[Part]:
    """Two sails and a mast on a hull."""
    top = r.uniform(-1.0, -0.8)
    return [
        Part(box(-0.06, top, 0.06, 0.5), "dark"),
        Part(polygon((0.1, top), (0.9, 0.35), (0.1, 0.35)), "main"),
        Part(polygon((-0.1, top + 0.2), (-0.1, 0.35), (-0.75, 0.35)), "main"),
        Part(polygon((-1, 0.45), (1, 0.45), (0.65, 0.95), (-0.65, 0.95)), "accent"),
    ]


def mushroom(r: RandomState) -> list[Part]:
    """A dotted cap on a stem."""
    wide = r.uniform(0.24, 0.36)
    stem = polygon((-wide, 0), (wide, 0), (wide + 0.1, 1), (-wide - 0.1, 1))
    cap = ellipse(0.0, 0.12, 1.0, 1.05, pi, 2 * pi)
    return [
        Part(stem, "light"),
        Part(cap, "main", "dots"),
    ]


def fir(r: RandomState) -> list[Part]:
    """Three tiers on a trunk."""
    wide = r.uniform(0.75, 0.95)
    tiers = [(-1.0, -0.25, 0.5), (-0.6, 0.2, 0.72), (-0.2, 0.68, 1.0)]
    return [
        Part(box(-0.16, 0.5, 0.16, 1.0), "accent"),
        *(
            Part(polygon((0, top), (w * wide, low), (-w * wide, low)), "main")
            for top, low, w in reversed(tiers)
        ),
    ]


def house(r: RandomState) -> list[Part]:
    """A banded wall with a roof and a door."""
    door = r.uniform(-0.5, 0.1)
    return [
        Part(box(-0.75, -0.2, 0.75, 0.95), "main", "bands"),
        Part(polygon((-1.0, -0.1), (0.0, -1.0), (1.0, -0.1)), "accent"),
        Part(box(door, 0.35, door + 0.36, 0.95), "dark"),
    ]


def car(r: RandomState) -> list[Part]:
    """A cabin with a window on a body with two wheels."""
    cabin = r.uniform(0.5, 0.62)
    roof = polygon((-cabin, -0.1), (-0.35, -0.6), (0.35, -0.6), (cabin + 0.1, -0.1))
    window = polygon((-0.38, -0.1), (-0.26, -0.46), (0.26, -0.46), (0.4, -0.1))
    return [
        Part(roof, "main"),
        Part(window, "light"),
        Part(box(-1.0, -0.12, 1.0, 0.35), "main"),
        Part(box(-1.0, 0.06, 1.0, 0.18), "accent"),
        *(Part(ellipse(x, 0.36, 0.27, 0.27), "dark") for x in (-0.55, 0.55)),
        *(Part(ellipse(x, 0.36, 0.11, 0.11), "light") for x in (-0.55, 0.55)),
    ]


def butterfly(r: RandomState) -> list[Part]:
    """Two pairs of wings, the upper ones dotted."""
    upper = turned(ellipse(0, 0, 0.5, r.uniform(0.38, 0.46)), 0.6, 0.5, -0.4)
    lower = turned(ellipse(0, 0, 0.38, 0.32), -0.6, 0.42, 0.42)
    return [
        Part(lower, "accent"),
        Part(mirrored(lower), "accent"),
        Part(upper, "main", "dots"),
        Part(mirrored(upper), "main", "dots"),
        Part(ellipse(0.0, 0.0, 0.12, 0.75), "dark"),
    ]


def flower(r: RandomState) -> list[Part]:
    """Five or six petals round a disc."""
    count = 5 + r.randint(0, 2)
    petals = [
        Part(turned(ellipse(0.6, 0, 0.4, 0.3), 2 * pi * i / count), "main")
        for i in range(count)
    ]
    return [*petals, Part(ellipse(0.0, 0.0, 0.34, 0.34), "accent")]


def cactus(r: RandomState) -> list[Part]:
    """A striped trunk with two arms, in a pot."""
    left, right = r.uniform(-0.3, 0.1), r.uniform(-0.2, 0.25)
    top = ellipse(0, -0.7, 0.3, 0.3, pi, 2 * pi)
    return [
        Part(box(-0.75, left - 0.35, -0.48, left + 0.25), "main"),
        Part(box(-0.75, left, -0.1, left + 0.26), "main"),
        Part(box(0.48, right - 0.4, 0.75, right + 0.2), "main"),
        Part(box(0.1, right, 0.75, right + 0.26), "main"),
        Part(np.concatenate([top, [(0.3, 0.6), (-0.3, 0.6)]]), "main", "stripes"),
        Part(polygon((-0.5, 0.55), (0.5, 0.55), (0.36, 1.0), (-0.36, 1.0)), "accent"),
    ]


def rocket(r: RandomState) -> list[Part]:
    """A round-nosed body with fins, a porthole and a flame."""
    wide = r.uniform(0.3, 0.38)
    fin = polygon((wide - 0.05, 0.15), (0.8, 0.85), (wide - 0.05, 0.65))
    flame = polygon((-0.22, 0.68), (0.22, 0.68), (0.0, 1.0))
    body = np.concatenate(
        [ellipse(0, -0.2, wide, 0.8, pi, 2 * pi), polygon((wide, 0.7), (-wide, 0.7))]
    )
    return [
        Part(flame, "dark"),
        Part(fin, "accent"),
        Part(mirrored(fin), "accent"),
        Part(body, "main"),
        Part(ellipse(0.0, -0.2, 0.18, 0.18), "accent"),
    ]


def apple(r: RandomState) -> list[Part]:
    """Two lobes with a stalk and a leaf."""
    lobe = r.uniform(0.3, 0.38)
    return [
        Part(box(-0.06, -0.95, 0.06, -0.4), "dark"),
        Part(ellipse(-lobe, 0.18, 0.62, 0.76), "main"),
        Part(ellipse(lobe, 0.18, 0.62, 0.76), "main"),
        Part(turned(ellipse(0, 0, 0.36, 0.16), 0.5, 0.36, -0.72), "accent"),
    ]


def cat(r: RandomState) -> list[Part]:
    """A striped face with ears, eyes, nose and muzzle."""
    ear = r.uniform(-1.0, -0.85)
    ears = polygon((0.2, -0.5), (0.78, ear), (0.85, 0.0))
    return [
        Part(ears, "main"),
        Part(mirrored(ears), "main"),
        Part(ellipse(0.0, 0.15, 0.9, 0.8), "main", "stripes"),
        Part(ellipse(0.0, 0.5, 0.42, 0.3), "light"),
        Part(ellipse(-0.36, 0.02, 0.14, 0.18), "dark"),
        Part(ellipse(0.36, 0.02, 0.14, 0.18), "dark"),
        Part(polygon((-0.13, 0.33), (0.13, 0.33), (0.0, 0.5)), "dark"),
    ]


def snail(r: RandomState) -> list[Part]:
    """A shell of rings on a foot with a neck and a feeler."""
    x, size = r.uniform(0.1, 0.25), r.uniform(0.58, 0.68)
    foot = ellipse(0.0, 0.72, 1.0, 0.24)
    neck = polygon((-0.95, -0.1), (-0.62, -0.1), (-0.35, 0.6), (-0.95, 0.75))
    feeler = polygon((-0.75, -0.3), (-0.98, -0.85), (-0.86, -0.88), (-0.62, -0.3))
    rings = [
        Part(ellipse(x, 0.05, size * s, size * s), c)
        for s, c in ((1.0, "main"), (0.72, "accent"), (0.46, "main"), (0.2, "accent"))
    ]
    return [
        Part(feeler, "dark"),
        Part(foot, "light"),
        Part(neck, "light"),
        Part(ellipse(-0.76, -0.18, 0.24, 0.24), "light"),
        *rings,
    ]


def kite(r: RandomState) -> list[Part]:
    """A chequered sail with a tail and a bow."""
    waist = r.uniform(-0.35, -0.15)
    sail = polygon((0.0, -1.0), (0.7, waist), (0.0, 0.6), (-0.7, waist))
    tail = polygon((-0.06, 0.55), (0.06, 0.55), (0.06, 1.0), (-0.06, 1.0))
    bow = polygon((-0.28, 0.72), (0.28, 0.92), (0.28, 0.72), (-0.28, 0.92))
    return [Part(tail, "dark"), Part(bow, "accent"), Part(sail, "main", "checks")]


def guitar(r: RandomState) -> list[Part]:
    """A waisted body with a neck, a head, a hole and a bridge."""
    hip = r.uniform(0.56, 0.66)
    return [
        Part(box(-0.11, -0.9, 0.11, 0.2), "accent"),
        Part(box(-0.2, -1.0, 0.2, -0.72), "accent"),
        Part(ellipse(0.0, 0.12, 0.46, 0.36), "main"),
        Part(ellipse(0.0, 0.58, hip, 0.44), "main"),
        Part(ellipse(0.0, 0.34, 0.2, 0.2), "dark"),
        Part(box(-0.25, 0.7, 0.25, 0.8), "accent"),
    ]


def ball(r: RandomState) -> list[Part]:
    """A disc with three coloured sectors."""
    start = r.uniform(0.0, 2 * pi)
    disc = ellipse(0.0, 0.0, 0.92, 0.92)
    sectors = [
        np.concatenate(
            [[(0.0, 0.0)], ellipse(0, 0, 0.92, 0.92, start + a, start + a + pi / 3)]
        )
        for a in (0.0, 2 * pi / 3, 4 * pi / 3)
    ]
    return [
        Part(disc, "main"),
        *(Part(sector, "accent") for sector in sectors),
        Part(ellipse(0.0, 0.0, 0.2, 0.2), "light"),
    ]


# In the order of the class ids 1..20; fold f holds out the f-th group of five.
KINDS: dict[str, Kind] = {
    "star": Kind(star, ("yellow", "orange"), ("orange", "white"), upright=False),
    "mug": Kind(mug, ("blue", "teal"), ("white", "yellow")),
    "fish": Kind(fish, ("orange", "yellow"), ("white", "blue")),
    "mushroom": Kind(mushroom, ("red", "brown"), ("white", "yellow")),
    "fir": Kind(fir, ("green", "teal"), ("brown", "black")),
    "key": Kind(key, ("yellow", "brown"), ("brown", "black"), upright=False),
    "umbrella": Kind(umbrella, ("red", "purple"), ("white", "yellow")),
    "car": Kind(car, ("blue", "red"), ("white", "yellow")),
    "cactus": Kind(cactus, ("green", "teal"), ("orange", "brown")),
    "butterfly": Kind(butterfly, ("purple", "blue"), ("orange", "pink"), upright=False),
    "sailboat": Kind(sailboat, ("white", "yellow"), ("brown", "blue")),
    "house": Kind(house, ("yellow", "white"), ("red", "brown")),
    "flower": Kind(flower, ("pink", "purple"), ("yellow", "white"), upright=False),
    "kite": Kind(kite, ("teal", "green"), ("yellow", "pink"), upright=False),
    "cat": Kind(cat, ("orange", "black"), ("brown", "white")),
    "rocket": Kind(rocket, ("white", "teal"), ("red", "blue"), upright=False),
    "apple": Kind(apple, ("red", "green"), ("green", "yellow")),
    "snail": Kind(snail, ("brown", "purple"), ("yellow", "pink")),
    "guitar": Kind(guitar, ("brown", "orange"), ("black", "blue"), upright=False),
    "ball": Kind(ball, ("blue", "teal"), ("white", "orange"), upright=False),
}
