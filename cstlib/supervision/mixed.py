"""Mixed supervision (section 3.3): labels of all images, true masks of a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cstlib import distributed
from cstlib.backbones import Tokens
from cstlib.data.voc import VocDataset
from cstlib.enhancer import MaskEnhancer, enhance, new_enhancer, trained_enhancer
from cstlib.enhancer_pairs import masked_subset
from cstlib.features import Features
from cstlib.supervision.base import Plans, support_pairs
from cstlib.supervision.image import PseudoMasks
from cstlib.supervision.pixel import TrueMasks


@dataclass(frozen=True)
class FewMasks:
    """What mixed supervision adds: images with masks, and what was learnt from them.

    Attributes:
        names: of the images whose masks may be seen.
        enhancer: trained on them; None leaves pseudo-masks as they are.
    """

    names: tuple[str, ...] = ()
    enhancer: MaskEnhancer | None = None


def few_masks(
    train_set: VocDataset,
    features: Features,
    fraction: float,
    enhanced: bool,
    seed: int = 0,
) -> FewMasks:
    """The first images by name, and an enhancer that is trained on them, in seconds.

    Of several processes the first trains it for all.

    Args:
        fraction: of the training images, as in `cstlib.enhancer_pairs.masked_subset`.
        enhanced: whether pseudo-masks are to pass through an enhancer.
    """
    names = masked_subset(train_set, fraction)
    if not enhanced:
        return FewMasks(tuple(names))

    def trained() -> dict[str, Tensor]:
        taught = trained_enhancer(train_set, features, names, seed)
        return {name: weights.cpu() for name, weights in taught.state_dict().items()}

    enhancer = new_enhancer(features.heads, seed).to(features.device)
    enhancer.load_state_dict(distributed.from_first(trained))
    return FewMasks(tuple(names), enhancer.eval())


class MixedMasks(PseudoMasks):
    """Mixed supervision (section 3.3): true masks of a few images, else pseudo-masks.

    Each image is judged by itself: a query whose mask is known gets it as its target,
    whatever stands for its support, and the other way round. With an enhancer (rows
    (b) of Table 3) all pseudo-masks pass through it; without (rows (a)) they stay as
    equations 9-11 make them.

    Args:
        masked: names of the training images whose masks may be seen; none in testing.
        enhancer: trained on those images by `cstlib.enhancer.fit_enhancer`, or None.
    """

    kind = "mixed"

    def __init__(
        self,
        dataset: VocDataset,
        features: Features,
        masked: Sequence[str] = (),
        enhancer: MaskEnhancer | None = None,
    ) -> None:
        super().__init__(dataset, features)
        self.source = "enhanced" if enhancer else "dino"
        self.masked = frozenset(masked)
        self.enhancer = enhancer
        self._true = TrueMasks(dataset, features)

    def target_masks(self, plans: Plans) -> Tensor:
        pairs = [(plan.query, plan.support_classes[0]) for plan in plans]
        return self._with_true(super().target_masks(plans), pairs)

    def support_masks(self, plans: Plans) -> Tensor:
        return self._with_true(super().support_masks(plans), support_pairs(plans))

    def _with_true(self, masks: Tensor, pairs: list[tuple[str, int]]) -> Tensor:
        """Put the true masks of those images in place that may show theirs."""
        known = [row for row, (name, _) in enumerate(pairs) if name in self.masked]
        if known:
            masks[known] = self._true.of_class([pairs[row] for row in known])
        return masks

    def _masks(self, images: Tokens, supports: Tokens) -> Tensor:
        if self.enhancer is None:
            return super()._masks(images, supports)
        return enhance(self.enhancer, images, supports, self.size)
