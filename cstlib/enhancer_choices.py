"""The open choices of mixed supervision, decided on training classes (section 3.3).

One choice is varied at a time, around the defaults of `EnhancerSettings`, and measured
in a trial that leaves the held-out classes out (`cstlib.enhancer_trial`). The decision
reads masks of training images beyond the few; it was made once for the course, and no
training run repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cstlib.data.voc import VocDataset
from cstlib.enhancer import (
    CUT,
    EnhancerSettings,
    MaskEnhancer,
    finer,
    fit_enhancer,
    new_enhancer,
    pooled_iou,
    probabilities,
    trained_enhancer,
)
from cstlib.enhancer_pairs import (
    Pairs,
    class_ids,
    masked_subset,
    plain_masks,
    self_pairs,
    training_pairs,
)
from cstlib.enhancer_trial import SHARES, Trial, open_trial
from cstlib.features import Features
from cstlib.worlds import World

CUTS = (0.2, 0.3, 0.4, 0.5, 0.6)
# A choice stands unless another beats it by more than so much, in mean IoU.
MARGIN = 0.01


@dataclass(frozen=True)
class Variant:
    """One alternative of one open choice.

    Attributes:
        question: what is open. name: the alternative.
        settings: how it differs from the defaults.
        held_out: "images" leaves out masked images that the label file gives a left-out
            class, "pixels" leaves out just the pixels of such objects. Both know what a
            training run must not: they show what that knowledge would be worth.
    """

    question: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    held_out: str = ""


PAIRS, TARGET = "pairs that it is taught", "what a map is to show"
UNCLAIMED = "attended pixels that no mask of a training class claims"
LOSS, STEPS, TURNS, FINER = "loss", "steps of Adam", "turning", "resolution"
VARIANTS = (
    Variant(PAIRS, "self and cross"),
    Variant(PAIRS, "self", {"kind": "self"}),
    Variant(PAIRS, "cross", {"kind": "cross"}),
    Variant(TARGET, "the class"),
    Variant(TARGET, "all objects", {"target": "objects"}),
    Variant(UNCLAIMED, "left out of the loss"),
    Variant(UNCLAIMED, "background", {"unsure": "background"}),
    Variant(
        UNCLAIMED,
        "background; images with a left-out class not used",
        {"unsure": "background"},
        "images",
    ),
    Variant(
        UNCLAIMED,
        "background; objects of left-out classes not counted",
        {"unsure": "background"},
        "pixels",
    ),
    Variant(LOSS, "cross-entropy"),
    Variant(LOSS, "cross-entropy and Dice", {"dice": 1.0}),
    Variant(STEPS, "100"),
    Variant(STEPS, "30", {"steps": 30}),
    Variant(STEPS, "300", {"steps": 300}),
    Variant(TURNS, "quarters and mirror images"),
    Variant(TURNS, "none", {"turns": False}),
    Variant(FINER, "the tokens'"),
    Variant(FINER, "twice as fine", {"finer": 2}),
)


def taught(
    trial: Trial, features: Features, variant: Variant, seed: int = 0
) -> MaskEnhancer:
    """An enhancer of this variant, from the trial's few masks."""
    settings = replace(EnhancerSettings(), **variant.settings)
    names = trial.names
    hidden = [c for c in _all_classes(trial.dataset) if c not in trial.known]
    if variant.held_out == "images":
        labels = trial.dataset.present_classes
        names = [name for name in names if not labels(name) & set(hidden)]
    pairs = training_pairs(
        trial.dataset,
        features,
        names,
        settings.kind,
        settings.target,
        settings.unsure,
        trial.known,
    )
    if variant.held_out == "pixels":
        pairs = replace(pairs, counted=_without(trial.dataset, pairs, hidden))
    enhancer = new_enhancer(features.heads, seed).to(features.device)
    for _ in fit_enhancer(enhancer, pairs, settings=settings, seed=seed):
        pass
    return enhancer


def _all_classes(dataset: VocDataset) -> list[int]:
    return sorted(c for fold in dataset.folds for c in fold)


def _without(dataset: VocDataset, pairs: Pairs, hidden: list[int]) -> Tensor:
    ids = {name: class_ids(dataset, name) for name in set(pairs.names)}
    shown = torch.stack(
        [torch.isin(ids[name], torch.tensor(hidden)) for name in pairs.names]
    )
    return ~shown.to(pairs.counted.device)


def measured(
    trial: Trial, features: Features, variant: Variant, seed: int = 0
) -> dict[str, list[float]]:
    """IoU of "new" and "seen" rows at each of `CUTS`, fractions."""
    enhancer = taught(trial, features, variant, seed)
    factor = replace(EnhancerSettings(), **variant.settings).finer
    found = {}
    for key, judges in (("new", trial.new), ("seen", trial.seen)):
        size = (judges.truth.shape[1], judges.truth.shape[2])
        maps = finer(judges.maps, factor)
        chance = probabilities(enhancer, maps, size)
        found[key] = [pooled_iou(chance > cut, judges.truth) for cut in CUTS]
    return found


def plain(trial: Trial, features: Features) -> dict[str, float]:
    """The same for the plain pseudo-masks at the backbone's own threshold."""
    found = {}
    for key, judges in (("new", trial.new), ("seen", trial.seen)):
        size = (judges.truth.shape[1], judges.truth.shape[2])
        masks = plain_masks(judges.maps, size, features.threshold)
        found[key] = pooled_iou(masks, judges.truth)
    return found


def decide(
    world: World,
    features: Features,
    folds: Sequence[int],
    seed: int = 0,
    variants: Sequence[Variant] = VARIANTS,
) -> Iterator[dict[str, Any]]:
    """Measure all variants on each fold, a plain row for each as it is done.

    A variant that equals the defaults is trained once a fold.
    """
    for fold in folds:
        trial = open_trial(world, features, fold)
        yield {"fold": fold, "question": "", "name": "plain", **plain(trial, features)}
        known: dict[str, dict] = {}
        for variant in variants:
            key = repr((sorted(variant.settings.items()), variant.held_out))
            if key not in known:
                known[key] = measured(trial, features, variant, seed)
            row: dict[str, Any] = {"question": variant.question, "name": variant.name}
            row["chosen"] = not variant.settings and not variant.held_out
            row["allowed"] = not variant.held_out
            yield {"fold": fold, **row, **known[key]}


def final(
    world: World, features: Features, folds: Sequence[int], seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Support masks of the held-out classes before and after, as testing has them.

    Measured after the choice, on the validation images, a row a fold and share.
    """
    for fold in folds:
        train_set, held_out = world.dataset(fold, "trn"), world.dataset(fold, "val")
        rows = self_pairs(held_out, features, held_out.names)
        size = (rows.masks.shape[1], rows.masks.shape[2])
        before = plain_masks(rows.maps, size, features.threshold)
        for share in SHARES:
            names = masked_subset(train_set, share)
            enhancer = trained_enhancer(train_set, features, names, seed)
            after = probabilities(enhancer, rows.maps, size) > CUT
            yield {
                "fold": fold,
                "share": share,
                "images": len(names),
                "whole": pooled_iou(torch.ones_like(before), rows.masks),
                "before": pooled_iou(before, rows.masks),
                "after": pooled_iou(after, rows.masks),
            }
