"""Learners by name, and what they are compared with.

A learner is a `cstlib.learner.Learner` made for a number of channels, as
`cstlib.cst.CST` is. It sees correlations and a support mask (a prototype method: tokens
and a support mask), never an image, and brings its own loss and its own way from N x K
answers to one. To add one, write such a class in a file here, and add an entry below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cstlib.baselines.asnet import ASNet
from cstlib.baselines.coupled import CoupledCST
from cstlib.baselines.hsnet import HSNet
from cstlib.baselines.panet import PANet
from cstlib.checkpoints import (
    load_authors_checkpoint,
    load_checkpoint,
    load_learner_weights,
)
from cstlib.cst import CST
from cstlib.enhancer import MaskEnhancer
from cstlib.errors import CstlibError
from cstlib.features import Features
from cstlib.learner import Learner

LEARNERS: dict[str, type[Learner]] = {
    "cst": CST,
    "cst-coupled": CoupledCST,
    "hsnet": HSNet,
    "asnet": ASNet,
    "panet": PANet,
}


def make_learner(name: str, in_channels: int, heads: int = 0) -> Learner:
    """A new learner with random weights.

    Args:
        in_channels: as `input_channels` says.
        heads: of its correlations: 0 for the backbone's own, 1 for a single one.

    Raises:
        CstlibError: there is no learner of that name.
    """
    learner = learner_kind(name)(in_channels)
    learner.heads = heads
    return learner


def input_channels(name: str, features: Features, heads: int = 0) -> int:
    """The channels that a learner of that name gets from a backbone's features.

    Raises:
        CstlibError: there is no learner of that name, or its heads do not fit.
    """
    return learner_kind(name).channels(features, heads)


def learner_kind(name: str) -> type[Learner]:
    """The class of that name.

    Raises:
        CstlibError: there is none.
    """
    if name not in LEARNERS:
        raise CstlibError(
            f"There is no learner {name!r}: choose one of {', '.join(LEARNERS)}."
        )
    return LEARNERS[name]


@dataclass(frozen=True)
class SavedLearner:
    """A learner from a file, and the configuration that it was trained with.

    ``config`` holds the fields of `cstlib.config.TrainConfig`; it is empty for a file
    of the authors. ``details`` holds what else the file says, such as ``episode``.
    """

    path: Path
    learner: Learner
    in_channels: int
    config: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def for_channels(self, channels: int, backbone: str) -> Learner:
        """The learner, if it was made for this backbone's L times M channels.

        Raises:
            CstlibError: it was not.
        """
        if channels != self.in_channels:
            raise CstlibError(
                f"The learner in {self.path} takes {self.in_channels} correlation "
                f"channels, but backbone {backbone} gives {channels}: choose the "
                "backbone that it was trained with."
            )
        return self.learner

    def enhancer(self, heads: int, device: str | torch.device) -> MaskEnhancer | None:
        """The mask enhancer of a run under mixed supervision; None if it has none.

        Raises:
            CstlibError: it was made for another number of heads.
        """
        if not (weights := self.details.get("enhancer")):
            return None
        enhancer = MaskEnhancer(heads)
        load_learner_weights(enhancer, weights, self.path)
        return enhancer.to(device).eval()

    def for_features(self, features: Features) -> Learner:
        """The learner, if it was made for these features.

        Raises:
            CstlibError: it was not.
        """
        channels = self.learner.channels(features, self.learner.heads)
        return self.for_channels(channels, features.name)


def load_learner(path: str | Path) -> SavedLearner:
    """A trained learner from a checkpoint of this package, or from one of the authors'.

    Raises:
        CstlibError: the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix == ".ckpt":  # Lightning's
        theirs = load_authors_checkpoint(path)
        return SavedLearner(path, theirs, theirs.in_channels)
    content = load_checkpoint(path)
    try:
        config = content.pop("config")
        channels, weights = content.pop("in_channels"), content.pop("learner")
    except KeyError as error:
        raise CstlibError(
            f"{path} has no {error.args[0]}: pass the best.pt of a training run."
        ) from error
    kind, heads = config.get("learner", "cst"), config.get("heads", 0)
    learner = make_learner(kind, channels, heads)
    load_learner_weights(learner, weights, path)
    return SavedLearner(path, learner.eval(), channels, config, content)
