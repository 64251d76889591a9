"""The open choices of mixed supervision, decided on training classes (section 3.3).

Two things are wanted of an enhancer: support masks of classes that it never saw (in
testing, and asked by themselves), and query masks of classes that it did see (the
learner's targets, asked by a support). Both are measured without the fold's held-out
classes: for fold f the classes of the next fold, g, are left out too, the enhancer is
taught by the first few images of the rest, and is then asked about g's classes (new)
and about the rest (seen), in training images that no share of Table 3 gives masks for.

One choice is varied at a time, around the defaults of `EnhancerSettings`. The decision
reads masks of training images beyond the few; it was made once for the course, and no
training run repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.random import RandomState
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
    first_names,
    masked_subset,
    pair_maps,
    plain_masks,
    self_pairs,
    training_pairs,
)
from cstlib.errors import CstlibError
from cstlib.features import Features
from cstlib.worlds import World

SHARES = (0.025, 0.05, 0.1)  # of the images with masks, as in Table 3
DECIDED_AT = 0.05
CUTS = (0.2, 0.3, 0.4, 0.5, 0.6)
JUDGES = 200  # rows of each kind, on each fold
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


@dataclass(frozen=True)
class Judges:
    """Rows to measure on: per-head maps P x M x h x w and true masks P x S x S."""

    maps: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Trial:
    """Fold f with a second fold's classes left out as well.

    Attributes:
        known: classes that the enhancer may be taught. left_out: g's, "new" to it.
        names: the images that show their masks.
        new, seen: support masks of left-out and query masks of known classes.
    """

    dataset: VocDataset
    known: list[int]
    left_out: list[int]
    names: list[str]
    new: Judges
    seen: Judges


def open_trial(
    world: World, features: Features, fold: int, share: float = DECIDED_AT
) -> Trial:
    """The trial of a fold; the masks of its held-out classes are not in it.

    Raises:
        CstlibError: the world has too few folds or images for it.
    """
    if world.n_folds < 3:
        raise CstlibError(
            f"The world {world.name} has {world.n_folds} folds, but deciding needs a "
            "held-out one, a left-out one and others to learn from: choose a world "
            "with three or more."
        )
    dataset = world.dataset(fold, "trn")
    left_out = list(dataset.folds[(fold + 1) % world.n_folds])
    known = [c for c in dataset.classes if c not in left_out]
    listed = sorted({name for name, c in dataset.entries if c in known})
    unmasked = set(dataset.names) - set(first_names(listed, max(SHARES)))
    unmasked -= set(masked_subset(dataset, max(SHARES)))
    entries = sorted(e for e in dataset.entries if e[0] in unmasked)
    random = RandomState(fold)
    return Trial(
        dataset,
        known,
        left_out,
        first_names(listed, share),
        _judges(dataset, features, entries, left_out, random, cross=False),
        _judges(dataset, features, entries, known, random, cross=True),
    )


def _judges(dataset, features, entries, classes, random, cross: bool) -> Judges:
    """Rows of these classes; with ``cross`` each is asked by another of its class."""
    rows = [entry for entry in entries if entry[1] in classes]
    of_class = {c: [n for n, k in rows if k == c] for c in classes}
    rows = [row for row in rows if len(of_class[row[1]]) > 1]
    if not rows:
        raise CstlibError(
            f"No training image outside the first {max(SHARES):.0%} shows a class of "
            f"fold {dataset.fold}'s trial: take data with more images."
        )
    rows = [rows[i] for i in random.permutation(len(rows))[:JUDGES]]
    asked = askers = [name for name, _ in rows]
    if cross:
        askers = [_other(of_class[c], name, random) for name, c in rows]
    truth = torch.stack([class_ids(dataset, name) == c for name, c in rows])
    return Judges(pair_maps(features, asked, askers), truth.to(features.device))


def _other(names: list[str], name: str, random: RandomState) -> str:
    others = [n for n in names if n != name]
    return others[random.randint(len(others))]


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
