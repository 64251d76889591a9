"""Exercises on the correlation tokens (notebook 03)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.random import RandomState
from torch import Tensor

from cstlib.exercises import Exercise


def _channels(random: RandomState):
    for heads in (6, 12, 3):
        for _ in range(3):
            yield int(random.randint(1, 12)), int(random.randint(heads)), heads


def _cosines(query: Tensor, support: Tensor, heads: int, head: int) -> Tensor:
    rows = []
    width = query.shape[1] // heads
    part = slice(head * width, (head + 1) * width)
    for q in query[:, part]:
        row = [torch.dot(q, s) / (q.norm() * s.norm()) for s in support[:, part]]
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _cut(tokens: Tensor, heads: int, head: int) -> Tensor:
    return tokens.chunk(heads, dim=1)[head]


def _unit(tokens: Tensor) -> Tensor:
    return tokens / tokens.norm(dim=1, keepdim=True)


def _interleaved(query: Tensor, support: Tensor, heads: int, head: int) -> Tensor:
    return _unit(query[:, head::heads]) @ _unit(support[:, head::heads]).T


def _columns(tokens: Tensor, heads: int, head: int) -> Tensor:
    cut = _cut(tokens, heads, head)
    return cut / cut.norm(dim=0, keepdim=True)


def _tokens(random: RandomState):
    for heads, head in ((6, 0), (4, 3), (3, 1)):
        shapes = (9, 5 * heads), (4, 5 * heads)
        query, support = (torch.tensor(random.randn(*s)).float() for s in shapes)
        yield query, support, heads, head


def _best_match(correlation: Tensor, owned: Tensor) -> float:
    patches = [s for s in range(len(owned)) if owned[s]]
    best = [max(float(row[1 + s]) for row in correlation) for s in patches]
    return sum(best) / len(best)


def _matches(random: RandomState):
    for _ in range(4):
        owned = torch.tensor(random.rand(16) < 0.4)
        owned[0], owned[1] = True, False
        yield torch.tensor(random.uniform(-1, 1, (20, 17))).float(), owned


def _resized(tokens: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    height, width = grid
    rows = []
    for i in range(size):
        for j in range(size):
            y, x = i * (height - 1) / (size - 1), j * (width - 1) / (size - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            row = torch.zeros_like(tokens[0])
            for a, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                for b, right in ((left, 1 - (x - left)), (left + 1, x - left)):
                    row = row + down * right * tokens[a * width + b]
            rows.append(row)
    return torch.stack(rows)


def _interpolated(tokens: Tensor, grid: tuple[int, int], size: int, **how) -> Tensor:
    image = tokens.T.reshape(1, -1, *grid)
    return F.interpolate(image, (size, size), **how)[0].flatten(1).T


def _scrambled(tokens: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    image = tokens.reshape(1, -1, *grid)
    small = F.interpolate(image, (size, size), mode="bilinear", align_corners=True)
    return small[0].flatten(1).T


def _averaged(tokens: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    image = tokens.T.reshape(1, -1, *grid)
    return F.adaptive_avg_pool2d(image, size)[0].flatten(1).T


def _grids(random: RandomState):
    for grid, size in (((5, 5), 3), ((6, 4), 3), ((7, 10), 4)):
        shape = grid[0] * grid[1], 6
        yield torch.tensor(random.randn(*shape)).float(), grid, size


EXERCISES = [
    Exercise(
        name="channel-number",
        task="return the channel of this layer and head, all three counted from 0.",
        reference=lambda layer, head, heads: layer * heads + head,
        inputs=_channels,
        mistakes={
            "that order is head by head; channels are stacked layer by layer": (
                lambda layer, head, heads: head * 12 + layer
            ),
            "you swap the two: whole layers of `heads` channels come before": (
                lambda layer, head, heads: head * heads + layer
            ),
            "you count layers from 1; here the first layer is number 0": (
                lambda layer, head, heads: (layer - 1) * heads + head
            ),
            "you count channels from 1; the first channel is number 0": (
                lambda layer, head, heads: layer * heads + head + 1
            ),
        },
        praise="A learner trained on one order of channels is useless on another.",
    ),
    Exercise(
        name="head-correlation",
        task="return the N x S cosines of one head's slice of the tokens.",
        reference=_cosines,
        inputs=_tokens,
        mistakes={
            "these are plain scalar products; bring the vectors to length 1 first": (
                lambda q, s, heads, head: _cut(q, heads, head) @ _cut(s, heads, head).T
            ),
            "you normalise the whole token; cut out the head first, then normalise": (
                lambda q, s, heads, head: (
                    _cut(_unit(q), heads, head) @ _cut(_unit(s), heads, head).T
                )
            ),
            "you bring each channel to length 1 over all tokens; it is each token's": (
                lambda q, s, heads, head: (
                    _columns(q, heads, head) @ _columns(s, heads, head).T
                )
            ),
            "you take every M-th channel; a head owns channels that lie together": (
                _interleaved
            ),
            "this is the cosine over all channels; take the slice of one head": (
                lambda q, s, heads, head: _unit(q) @ _unit(s).T
            ),
            "nothing is clamped: a negative cosine says something too": (
                lambda q, s, heads, head: _cosines(q, s, heads, head).clamp(min=0)
            ),
            "rows should be query tokens, columns support tokens": (
                lambda q, s, heads, head: _cosines(q, s, heads, head).T
            ),
        },
        praise="That is equation (1), for one layer and one head.",
    ),
    Exercise(
        name="best-match",
        task="return the mean, over the object's support patches, of the best cosine.",
        reference=_best_match,
        inputs=_matches,
        mistakes={
            "column 0 is the class token: the patches begin in column 1": (
                lambda c, owned: c[:, :-1].amax(0)[owned].mean()
            ),
            "you average over all patches; only those that the mask owns count": (
                lambda c, owned: c[:, 1:].amax(0).mean()
            ),
            "you take the best support patch for each query patch; turn it round": (
                lambda c, owned: c[:, 1:][:, owned].amax(1).mean()
            ),
            "you average over the query; each object patch asks for its best match": (
                lambda c, owned: c[:, 1:][:, owned].mean()
            ),
            "patches outside the mask count as 0 in your mean; leave them out": (
                lambda c, owned: (c[:, 1:].amax(0) * owned).mean()
            ),
            "you take the single best pair; average over the object's patches": (
                lambda c, owned: c[:, 1:][:, owned].max()
            ),
        },
        praise="A score for presence that needed no training at all.",
    ),
    Exercise(
        name="support-resize",
        task="return size^2 x C tokens: the grid resized bilinearly, corners kept.",
        reference=_resized,
        inputs=_grids,
        mistakes={
            "corners move: bilinear interpolation wants align_corners=True here": (
                lambda t, grid, size: _interpolated(t, grid, size, mode="bilinear")
            ),
            "channels and places are mixed up: transpose to C x N before you view": (
                _scrambled
            ),
            "you pick the nearest patch; set the mode to bilinear": (
                lambda t, grid, size: _interpolated(t, grid, size, mode="nearest")
            ),
            "you average over areas; the release interpolates between four patches": (
                _averaged
            ),
            "turn it round: one row a patch, one column a channel": (
                lambda t, grid, size: _resized(t, grid, size).T
            ),
        },
        praise="A support of any size is now 12 x 12 patches to the learner.",
    ),
]
