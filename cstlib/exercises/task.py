"""Exercises on episodes and their figures (notebook 00)."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

from cstlib.exercises import Exercise


def _masks(random: RandomState):
    for support_classes in ((3,), (7, 2), (1, 4, 9)):
        mask = random.choice([0, 5, 255], size=(12, 12))
        for c in support_classes[::2]:
            mask[random.randint(12), random.randint(12)] = c
        yield mask.astype(np.uint8), support_classes
    yield np.array([[2, 2], [0, 7]], dtype=np.uint8), (7, 2, 5)


def _presence(mask, support_classes):
    return [bool((mask == c).any()) for c in support_classes]


def _queries(random: RandomState):
    yield [1, 2, 3, 4, 5], 4
    yield [6, 7, 8], 6
    yield [int(c) for c in random.permutation(20)[:10]], None


def _filled(inputs):
    """Give the last query a class of its own list."""
    for classes, query_class in inputs:
        yield classes, classes[0] if query_class is None else query_class


def _probabilities(classes, query_class):
    rest = 0.5 / (len(classes) - 1)
    return [0.5 if c == query_class else rest for c in classes]


def _predictions(random: RandomState):
    for episodes in (2, 5, 9):
        share = random.rand(episodes)[:, None, None]
        truth = random.rand(episodes, 10, 10) < share
        predicted = truth ^ (random.rand(episodes, 10, 10) < 0.2)
        truth[-1] = False
        yield predicted, truth


def _summed(predicted, truth):
    return (predicted & truth).sum() / (predicted | truth).sum()


def _each(predicted, truth):
    both = (predicted & truth).sum((1, 2))
    return both / np.maximum((predicted | truth).sum((1, 2)), 1)


EXERCISES = [
    Exercise(
        name="presence-bits",
        task="return, for each support class, whether any pixel of the mask has it.",
        reference=_presence,
        inputs=_masks,
        mistakes={
            "the bits follow the order of the support classes, not of their numbers": (
                lambda mask, classes: _presence(mask, sorted(classes))
            ),
            "any pixel counts; yours asks for a share of the image": (
                lambda mask, classes: [bool((mask == c).mean() > 0.01) for c in classes]
            ),
            "one bit for each support class is wanted, not one for the image": (
                lambda mask, classes: [bool(np.isin(mask, classes).any())]
            ),
            "you give the opposite: True means that the class is there": (
                lambda mask, classes: [not bit for bit in _presence(mask, classes)]
            ),
            "a bit is wanted, not the number of pixels: is there any?": (
                lambda mask, classes: [int((mask == c).sum()) for c in classes]
            ),
            "the mask holds class ids, not places: compare with the class itself": (
                lambda mask, classes: _presence(mask, range(1, len(classes) + 1))
            ),
        },
        praise="Presence needs no mask in training: a label file says the same.",
    ),
    Exercise(
        name="class-probabilities",
        task="return one probability for each class, one half for the query's own.",
        reference=_probabilities,
        inputs=lambda random: _filled(_queries(random)),
        mistakes={
            "the other classes share one half among them; is yours a half for each?": (
                lambda classes, query_class: [0.5] * len(classes)
            ),
            "divide the rest by the number of *other* classes, one less than all": (
                lambda classes, query_class: [
                    0.5 if c == query_class else 0.5 / len(classes) for c in classes
                ]
            ),
            "count the other classes in `classes`; `others` from above is fold 0's": (
                lambda classes, query_class: [
                    0.5 if c == query_class else 0.5 / 4 for c in classes
                ]
            ),
            "that is a uniform draw; the query's class comes half of the time": (
                lambda classes, query_class: [1 / len(classes)] * len(classes)
            ),
        },
        praise="That one number makes 'no' the right answer about half of the time.",
    ),
    Exercise(
        name="summed-iou",
        task="sum intersections and unions over all episodes, then divide once.",
        reference=_summed,
        inputs=_predictions,
        mistakes={
            "you average the episodes' IoUs; sum the pixels first, then divide": (
                lambda p, t: _each(p, t).mean()
            ),
            "episodes without the class count too: their predictions join the union": (
                lambda p, t: _summed(p[t.any((1, 2))], t[t.any((1, 2))])
            ),
            "you divide by the truth alone; the union also holds what was invented": (
                lambda p, t: (p & t).sum() / t.sum()
            ),
            "the union counts a pixel that is in both once; a sum of areas, twice": (
                lambda p, t: (p & t).sum() / (p.sum() + t.sum())
            ),
            "this is the share of right pixels: background would count as found": (
                lambda p, t: (p == t).mean()
            ),
        },
        praise="Summing lets a large object weigh as much as it covers.",
    ),
]
