"""Solutions of notebook 09: uneven shots, the cheapest threshold, present labels."""

from __future__ import annotations

import torch

from cstlib.solutions import Solution

NOTEBOOK = "09_your_own_images"


def uneven_shots(values, shots):
    """P values, P = sum(shots) -> N means, one for each class."""
    return torch.stack([part.mean(dim=0) for part in values.split(shots)])


def cheapest_threshold(prob, truth, thresholds, miss, alarm):
    """M probabilities, M bools, candidates, two costs -> a candidate."""

    def cost(threshold):
        said = prob > threshold
        missed, alarms = (truth & ~said).sum(), (said & ~truth).sum()
        return miss * missed.item() + alarm * alarms.item()

    return min(thresholds, key=cost)


def present_labels(class_prob, fg_prob):
    """N and N x H x W probabilities -> H x W labels 0..N."""
    there = class_prob > 0.5
    rivals = fg_prob.masked_fill(~there[:, None, None], 0.0)
    best, winner = rivals.max(dim=0)
    return torch.where(best < 0.5, 0, winner + 1)


SOLUTIONS = [
    Solution(
        "uneven-shots",
        uneven_shots,
        """\
`split` takes a list of lengths, so nothing has to be equally long. A `view(N, K)` only
works while every class has K pictures, and where it happens to fit it mixes the classes
without a word.""",
    ),
    Solution(
        "cheapest-threshold",
        cheapest_threshold,
        """\
Every candidate is tried on the pictures whose truth is known, and the costs decide.
`min` keeps the first of equals. Choose on other pictures than those that you report on:
a threshold that was fitted to a handful fits that handful best.""",
    ),
    Solution(
        "present-labels",
        present_labels,
        """\
An absent class leaves the race *before* the maximum is taken, so its pixels go to
whoever comes second and keep their chance. A probability of 0 never reaches one half,
so a picture without any class becomes all background by itself.""",
    ),
]
