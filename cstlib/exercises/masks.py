"""Exercises on pseudo-masks (notebook 02)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.random import RandomState
from torch import Tensor

from cstlib.exercises import Exercise


def _normal(random: RandomState, *shape: int) -> Tensor:
    return torch.from_numpy(random.standard_normal(shape)).float()


def _maps(random: RandomState):
    for heads, grid in ((6, (3, 4)), (2, (5, 2)), (12, (7, 3))):
        yield _normal(random, heads, grid[0] * grid[1]).tanh(), grid


def _tokens(random: RandomState):
    for heads, tokens, d in ((2, 5, 4), (6, 10, 16), (3, 26, 8)):
        yield _normal(random, heads, tokens, d), _normal(random, heads, tokens, d)


def _cosines(keys, queries):
    keys, query = F.normalize(keys[:, 1:], dim=-1), F.normalize(queries[:, 0], dim=-1)
    return torch.einsum("mnd,md->mn", keys, query)


def _grids(random: RandomState):
    for grid, size, threshold in (
        ((3, 3), (9, 12), 0.4),
        ((4, 5), (16, 20), 0.55),
        ((12, 12), (96, 96), 0.5),
    ):
        yield _normal(random, *grid).tanh(), size, threshold


def _enlarged(mean, size, aligned=True):
    return F.interpolate(
        mean[None, None], size, mode="bilinear", align_corners=aligned
    )[0, 0]


def _stretched(soft):
    return (soft - soft.min()) / (soft.max() - soft.min())


def _cut(mean, size, threshold):
    return (_enlarged(mean, size) + 1) / 2 > threshold


EXERCISES = [
    Exercise(
        name="heads-mean",
        task="average over the heads and lay the patches out on the grid.",
        reference=lambda maps, grid: maps.mean(0).reshape(grid),
        inputs=_maps,
        mistakes={
            "patches lie row by row: h rows of w, not w columns first": (
                lambda maps, grid: maps.mean(0).reshape(grid[::-1]).T
            ),
            "average over the heads, the first axis; the patches stay": (
                lambda maps, grid: maps.mean(1)
            ),
            "divide by the number of heads: that is their sum": (
                lambda maps, grid: maps.sum(0).reshape(grid)
            ),
            "lay the patches out: the grid's h rows of w are wanted": (
                lambda maps, grid: maps.mean(0)
            ),
            "the brightest head is not the mean of all heads": (
                lambda maps, grid: maps.amax(0).reshape(grid)
            ),
        },
        praise="No head is picked by eye, because an eye knows the labels.",
    ),
    Exercise(
        name="equation-nine",
        task="give each head's cosine of the class token's query and the patches' keys.",
        reference=_cosines,
        inputs=_tokens,
        mistakes={
            "both sides need unit length; that is a plain product": (
                lambda k, q: torch.einsum("mnd,md->mn", k[:, 1:], q[:, 0])
            ),
            "equation 9 has no softmax; its values are cosines between -1 and 1": (
                lambda k, q: _cosines(k, q).softmax(-1)
            ),
            "the keys are the image's and the query the support's; yours are swapped": (
                lambda k, q: _cosines(q, k)
            ),
            "normalise over the d dimensions of a head, not over the patches": (
                lambda k, q: torch.einsum(
                    "mnd,md->mn",
                    F.normalize(k[:, 1:], dim=1),
                    F.normalize(q[:, 0], dim=-1),
                )
            ),
        },
        praise="Cosines do not compete: two objects can both be bright.",
    ),
    Exercise(
        name="equation-eleven",
        task="enlarge the map, move its cosines to [0, 1], then cut.",
        reference=_cut,
        inputs=_grids,
        mistakes={
            "the threshold is meant for [0, 1]; move the cosines there first": (
                lambda mean, size, t: _enlarged(mean, size) > t
            ),
            "enlarge first, bilinearly, cut then; yours has the patches' staircase": (
                lambda mean, size, t: (
                    F.interpolate(((mean + 1) / 2 > t).float()[None, None], size)[0, 0]
                    > 0.5
                )
            ),
            "the corners of map and image coincide here: align_corners=True": (
                lambda mean, size, t: (_enlarged(mean, size, False) + 1) / 2 > t
            ),
            "every map is moved alike, (a + 1) / 2, and not stretched to its own range": (
                lambda mean, size, t: _stretched(_enlarged(mean, size)) > t
            ),
            "the cut is missing: True where the map is above the threshold": (
                lambda mean, size, t: (_enlarged(mean, size) + 1) / 2
            ),
            "True is where the map is above the threshold; yours is the reverse": (
                lambda mean, size, t: ~_cut(mean, size, t)
            ),
        },
        praise="From here on, CST is trained as if somebody had drawn this.",
    ),
]
