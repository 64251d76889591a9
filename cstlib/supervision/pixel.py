"""Pixel-level labels: the dataset's own masks, which no other file here asks for.

`TrueMasks` shows them to a learner, `measuring_mask` to those who measure one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.features import Features
from cstlib.supervision.base import Plans, Supervision, support_pairs

# Resized masks kept in memory: all of the miniature's (23 MB), some of Pascal's.
CACHE_BYTES = 256 * 2**20


class TrueMasks(Supervision):
    """Pixel-level labels: the dataset's own masks. Void counts as background."""

    kind, source = "pixel", "true"

    def __init__(self, dataset: VocDataset, features: Features) -> None:
        super().__init__(dataset, features)
        self._ids: dict[str, Tensor] = {}

    def target_masks(self, plans: Plans) -> Tensor:
        return self.of_class([(plan.query, plan.support_classes[0]) for plan in plans])

    def support_masks(self, plans: Plans) -> Tensor:
        return self.of_class(support_pairs(plans))

    def of_class(self, pairs: Sequence[tuple[str, int]]) -> Tensor:
        """Where each of these images shows the class named with it: P x S x S bool."""
        masks = torch.stack([self._class_ids(name) == c for name, c in pairs])
        return masks.to(self.features.device)

    def _class_ids(self, name: str) -> Tensor:
        """The mask at S x S (nearest neighbour), from memory when seen before."""
        if name not in self._ids:
            ids = torch.from_numpy(self.dataset.mask(name))[None, None]
            ids = F.interpolate(ids, size=self.size, mode="nearest")[0, 0]
            if (len(self._ids) + 1) * ids.numel() > CACHE_BYTES:
                self._ids.pop(next(iter(self._ids)))
            self._ids[name] = ids
        return self._ids[name]


def measuring_mask(dataset: VocDataset, plan: EpisodePlan) -> Tensor:
    """The query's true labels, H x W int64 at its original size: only to measure by.

    0 is background, 1..N are the support classes in order, 255 is void.
    """
    return dataset.query_mask(plan)
