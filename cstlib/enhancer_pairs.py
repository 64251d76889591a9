"""What the mask enhancer learns from: attention maps with true masks (section 3.3).

A pair is an image whose mask is known and a class token that asks it (equation 9): its
own, as for a support's pseudo-mask, or that of another such image of the class, as for
a query's. Nothing but the masks of the given images is read.

The few images also show objects that no mask of the training classes claims: those of
held-out classes, which the masks of a fold call background. An enhancer that believes
this learns to wipe out the very objects that it is for. So pixels that the plain
pseudo-mask takes for an object and that no mask of a training class claims are called
unsure and may be left out of the loss. That needs no knowledge of the held-out classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.features import Features
from cstlib.pseudo_masks import attention_map, binarise, mean_map, upsample

KINDS = ("self", "cross", "both")
TARGETS = ("class", "objects")
UNSURE = ("left out", "background")
# Other images of its class that ask an image.
ASKERS = 3
# As many as the default 100 steps of 16 draw: more of them would never be seen.
MOST_PAIRS = 1600
# Images whose keys are in memory at once while maps are made.
AT_ONCE = 50


@dataclass(frozen=True)
class Pairs:
    """What the enhancer learns from or is measured on, a row for each map.

    Attributes:
        names: the images that are asked. askers: whose class tokens ask.
        classes: of the masks; class 0 stands for all objects of the split's classes.
        maps: P x M x h x w cosines of equation 9.
        masks: P x S x S bool, the truth.
        counted: P x S x S bool, the pixels that the loss looks at.
    """

    names: list[str]
    askers: list[str]
    classes: list[int]
    maps: Tensor
    masks: Tensor
    counted: Tensor


def masked_subset(dataset: VocDataset, fraction: float) -> list[str]:
    """The first images by name, the only ones that may show their masks (section 4).

    Args:
        dataset: a training split. fraction: 0.025, 0.05 and 0.1 in Table 3.

    Returns:
        ``fraction`` of the names, rounded, and at least one; 0 gives none.

    Raises:
        CstlibError: the fraction is not between 0 and 1.
    """
    return first_names(dataset.names, fraction)


def first_names(names: list[str], fraction: float) -> list[str]:
    """The first ``fraction`` of any names in their order, at least one of them.

    Raises:
        CstlibError: the fraction is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise CstlibError(
            f"A fraction of {fraction} of the images is not possible: give one between "
            "0 and 1, like 0.05."
        )
    count = max(1, round(fraction * len(names))) if fraction else 0
    return sorted(names)[:count]


def training_pairs(
    dataset: VocDataset,
    features: Features,
    names: list[str],
    kind: str = "both",
    target: str = "class",
    unsure: str = "left out",
    classes: list[int] | None = None,
) -> Pairs:
    """Maps of these images with true masks; no other mask is read.

    Args:
        kind: "self" asks each image by its own class token, "cross" by those of up to
            `ASKERS` others that are listed under the same class; "both" does both.
            An image that is alone in its class is asked by itself.
        target: "class" makes rows for each class that an image is listed under, with
            that class as the mask; "objects" takes all classes of the split together.
        unsure: whether unsure pixels (see above) are "left out" or "background".
        classes: whose entries and masks are used; by default all of the split.

    Raises:
        CstlibError: no name is on the lists, or a mask is missing or broken.
        ValueError: an option is none of those named above.
    """
    for option, value, choices in (
        ("kind", kind, KINDS),
        ("target", target, TARGETS),
        ("unsure", unsure, UNSURE),
    ):
        if value not in choices:
            raise ValueError(f"{option} is {value!r}, not one of {choices}")
    known = dataset.classes if classes is None else classes
    rows = _rows(dataset, names, known, kind, target)
    if not rows:
        raise CstlibError(
            "The enhancer needs at least one image with a mask: give a larger fraction."
        )
    ids = {name: class_ids(dataset, name) for name in sorted({n for n, _, _ in rows})}
    objects = {
        name: torch.isin(mask, torch.tensor(known)) for name, mask in ids.items()
    }
    masks = torch.stack([ids[n] == c if c else objects[n] for n, _, c in rows])
    asked, askers = [n for n, _, _ in rows], [asker for _, asker, _ in rows]
    maps = pair_maps(features, asked, askers)
    counted = torch.ones_like(masks)
    if unsure == "left out":
        plain = upsample(maps.mean(1), tuple(masks.shape[1:]))
        claimed = torch.stack([objects[name] for name in asked])
        counted = claimed | ~binarise(plain, features.threshold).cpu()
    device = features.device
    classes = [c for _, _, c in rows]
    return Pairs(asked, askers, classes, maps, masks.to(device), counted.to(device))


def self_pairs(
    dataset: VocDataset, features: Features, names: list[str], target: str = "class"
) -> Pairs:
    """Images asked by their own class tokens, all pixels counted: to measure on.

    Arguments and errors are those of `training_pairs`.
    """
    return training_pairs(dataset, features, names, "self", target, "background")


def pair_maps(features: Features, asked: list[str], askers: list[str]) -> Tensor:
    """Equation (9) of each image by its asker, on the patch grid: P x M x h x w."""
    parts = [
        head_maps(
            features.attention(asked[start : start + AT_ONCE]),
            features.attention(askers[start : start + AT_ONCE]),
        )
        for start in range(0, len(asked), AT_ONCE)
    ]
    return torch.cat(parts)


def head_maps(image_tokens: Tokens, support_tokens: Tokens) -> Tensor:
    """Equation (9), one map a head, on the patch grid: B x M x h x w."""
    attention = attention_map(image_tokens, support_tokens)  # B x M x N
    return attention.unflatten(2, image_tokens.grids[-1])


def plain_masks(maps: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Equations (10) and (11) on maps that are already there: B x H x W bool."""
    mean = mean_map(maps.flatten(2), (maps.shape[2], maps.shape[3]))
    return binarise(upsample(mean, size), threshold)


def class_ids(dataset: VocDataset, name: str) -> Tensor:
    """An image's true class ids, S x S uint8, by nearest neighbour."""
    ids = torch.from_numpy(dataset.mask(name))[None, None]
    return F.interpolate(ids, (dataset.image_size, dataset.image_size))[0, 0]


Row = tuple[str, str, int]  # who is asked, by whom, for which class (0: all objects)


def _rows(
    dataset: VocDataset, names: list[str], known: list[int], kind: str, target: str
) -> list[Row]:
    wanted = set(names)
    of_class: dict[int, list[str]] = {}
    entries = sorted((n, c) for n, c in dataset.entries if n in wanted and c in known)
    for name, c in entries:
        of_class.setdefault(c, []).append(name)
    rows: list[Row] = []
    for name, c in entries:
        others, place = of_class[c], of_class[c].index(name)
        # The next ones in the list, going round; all classes may serve as askers.
        turn = others[place + 1 :] + others[:place]
        askers = [] if kind == "self" else turn[:ASKERS]
        if kind != "cross" or not askers:
            askers = [name, *askers]
        rows += [(name, asker, c if target == "class" else 0) for asker in askers]
    rows = sorted(set(rows))
    every = -(-len(rows) // MOST_PAIRS) or 1
    return rows[::every]
