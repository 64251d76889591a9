"""Where masks come from: the one place that decides which masks may be seen.

Whatever the learner is told about an episode passes through a `Supervision`: the
presence labels, the target of the segmentation loss, and the support masks that guide
the attention. Image-level training must not touch a training mask; here it cannot,
because only `TrueMasks` ever asks a dataset for one, and `MixedMasks` asks it for those
of the first few images alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.enhancer import MaskEnhancer, enhance
from cstlib.errors import CstlibError
from cstlib.features import Features, open_features
from cstlib.pseudo_masks import output_tokens, pseudo_mask
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
        return self.of_class([(plan.query, plan.support_classes[0]) for plan in plans])

    def support_masks(self, plans: Plans) -> Tensor:
        return self.of_class(_support_pairs(plans))

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
        queries = self._asked([plan.query for plan in plans])
        supports = self._asked(_support_names(plans))
        masks = self._masks(queries, supports)
        return masks & self.presence(plans)[:, :1, None]

    def support_masks(self, plans: Plans) -> Tensor:
        supports = self._asked(_support_names(plans))
        return self._masks(supports, supports)

    @property
    def threshold(self) -> float:
        """Of equation 11; it belongs to the weights."""
        return self.attention.threshold

    def _asked(self, names: list[str]) -> Tokens:
        """Whose class tokens ask and whose patches answer."""
        return self.attention.attention(names)

    def _masks(self, images: Tokens, supports: Tokens) -> Tensor:
        return pseudo_mask(images, supports, self.size, self.threshold)


class RandomMasks(PseudoMasks):
    """A control: the same pseudo-masks, from the attention of an untrained ViT."""

    source = "random"


class SupervisedMasks(PseudoMasks):
    """A control (Table 6): pseudo-masks from a ViT that was taught class labels."""

    source = "supervised"


class OutputMasks(PseudoMasks):
    """An ablation (Table 6): pseudo-masks from the backbone's output tokens."""

    source = "output"

    def _asked(self, names: list[str]) -> Tokens:
        return output_tokens(self.features.tokens(names))

    @property
    def threshold(self) -> float:
        return self.features.output_threshold


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
        return self._with_true(super().support_masks(plans), _support_pairs(plans))

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


@dataclass(frozen=True)
class FewMasks:
    """What mixed supervision adds: images with masks, and what was learnt from them.

    Attributes:
        names: of the images whose masks may be seen.
        enhancer: trained on them; None leaves pseudo-masks as they are.
    """

    names: tuple[str, ...] = ()
    enhancer: MaskEnhancer | None = None


def _other_attention(backbone: str, kind: type[PseudoMasks]):
    """Pseudo-masks from another backbone's attention than the learner's."""

    def make(world, dataset, features, few) -> Supervision:
        attention = open_features(world, backbone, features.device, layers=False)
        return kind(dataset, features, attention)

    return make


# (kind, mask source) -> what makes it of a world, a dataset, features and few masks.
SUPERVISIONS: dict[
    tuple[str, str], Callable[[World, VocDataset, Features, FewMasks], Supervision]
] = {
    ("pixel", "true"): lambda world, data, features, few: TrueMasks(data, features),
    ("image", "dino"): lambda world, data, features, few: PseudoMasks(data, features),
    ("image", "none"): lambda world, data, features, few: NoMasks(data, features),
    ("image", "random"): _other_attention("random-mini", RandomMasks),
    ("image", "supervised"): _other_attention("supervised-mini", SupervisedMasks),
    ("image", "output"): lambda world, data, features, few: OutputMasks(data, features),
    ("image", "foreground"): lambda world, data, features, few: ForegroundMasks(
        data, features
    ),
    ("mixed", "enhanced"): lambda world, data, features, few: MixedMasks(
        data, features, few.names, few.enhancer
    ),
    ("mixed", "dino"): lambda world, data, features, few: MixedMasks(
        data, features, few.names
    ),
}
KINDS = tuple(dict.fromkeys(kind for kind, _ in SUPERVISIONS))
SOURCES = tuple(dict.fromkeys(source for _, source in SUPERVISIONS))


def default_source(kind: str) -> str:
    """The mask source that goes with a kind of supervision if none is named."""
    return next((source for k, source in SUPERVISIONS if k == kind), "")


def check_supervision(kind: str, source: str) -> None:
    """See to it that this kind of supervision and mask source exist.

    Raises:
        CstlibError: they do not, or not together.
    """
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
    few: FewMasks = FewMasks(),
) -> Supervision:
    """The supervision of that kind ("image", "mixed", "pixel") and mask source.

    Args:
        source: by default the one that goes with the kind.
        few: of mixed supervision: the masks that may be seen. In testing its names
            are empty; the enhancer stays.

    Raises:
        CstlibError: there is no such combination, or the enhancer is missing.
    """
    source = source or default_source(kind)
    check_supervision(kind, source)
    if source == "enhanced" and few.enhancer is None:
        raise CstlibError(
            "Enhanced pseudo-masks need a mask enhancer: pass the best.pt of a run with "
            "--supervision mixed, which holds one."
        )
    return SUPERVISIONS[kind, source](world, dataset, features, few)


def measuring_mask(dataset: VocDataset, plan: EpisodePlan) -> Tensor:
    """The query's true labels, H x W int64 at its original size: only to measure by.

    0 is background, 1..N are the support classes in order, 255 is void.
    """
    return dataset.query_mask(plan)


def _support_names(plans: Plans) -> list[str]:
    return [name for name, _ in _support_pairs(plans)]


def _support_pairs(plans: Plans) -> list[tuple[str, int]]:
    """Support images with their classes, in the order of the pairs."""
    return [
        (name, c)
        for plan in plans
        for c, names in zip(plan.support_classes, plan.supports)
        for name in names
    ]
