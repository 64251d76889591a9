"""Trials in which a mask enhancer is measured without the fold's held-out classes.

Two things are wanted of an enhancer: support masks of classes that it never saw (in
testing, and asked by themselves), and query masks of classes that it did see (the
learner's targets, asked by a support). For fold f the classes of the next fold, g, are
left out too: the enhancer is taught by the first few images of the rest, and is then
asked about g's classes (new) and about the rest (seen), in training images that no
share of Table 3 gives masks for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.random import RandomState
from torch import Tensor

from cstlib.data.voc import VocDataset
from cstlib.enhancer_pairs import class_ids, first_names, masked_subset, pair_maps
from cstlib.errors import CstlibError
from cstlib.experiment_rows import SHARES
from cstlib.features import Features
from cstlib.worlds import World

DECIDED_AT = 0.05
JUDGES = 200  # rows of each kind, on each fold


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
