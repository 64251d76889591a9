"""Exercises on a practitioner's own pictures (notebook 09)."""

from __future__ import annotations

import torch
from numpy.random import RandomState

from cstlib.exercises import Exercise


def _class_means(values, shots):
    means, start = [], 0
    for count in shots:
        means.append(sum(values[start : start + count]) / count)
        start += count
    return torch.stack(means)


def _of_parts(function):
    return lambda values, shots: torch.stack(
        [function(part) for part in values.split(shots)]
    )


def _all_by_the_first(values, shots):
    k = shots[0]
    rows = [values[n * k : (n + 1) * k] for n in range(len(shots))]
    return torch.stack([row.mean(dim=0) for row in rows])


def _values(random: RandomState):
    # The first class never has more than the others, so that a guess of K also runs.
    for shots in ([1, 3], [2, 2, 5], [1, 4, 2, 3]):
        yield torch.from_numpy(random.rand(sum(shots))).float(), shots


def _cost(threshold, prob, truth, miss, alarm):
    total = 0.0
    for p, there in zip(prob.tolist(), truth.tolist()):
        said = p > threshold
        total += miss * (there and not said) + alarm * (said and not there)
    return total


def _cheapest(prob, truth, thresholds, miss, alarm):
    costs = [_cost(t, prob, truth, miss, alarm) for t in thresholds]
    return thresholds[costs.index(min(costs))]


def _cheapest_from(prob, truth, thresholds, miss, alarm):
    """As if present were what is not below the threshold."""
    below = [t - 1e-6 for t in thresholds]
    best = _cheapest(prob, truth, below, miss, alarm)
    return thresholds[below.index(best)]


def _pictures(random: RandomState):
    for count, miss, alarm in ((60, 5.0, 1.0), (200, 1.0, 8.0), (90, 3.0, 1.0)):
        truth = torch.from_numpy(random.rand(count) < 0.4)
        prob = torch.from_numpy(random.rand(count)).float()
        prob = 0.75 * prob + 0.25 * truth
        yield prob, truth, [t / 20 for t in range(1, 20)], miss, alarm
    # A probability that is itself a candidate, then candidates of equal cost.
    few = [False, True, True]
    yield torch.tensor([0.5, 0.6, 0.9]), torch.tensor(few), [0.25, 0.5, 0.7], 1.0, 1.0
    yield torch.tensor([0.1, 0.8, 0.9]), torch.tensor(few), [0.25, 0.5, 0.75], 1.0, 1.0


def _gated(class_prob, fg_prob):
    """Pixel by pixel: the strongest of the classes that are there."""
    there = [n for n, p in enumerate(class_prob.tolist()) if p > 0.5]
    labels = torch.zeros(fg_prob.shape[1:], dtype=torch.int64)
    for y, x in torch.cartesian_prod(*map(torch.arange, labels.shape)).tolist():
        best, n = max((fg_prob[n, y, x].item(), n) for n in there)
        labels[y, x] = n + 1 if best >= 0.5 else 0
    return labels


def _ungated(class_prob, fg_prob):
    best, winner = fg_prob.max(dim=0)
    return torch.where(best < 0.5, 0, winner + 1)


def _blanked(class_prob, fg_prob):
    labels = _ungated(class_prob, fg_prob)
    for n, there in enumerate(class_prob > 0.5, start=1):
        if not there:
            labels[labels == n] = 0
    return labels


def _renumbered(class_prob, fg_prob):
    return _ungated(class_prob, fg_prob[class_prob > 0.5])


def _never_background(class_prob, fg_prob):
    there = (class_prob > 0.5).float()[:, None, None]
    return (fg_prob * there).argmax(dim=0) + 1


def _weighted(class_prob, fg_prob):
    return _ungated(class_prob, fg_prob * class_prob[:, None, None])


def _claims(random: RandomState):
    for class_prob in ([0.2, 0.9], [0.7, 0.3, 0.6], [0.4, 0.8, 0.1, 0.95]):
        shape = (len(class_prob), 9, 11)
        yield torch.tensor(class_prob), torch.from_numpy(random.rand(*shape)).float()


EXERCISES = [
    Exercise(
        name="uneven-shots",
        task="return the mean of each class's own values; class n has shots[n] of them.",
        reference=_class_means,
        inputs=_values,
        mistakes={
            "you take every class to have as many shots as the first": (
                _all_by_the_first
            ),
            "you let the best shot speak for its class; equation (8) takes the mean": (
                _of_parts(lambda part: part.amax(dim=0))
            ),
            "you give sums: a class with more pictures would always win": (
                _of_parts(lambda part: part.sum(dim=0))
            ),
            "class n begins where the ones before it end: add up their shots": (
                lambda values, shots: torch.stack(
                    [values[n * k : (n + 1) * k].mean() for n, k in enumerate(shots)]
                )
            ),
            "you give one mean over all classes; each class has its own": (
                lambda values, shots: torch.stack([values.mean(dim=0)] * len(shots))
            ),
        },
        praise="So a class with one picture and a class with five are on one scale.",
    ),
    Exercise(
        name="cheapest-threshold",
        task="return the first threshold with the lowest cost of misses and false "
        "alarms; above it a class is called present.",
        reference=_cheapest,
        inputs=_pictures,
        mistakes={
            "you count mistakes; weigh a miss by `miss` and a false alarm by `alarm`": (
                lambda p, t, c, miss, alarm: _cheapest(p, t, c, 1, 1)
            ),
            "the two costs have changed places": (
                lambda p, t, c, miss, alarm: _cheapest(p, t, c, alarm, miss)
            ),
            "you count misses alone, so a low threshold always wins": (
                lambda p, t, c, miss, alarm: _cheapest(p, t, c, miss, 0)
            ),
            "you count false alarms alone, so a high threshold always wins": (
                lambda p, t, c, miss, alarm: _cheapest(p, t, c, 0, alarm)
            ),
            "you call present what lies on the threshold; it takes more than that": (
                _cheapest_from
            ),
            "you give the last of equally cheap thresholds; give the first": (
                lambda p, t, c, miss, alarm: _cheapest(p, t, c[::-1], miss, alarm)
            ),
            "you give the number of the candidate; give the threshold itself": (
                lambda p, t, c, miss, alarm: c.index(_cheapest(p, t, c, miss, alarm))
            ),
            "you give the lowest cost; wanted is the threshold that has it": (
                lambda p, t, c, miss, alarm: min(_cost(x, p, t, miss, alarm) for x in c)
            ),
        },
        praise="Half is what training balanced; your costs may want another cut.",
    ),
    Exercise(
        name="present-labels",
        task="return H x W labels for which only classes with a probability above 0.5 "
        "compete; background where the best of them is below 0.5.",
        reference=_gated,
        inputs=_claims,
        mistakes={
            "an absent class still takes pixels: this is equation (8) as it stands": (
                _ungated
            ),
            "you empty an absent class's pixels after it has won them; let the next "
            "class have them": _blanked,
            "labels are numbers among all classes, not among those that are present": (
                _renumbered
            ),
            "nothing is ever background: label 0 where the best is below 0.5": (
                _never_background
            ),
            "presence decides who competes, and does not scale the pixels": _weighted,
            "classes count from 1, because label 0 is the background": (
                lambda c, fg: (_gated(c, fg) - 1).clamp(min=0)
            ),
        },
        praise="The benchmark does not correct one answer by the other; you may.",
    ),
]
