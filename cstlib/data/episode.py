"""An episode: N classes shown by K support images each, and one query image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EpisodePlan:
    """Which images make an episode: names only, drawn from lists, without a pixel.

    Attributes:
        index: number of the episode.
        query: name of the query image.
        query_class: the class that the query is listed under. It is one of the
            support classes in about half of all 1-way episodes.
        support_classes: the N classes, in the order drawn.
        supports: for each of these classes the names of its K support images.
    """

    index: int
    query: str
    query_class: int
    support_classes: tuple[int, ...]
    supports: tuple[tuple[str, ...], ...]

    @property
    def way(self) -> int:
        """N, the number of support classes."""
        return len(self.support_classes)

    @property
    def shot(self) -> int:
        """K, the number of support images of each class."""
        return len(self.supports[0])


@dataclass(frozen=True)
class Episode:
    """A loaded episode of S x S pixel images (section 3 of the CST paper).

    Attributes:
        plan: the names behind the pixels.
        query_image: 3 x S x S, in [0, 1].
        support_images: N x K x 3 x S x S, in [0, 1].
        presence: N bool, whether the query shows any pixel of each support class.
        query_mask: int64 labels, 1..N in the order of the support classes, 0 for all
            else, 255 for void; S x S in training, the query's own H x W in
            evaluation; None where masks were not asked for.
        support_masks: N x K x S x S bool, True where a support image shows its
            class; None where masks were not asked for.
        original_size: H, W of the query image's file.
    """

    plan: EpisodePlan
    query_image: Tensor
    support_images: Tensor
    presence: Tensor
    query_mask: Tensor | None
    support_masks: Tensor | None
    original_size: tuple[int, int]

    @property
    def way(self) -> int:
        """N, the number of support classes."""
        return self.plan.way

    @property
    def shot(self) -> int:
        """K, the number of support images of each class."""
        return self.plan.shot

    @property
    def query_name(self) -> str:
        """Name of the query image."""
        return self.plan.query

    @property
    def support_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of the support images, N x K."""
        return self.plan.supports

    @property
    def support_classes(self) -> tuple[int, ...]:
        """The N support classes, in the order drawn."""
        return self.plan.support_classes
