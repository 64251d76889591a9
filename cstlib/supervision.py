"""Where masks come from: the one place that decides which masks may be seen.

Whatever the learner is told about an episode passes through a `Supervision`: the
presence labels, the target of the segmentation loss, and the support masks that guide
the attention. Image-level training must not touch a training mask; here it cannot,
because only `TrueMasks` ever asks a dataset for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.features import Features, FeatureStore
from cstlib.pseudo_masks import pseudo_mask
from cstlib.worlds import World

Plans = Sequence[EpisodePlan]

# Resized masks kept in memory: all of the miniature's (23 MB), some of Pascal's.
CACHE_BYTES = 256 * 2**20


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


class TrueMasks(Supervision):
    """Pixel-level labels: the dataset's own masks. Void counts as background."""

    kind, source = "pixel", "true"

    def __init__(self, dataset: VocDataset, features: Features) -> None:
        super().__init__(dataset, features)
        self._ids: dict[str, Tensor] = {}

    def target_masks(self, plans: Plans) -> Tensor:
        return self._stack((plan.query, plan.support_classes[0]) for plan in plans)

    def support_masks(self, plans: Plans) -> Tensor:
        return self._stack(
            (name, c)
            for plan in plans
            for c, names in zip(plan.support_classes, plan.supports)
            for name in names
        )

    def _stack(self, pairs) -> Tensor:
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


class PseudoMasks(Supervision):
    """Image-level labels: masks from the attention of a ViT (equations 9-11).

    The query's mask is made with the support's class token (cross-attention) and is
    empty where the class is absent, as the image-level label says. The support's
    mask is made with its own class token (self-attention) and is never emptied. In
    testing only the support's mask enters the model.

    Args:
        attention: whose queries and keys to use; by default those of ``features``.
    """

    source = "dino"

    def __init__(
        self,
        dataset: VocDataset,
        features: Features,
        attention: Features | None = None,
    ) -> None:
        super().__init__(dataset, features)
        self.attention = attention or features

    def target_masks(self, plans: Plans) -> Tensor:
        queries = self.attention.attention([plan.query for plan in plans])
        supports = self.attention.attention(_support_names(plans))
        masks = self._masks(queries, supports)
        return masks & self.presence(plans)[:, :1, None]

    def support_masks(self, plans: Plans) -> Tensor:
        supports = self.attention.attention(_support_names(plans))
        return self._masks(supports, supports)

    def _masks(self, images, supports) -> Tensor:
        with torch.no_grad():
            threshold = self.attention.threshold
            return pseudo_mask(images, supports, self.size, threshold).bool()


class RandomMasks(PseudoMasks):
    """A control: the same pseudo-masks, from the attention of an untrained ViT."""

    source = "random"


class NoMasks(Supervision):
    """The x rows of the paper: image-level labels and no mask of any kind.

    The attention is not masked; with no target, training averages the segmentation
    map over the image and trains it as a class score.
    """

    source = "none"

    def target_masks(self, plans: Plans) -> None:
        return None

    def support_masks(self, plans: Plans) -> None:
        return None


class ForegroundMasks(Supervision):
    """A control: every pixel of an image that shows the class is taken for it."""

    source = "foreground"

    def target_masks(self, plans: Plans) -> Tensor:
        present = self.presence(plans)[:, :1, None]
        return present.expand(-1, *self.size).clone()

    def support_masks(self, plans: Plans) -> Tensor:
        count = len(_support_names(plans))
        return torch.ones(
            count, *self.size, dtype=torch.bool, device=self.features.device
        )


def _random_masks(world: World, dataset: VocDataset, features: Features) -> Supervision:
    attention = FeatureStore(world, "random-mini", features.device, layers=False)
    return RandomMasks(dataset, features, attention)


# (kind, mask source) -> what makes it of a world, a dataset and features.
SUPERVISIONS: dict[
    tuple[str, str], Callable[[World, VocDataset, Features], Supervision]
] = {
    ("pixel", "true"): lambda world, data, features: TrueMasks(data, features),
    ("image", "dino"): lambda world, data, features: PseudoMasks(data, features),
    ("image", "none"): lambda world, data, features: NoMasks(data, features),
    ("image", "random"): _random_masks,
    ("image", "foreground"): lambda world, data, features: ForegroundMasks(
        data, features
    ),
}
KINDS = tuple(dict.fromkeys(kind for kind, _ in SUPERVISIONS))
SOURCES = tuple(dict.fromkeys(source for _, source in SUPERVISIONS))


def default_source(kind: str) -> str:
    """The mask source that goes with a kind of supervision if none is named."""
    return next((source for k, source in SUPERVISIONS if k == kind), "")


def check_supervision(kind: str, source: str) -> None:
    """Raise CstlibError unless this kind of supervision and mask source exist."""
    if kind not in KINDS:
        raise CstlibError(
            f"There is no supervision {kind!r}: choose one of {', '.join(KINDS)}."
        )
    if (kind, source) not in SUPERVISIONS:
        sources = [s for k, s in SUPERVISIONS if k == kind]
        raise CstlibError(
            f"Supervision {kind} cannot take its masks from {source!r}: choose "
            f"{' or '.join(sources)} as --mask-source, or another --supervision."
        )


def make_supervision(
    kind: str,
    source: str | None,
    world: World,
    dataset: VocDataset,
    features: Features,
) -> Supervision:
    """The supervision of that kind ("image", "pixel") and mask source.

    Raises:
        CstlibError: there is no such combination.
    """
    source = source or default_source(kind)
    check_supervision(kind, source)
    return SUPERVISIONS[kind, source](world, dataset, features)


def measuring_mask(dataset: VocDataset, plan: EpisodePlan) -> Tensor:
    """The query's true labels, H x W int64 at its original size: only to measure by.

    0 is background, 1..N are the support classes in order, 255 is void.
    """
    return dataset.query_mask(plan)


def _support_names(plans: Plans) -> list[str]:
    return [name for plan in plans for names in plan.supports for name in names]
