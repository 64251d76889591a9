"""Learners by name, and what they are compared with.

A learner is a module made for a number of correlation channels (L times M); its
``forward(correlation, support_mask=None, query_grid=None)`` returns class logits B x 2
and mask logits B x 2 x h x w, as `cstlib.cst.CST` does. To add one, add an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cstlib.checkpoints import (
    load_authors_checkpoint,
    load_checkpoint,
    load_learner_weights,
)
from cstlib.cst import CST
from cstlib.enhancer import MaskEnhancer
from cstlib.errors import CstlibError

LEARNERS: dict[str, Callable[[int], nn.Module]] = {"cst": CST}


def make_learner(name: str, in_channels: int) -> nn.Module:
    """A new learner with random weights.

    Raises:
        CstlibError: there is no learner of that name.
    """
    if name not in LEARNERS:
        raise CstlibError(
            f"There is no learner {name!r}: choose one of {', '.join(LEARNERS)}."
        )
    return LEARNERS[name](in_channels)


@dataclass(frozen=True)
class SavedLearner:
    """A learner from a file, and the configuration that it was trained with.

    ``config`` holds the fields of `cstlib.config.TrainConfig`; it is empty for a file
    of the authors. ``details`` holds what else the file says, such as ``episode``.
    """

    path: Path
    learner: nn.Module
    in_channels: int
    config: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def for_channels(self, channels: int, backbone: str) -> nn.Module:
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


def load_learner(path: str | Path) -> SavedLearner:
    """A trained learner from a checkpoint of this package, or from one of the authors'.

    Raises:
        CstlibError: the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix == ".ckpt":  # Lightning's
        learner = load_authors_checkpoint(path)
        return SavedLearner(path, learner, learner.in_channels)
    content = load_checkpoint(path)
    try:
        config = content.pop("config")
        channels, weights = content.pop("in_channels"), content.pop("learner")
    except KeyError as error:
        raise CstlibError(
            f"{path} has no {error.args[0]}: pass the best.pt of a training run."
        ) from error
    learner = make_learner(config.get("learner", "cst"), channels)
    load_learner_weights(learner, weights, path)
    return SavedLearner(path, learner.eval(), channels, config, content)
