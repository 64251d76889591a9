"""Exercises on the figures of merit (notebooks 07 and 08)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import RandomState

from cstlib.exercises import Exercise


def _presence_rule(class_prob):
    return torch.tensor([2 * sum(p) > len(p) for p in class_prob.tolist()])


def _class_probs(random: RandomState):
    for way, shot in ((1, 1), (5, 3), (8, 5)):
        yield (torch.from_numpy(random.rand(way, shot)).float(),)
    # One confident shot; two that outvote it; exactly one half, which is absent.
    spread = [[0.9, 0.3, 0.2], [0.6, 0.6, 0.1], [0.1, 0.9, 0.9], [0.5, 0.5, 0.5]]
    yield (torch.tensor(spread),)


def _exact_ratio(predicted, truth):
    right = [all(p == t for p, t in zip(a, b)) for a, b in zip(predicted, truth)]
    return 100 * sum(right) / len(right)


def _bits(random: RandomState):
    for episodes, way in ((8, 1), (40, 2), (25, 5)):
        truth = random.rand(episodes, way) < 0.5
        flip = random.rand(episodes, way) < 0.2
        yield truth ^ flip, truth


def _mean_iou(intersections, unions, classes):
    totals: dict[int, list[float]] = {}
    for i, u, c in zip(intersections, unions, classes):
        pair = totals.setdefault(int(c), [0.0, 0.0])
        pair[0] += float(i)
        pair[1] += float(u)
    return 100 * sum(i / u for i, u in totals.values()) / len(totals)


def _areas(random: RandomState):
    for episodes in (12, 60):
        classes = np.concatenate([[1, 2, 3], random.choice([1, 1, 2, 3], episodes)])
        unions = random.randint(20, 4000, len(classes)).astype(float)
        yield (
            np.floor(unions * random.rand(len(classes)) * classes / 3),
            unions,
            classes,
        )


def _per_class(intersections, unions, classes, function):
    rows = [classes == c for c in np.unique(classes)]
    return 100 * np.mean([function(intersections[r], unions[r]) for r in rows])


def _coupled(fg_prob):
    return torch.tensor([bool((m.flatten() > 0.5).sum() > 0) for m in fg_prob])


def _maps(random: RandomState):
    for way, side in ((2, 6), (5, 8)):
        maps = torch.from_numpy(random.rand(way, side, side)).float()
        maps *= torch.linspace(0.45, 0.95, way)[:, None, None]
        yield (maps,)
    spot = torch.zeros(3, 5, 5)
    spot[1, 3, 2] = 0.9  # a single pixel
    spot[2, 1:] = 0.9  # nearly all
    yield (spot,)


def _iou_without_void(found, truth):
    known = [(f, t) for f, t in zip(found.flatten(), truth.flatten()) if t != 255]
    both = sum(f == 1 and t == 1 for f, t in known)
    either = sum(f == 1 or t == 1 for f, t in known)
    return both / either


def _labels(random: RandomState):
    for side in (6, 10):
        truth = (random.rand(side, side) < 0.4).astype(np.uint8)
        found = np.where(random.rand(side, side) < 0.2, 1 - truth, truth)
        truth[random.rand(side, side) < 0.25] = 255
        yield found, truth


def _iou(found, truth):
    return ((found == 1) & truth).sum() / ((found == 1) | truth).sum()


EXERCISES = [
    Exercise(
        name="presence-rule",
        task="from the probabilities N x K of N classes and K shots return N bool: a "
        "class is present if their mean over the shots is above one half.",
        reference=_presence_rule,
        inputs=_class_probs,
        mistakes={
            "one confident shot is not enough: average over the shots before you cut": (
                lambda p: p.amax(1) > 0.5
            ),
            "you asked that all shots agree: average over the shots before you cut": (
                lambda p: p.amin(1) > 0.5
            ),
            "you let the shots vote; average their probabilities, then cut once": (
                lambda p: (p > 0.5).float().mean(1) > 0.5
            ),
            "exactly one half is not present: the rule says above": (
                lambda p: p.mean(1) >= 0.5
            ),
            "the comparison is the wrong way round": lambda p: p.mean(1) <= 0.5,
            "you averaged over the classes; average over the shots, dimension 1": (
                lambda p: p.mean(0) > 0.5
            ),
        },
        praise="Each class is decided by itself: none, one or all may be present.",
    ),
    Exercise(
        name="exact-ratio",
        task="return the percentage of episodes whose N presence bits are all right.",
        reference=_exact_ratio,
        inputs=_bits,
        mistakes={
            "you count single bits; an episode is right only if all its bits are": (
                lambda p, t: 100 * np.mean(p == t)
            ),
            "you return a share between 0 and 1; the tables give percent": (
                lambda p, t: np.mean((p == t).all(1))
            ),
            "you count an episode as right if any of its bits is": (
                lambda p, t: 100 * np.mean((p == t).any(1))
            ),
        },
        praise="One wrong bit loses the whole episode, so ER falls with the ways.",
    ),
    Exercise(
        name="mean-iou",
        task="sum intersections and unions of each class over all episodes, divide, "
        "and return the mean over the classes in percent.",
        reference=_mean_iou,
        inputs=_areas,
        mistakes={
            "you averaged the IoUs of single episodes; sum areas first, then divide": (
                lambda i, u, c: 100 * np.mean(i / u)
            ),
            "you averaged episodes within each class; sum their areas first": (
                lambda i, u, c: _per_class(i, u, c, lambda a, b: np.mean(a / b))
            ),
            "you pooled all classes; divide class by class, then take the mean": (
                lambda i, u, c: 100 * i.sum() / u.sum()
            ),
            "you return a share between 0 and 1; the tables give percent": (
                lambda i, u, c: (
                    _per_class(i, u, c, lambda a, b: a.sum() / b.sum()) / 100
                )
            ),
        },
        tolerance=1e-3,
        praise="So a large object weighs more than a small one of the same class.",
    ),
    Exercise(
        name="coupled-presence",
        task="from foreground probabilities N x H x W return N bool: a class is "
        "present if any of its pixels is above 0.5.",
        reference=_coupled,
        inputs=_maps,
        mistakes={
            "you averaged over the image; one pixel above 0.5 is enough": (
                lambda m: m.mean((1, 2)) > 0.5
            ),
            "you asked that all pixels be above 0.5; one is enough": (
                lambda m: m.amin((1, 2)) > 0.5
            ),
            "the comparison is the wrong way round": lambda m: m.amax((1, 2)) <= 0.5,
        },
        praise="A single stray pixel now decides about the whole image.",
    ),
    Exercise(
        name="iou-without-void",
        task="return the IoU of label 1 between two H x W maps over the pixels whose "
        "truth is not 255.",
        reference=_iou_without_void,
        inputs=_labels,
        mistakes={
            "void still counts as background: leave these pixels out of the "
            "prediction too": lambda f, t: _iou(f, t == 1),
            "you counted void as foreground": lambda f, t: _iou(f, t > 0),
            "you divided by the true area; divide by the union": lambda f, t: (
                ((f == 1) & (t == 1)).sum() / (t == 1).sum()
            ),
        },
        praise="What is predicted on an unlabelled border no longer costs anything.",
    ),
]
