"""Exercises on the learner (notebook 04)."""

from __future__ import annotations

import math

import torch
from numpy.random import RandomState
from torch import Tensor

from cstlib.exercises import Exercise


def _pool(tokens: Tensor, kernel: int) -> Tensor:
    side = math.isqrt(tokens.shape[-1] - 1)
    pooled = [tokens[..., 0]]
    patches = tokens[..., 1:].reshape(*tokens.shape[:-1], side, side)
    for i in range(0, side, kernel):
        for j in range(0, side, kernel):
            pooled.append(patches[..., i : i + kernel, j : j + kernel].mean((-2, -1)))
    return torch.stack(pooled, dim=-1)


def _patches_only(tokens: Tensor, kernel: int) -> Tensor:
    return _pool(tokens, kernel)[..., 1:]


def _maxima(tokens: Tensor, kernel: int) -> Tensor:
    side = math.isqrt(tokens.shape[-1] - 1)
    cut = tokens[..., 1:].reshape(*tokens.shape[:-1], side, side)
    cut = cut.unfold(-2, kernel, kernel).unfold(-2, kernel, kernel)
    cut = cut.amax((-2, -1)).flatten(-2)
    return torch.cat([tokens[..., :1], cut], dim=-1)


def _in_a_row(tokens: Tensor, kernel: int) -> Tensor:
    runs = tokens[..., 1:].unflatten(-1, (-1, kernel * kernel)).mean(-1)
    return torch.cat([tokens[..., :1], runs], dim=-1)


def _tokens(random: RandomState):
    for side, kernel in ((12, 4), (3, 3), (6, 2)):
        shape = (5, 7, 1 + side * side)
        yield torch.tensor(random.randn(*shape)).float(), kernel


def _attention(similarity: Tensor, mask: Tensor) -> Tensor:
    weights = torch.zeros_like(similarity)
    keys = [0] + [1 + s for s in range(len(mask)) if mask[s]]
    for row, values in zip(weights, similarity):
        total = sum(math.exp(values[key]) for key in keys)
        for key in keys:
            row[key] = math.exp(values[key]) / total
    return weights


def _forbid(similarity: Tensor, forbidden: Tensor) -> Tensor:
    return similarity.masked_fill(forbidden, -math.inf)


def _with_class(mask: Tensor) -> Tensor:
    return torch.cat([torch.ones(1, dtype=torch.bool), mask])


def _similarities(random: RandomState):
    for count in (9, 16, 4):
        mask = torch.tensor(random.rand(count) < 0.5)
        mask[0], mask[1] = True, False
        yield torch.tensor(random.randn(6, 1 + count)).float(), mask


def _labels(fg_prob: Tensor) -> Tensor:
    mean = fg_prob.mean(dim=1)
    labels = torch.zeros(mean.shape[1:], dtype=torch.int64)
    for number, one in enumerate(mean, start=1):
        rivals = torch.cat([mean[: number - 1], mean[number:]])
        wins = torch.ones_like(labels, dtype=torch.bool)
        for rival in rivals:
            wins &= one > rival
        labels[wins & (one >= 0.5)] = number
    return labels


def _label_maps(random: RandomState):
    for way, shot in ((1, 1), (2, 3), (4, 2)):
        yield (torch.tensor(random.rand(way, shot, 6, 7)).float(),)
    yield (torch.full((1, 2, 2, 2), 0.5),)


def _argmax_after(shots: Tensor) -> Tensor:
    best, index = shots.max(0)
    return torch.where(best < 0.5, 0, index + 1)


def _grown(per_channel: int):
    return lambda channels: 366_004 - per_channel * (72 - channels)


EXERCISES = [
    Exercise(
        name="query-pooling",
        task="average the patch tokens in kernel x kernel squares, keep the class token.",
        reference=_pool,
        inputs=_tokens,
        mistakes={
            "the class token is missing: it is never pooled and stays first": (
                _patches_only
            ),
            "the class token comes first, and the pooled patches after it": (
                lambda tokens, kernel: _pool(tokens, kernel).roll(-1, dims=-1)
            ),
            "you take each square's maximum; the paper's pooling is an average": _maxima,
            "you average tokens in a row; lay the patches out as a square map first": (
                _in_a_row
            ),
        },
        praise="That is all that turns 145 support tokens into 10, and 10 into 2.",
    ),
    Exercise(
        name="masked-attention",
        task="return the softmax over the support axis with masked-out patches at 0.",
        reference=_attention,
        inputs=_similarities,
        mistakes={
            "is your softmax over the support axis? Each row should sum to 1": (
                # A closed key is all minus infinity there: its column is NaN.
                lambda s, mask: _forbid(s, ~_with_class(mask)).softmax(0)
            ),
            "the class token must stay open: the mask speaks of patches only": (
                lambda s, mask: _forbid(s, ~_with_class(mask) | _first(mask)).softmax(1)
            ),
            "rows no longer sum to 1: mask before the softmax, not after": (
                lambda s, mask: s.softmax(1) * _with_class(mask)
            ),
            "you set similarities to 0, which is no ban; set them to minus infinity": (
                lambda s, mask: s.masked_fill(~_with_class(mask), 0.0).softmax(1)
            ),
            "the mask is the wrong way round: 1 marks the object, which stays": (
                lambda s, mask: _forbid(s, ~_with_class(~mask)).softmax(1)
            ),
            "you close what is open: minus infinity goes where the mask is 0": (
                lambda s, mask: _forbid(s, _with_class(mask)).softmax(1)
            ),
        },
        praise="With an empty mask all weight goes to the class token, and no NaN.",
    ),
    Exercise(
        name="n-way-label",
        task="return the H x W labels of equation (8), 0 to N, from N x K x H x W.",
        reference=_labels,
        inputs=_label_maps,
        mistakes={
            "nothing is ever background: label 0 where the best is below 0.5": (
                lambda p: p.mean(1).argmax(0) + 1
            ),
            "classes count from 1, because label 0 is the background": (
                lambda p: torch.where(p.mean(1).amax(0) < 0.5, 0, p.mean(1).argmax(0))
            ),
            "you take the best shot; average the probabilities over the shots": (
                lambda p: _argmax_after(p.amax(1))
            ),
            "you look at the first shot alone; average over all of them": (
                lambda p: _argmax_after(p[:, 0])
            ),
            "you average over the classes; the shots are axis 1": (
                lambda p: _argmax_after(p.mean(0))
            ),
            "you cut each shot at 0.5; average the probabilities, then cut": (
                lambda p: _argmax_after((p >= 0.5).float().mean(1))
            ),
            "a pixel at exactly 0.5 is no background: equation (8) has >= there": (
                lambda p: torch.where(
                    p.mean(1).amax(0) > 0.5, p.mean(1).argmax(0) + 1, 0
                )
            ),
        },
        praise="Each class was run on its own; only here do they meet.",
    ),
    Exercise(
        name="learner-size",
        task="return the learner's number of parameters for that many channels.",
        reference=lambda channels: 365_924 + 80 * (channels - 71),
        inputs=lambda random: [(c,) for c in (72, 12, 144, 13)],
        mistakes={
            "the input is also read by the residual branch, 32 weights a channel": (
                _grown(48)
            ),
            "the input is also read by the convolution that gives q, k and v": (
                _grown(32)
            ),
            "layer 1 grows with the channels that come in": _grown(0),
            "only layer 1 depends on the channels; the rest stays as it is": (
                lambda channels: 366_004 * channels // 72
            ),
            "more channels need more parameters, not fewer": _grown(-80),
        },
        praise="Only the two convolutions of layer 1 that read the input change.",
    ),
]


def _first(mask: Tensor) -> Tensor:
    """True at the class token alone."""
    return torch.arange(1 + len(mask)) == 0
