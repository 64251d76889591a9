"""Where masks come from: the one place that decides which masks may be seen.

Whatever the learner is told about an episode passes through a `Supervision`: the
presence labels, the target of the segmentation loss, and the support masks that guide
the attention. `make_supervision` chooses it; each kind has a file of its name:

    base.py   what every kind answers
    image.py  masks from attention (equations 9-11), no masks, and controls
    pixel.py  true masks; the only file that asks a dataset for one
    mixed.py  which few images may show their masks; of the others, as image.py

Image-level training must not touch a training mask. Here it cannot: only `TrueMasks`
asks for one. `MixedMasks` asks it for those of the first few images alone, and the
enhancer is taught by these few.
"""

from __future__ import annotations

from collections.abc import Callable

from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.features import Features, open_features
from cstlib.supervision.base import Supervision
from cstlib.supervision.image import (
    ForegroundMasks,
    NoMasks,
    OutputMasks,
    PseudoMasks,
    RandomMasks,
    SupervisedMasks,
)
from cstlib.supervision.mixed import FewMasks, MixedMasks, few_masks
from cstlib.supervision.pixel import TrueMasks, measuring_mask
from cstlib.worlds import World


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


__all__ = [
    "KINDS",
    "SOURCES",
    "SUPERVISIONS",
    "FewMasks",
    "ForegroundMasks",
    "MixedMasks",
    "NoMasks",
    "OutputMasks",
    "PseudoMasks",
    "RandomMasks",
    "SupervisedMasks",
    "Supervision",
    "TrueMasks",
    "check_supervision",
    "default_source",
    "few_masks",
    "make_supervision",
    "measuring_mask",
]
