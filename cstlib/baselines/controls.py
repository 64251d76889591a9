"""Predictors that learn nothing: what any learned figure must be compared with.

Each is a function of test episodes for `cstlib.evaluation.measure`. The first two are
controls that the paper lacks; the third is the DINO row of its Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.random import RandomState
from torch import Tensor

from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.evaluation import Predictor
from cstlib.features import Features
from cstlib.learner import Prediction
from cstlib.pseudo_masks import attention_map, mean_map, upsample

Plans = Sequence[EpisodePlan]


def all_foreground(dataset: VocDataset) -> Predictor:
    """Every class is present and every pixel is foreground.

    A pixel can have one label only: of N classes it gets the first, which the
    protocol draws at random.
    """

    def predictor(plans: Plans) -> list[Prediction]:
        return [
            _whole_image(torch.ones(plan.way, dtype=torch.bool), dataset, plan)
            for plan in plans
        ]

    return predictor


def random_presence(dataset: VocDataset, seed: int = 0) -> Predictor:
    """A coin for each class; the first class that wins fills the image.

    An episode's coins depend on ``seed`` and its index alone.
    """

    def predictor(plans: Plans) -> list[Prediction]:
        found = []
        for plan in plans:
            coins = RandomState([seed, plan.index]).rand(plan.way) < 0.5
            found.append(_whole_image(torch.from_numpy(coins), dataset, plan))
        return found

    return predictor


def pseudo_mask_prediction(
    dataset: VocDataset, features: Features, threshold: float | None = None
) -> Predictor:
    """The query's cross pseudo-mask is the prediction (equations 9-11, Table 1, DINO).

    The attention of each support's class token on the query's keys is averaged over
    the K shots and thresholded. It is not gated by presence; a class counts as present
    where its mask has any pixel. Of N classes a pixel gets the one that attends to it
    most (the paper leaves this open).

    Args:
        threshold: the backbone's own by default.
    """
    threshold = features.threshold if threshold is None else threshold

    def predictor(plans: Plans) -> list[Prediction]:
        names = [(p.query, s) for p in plans for row in p.supports for s in row]
        with torch.inference_mode():
            queries = features.attention([query for query, _ in names])
            supports = features.attention([support for _, support in names])
            attention = attention_map(queries, supports)
            maps = mean_map(attention, queries.grids[-1])
            found, start = [], 0
            for plan in plans:
                end = start + plan.way * plan.shot
                full = upsample(maps[start:end], dataset.original_size(plan.query))
                score = (full.unflatten(0, (plan.way, plan.shot)).mean(1) + 1) / 2
                found.append(_largest(score, threshold))
                start = end
        return found

    return predictor


def _largest(score: Tensor, threshold: float) -> Prediction:
    """The class of the highest score above the threshold: N x H x W -> labels."""
    best, winner = score.max(0)
    inside = score > threshold
    return Prediction(
        presence_prob=score.amax((1, 2)).cpu(),
        presence=inside.any(2).any(1).cpu(),
        label=torch.where(best > threshold, winner + 1, 0).cpu(),
    )


def _whole_image(presence: Tensor, dataset: VocDataset, plan: EpisodePlan):
    """One label for all pixels: the first class that is present, or background."""
    label = int(presence.int().argmax()) + 1 if presence.any() else 0
    return Prediction(
        presence_prob=presence.float(),
        presence=presence,
        label=torch.full(dataset.original_size(plan.query), label),
    )
