"""What every kind of supervision answers, and how its answers are numbered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.features import Features

Plans = Sequence[EpisodePlan]


class Supervision:
    """What may be seen of an episode; the parts that differ are in the subclasses.

    Pairs of a query and one support image are numbered episode by episode, class by
    class, shot by shot: with B plans of N ways and K shots, support masks are
    (B N K) x S x S. Training is 1-way 1-shot, where that is B x S x S.

    Args:
        dataset: gives the labels, and the true masks where those may be seen.
        features: gives tokens by image name, for pseudo-masks.
    """

    kind = "image"
    source = ""

    def __init__(self, dataset: VocDataset, features: Features) -> None:
        self.dataset = dataset
        self.features = features
        self.size = (dataset.image_size, dataset.image_size)

    def presence(self, plans: Plans) -> Tensor:
        """B x N bool: the image-level labels, from the label file alone."""
        rows = torch.stack([self.dataset.presence(plan) for plan in plans])
        return rows.to(self.features.device)

    def target_masks(self, plans: Plans) -> Tensor | None:
        """B x S x S bool targets of 1-way 1-shot plans; None if there is no target."""
        raise NotImplementedError

    def support_masks(self, plans: Plans) -> Tensor | None:
        """(B N K) x S x S bool; None if the attention is not masked."""
        raise NotImplementedError


def support_pairs(plans: Plans) -> list[tuple[str, int]]:
    """Support images with their classes, in the order of the pairs."""
    return [
        (name, c)
        for plan in plans
        for c, names in zip(plan.support_classes, plan.supports)
        for name in names
    ]


def support_names(plans: Plans) -> list[str]:
    """The support images alone, in the same order."""
    return [name for name, _ in support_pairs(plans)]
