"""A finished learner at work on held-out episodes: one that ships, or one just trained.

    learner = shipped_for("cst-pixel-mini", world, features)
    learner.predict([learner.held_out.plan(7, way=2, shot=3)])

The notebooks show what such a learner says, sees and scores; everything that a
prediction needs is kept together here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.evaluation import evaluate, predict
from cstlib.features import Features
from cstlib.learner import Learner, Prediction
from cstlib.metrics import Metrics
from cstlib.paths import WEIGHTS
from cstlib.shipped_learners import read_learner
from cstlib.supervision import FewMasks, Supervision, make_supervision
from cstlib.worlds import World

if TYPE_CHECKING:
    from cstlib.fitting import Run


@dataclass(frozen=True)
class FinishedLearner:
    """A learner, the classes that it never trained on, and the masks that it is given.

    Attributes:
        name: for titles.
        learner: in evaluation mode.
        held_out: the fold's dataset "val".
        features: of the learner's backbone.
        supervision: of ``held_out``: where the support masks come from.
        episodes: that it was trained for.
    """

    name: str
    learner: Learner
    held_out: VocDataset
    features: Features
    supervision: Supervision
    episodes: int = 0

    @classmethod
    def of_run(cls, run: Run, name: str) -> FinishedLearner:
        """The learner of a run as it is now."""
        parts = run.held_out, run.features, run.held_out_supervision
        return cls(name, run.learner.eval(), *parts, run.position)

    def predict(self, plans: Sequence[EpisodePlan]) -> list[Prediction]:
        """What it says of N-way K-shot episodes (equation 8), as `evaluation.predict`."""
        parts = self.held_out, self.features, self.supervision
        return predict(self.learner.eval(), *parts, plans)

    def evaluate(self, way: int = 1, shot: int = 1, episodes: int = 1000) -> Metrics:
        """ER, mIoU and FB-IoU on the first test episodes, as `evaluation.evaluate`."""
        parts = self.held_out, self.features, self.supervision
        return evaluate(self.learner, *parts, way, shot, episodes)

    def support_masks(self, plan: EpisodePlan) -> Tensor | None:
        """The masks that it is given: N x K x S x S bool, or None where it gets none."""
        masks = self.supervision.support_masks([plan])
        return None if masks is None else masks.unflatten(0, (plan.way, plan.shot))

    @torch.inference_mode()
    def compared(self, plans: Sequence[EpisodePlan]) -> tuple[Tensor, Tensor | None]:
        """What it is given of 1-way 1-shot plans.

        Returns:
            B x L M x Q x 145 correlations and B x S x S support masks, or None.
        """
        queries = self.features.tokens([plan.query for plan in plans])
        supports = self.features.tokens([plan.supports[0][0] for plan in plans])
        masks = self.supervision.support_masks(plans)
        return self.learner.compare(queries, supports), masks


def shipped_for(
    name: str, world: World, features: Features, fold: int = 0
) -> FinishedLearner | None:
    """The shipped learner of that name, or None where it does not fit.

    It fits where it was trained on this world, with this backbone, and with the classes
    of this fold held out. Elsewhere its answers would mean little, or would be about
    classes that it knows.

    Raises:
        CstlibError: its files are damaged.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        return None
    saved = read_learner(path)
    config = saved.config
    made_for = config.get("data"), config.get("backbone"), config.get("fold")
    if made_for != (world.name, features.name, fold):
        return None
    enhancer = saved.enhancer(features.heads, features.device)
    kind, source = config["supervision"], config["mask_source"]
    if config.get("test_masks"):
        kind, source = "pixel", "true"
    if source == "enhanced" and enhancer is None:
        return None
    held_out = world.dataset(fold, "val")
    few = FewMasks(enhancer=enhancer)
    supervision = make_supervision(kind, source, world, held_out, features, few)
    learner = saved.for_features(features).to(features.device).eval()
    episodes = config.get("episodes", 0)
    return FinishedLearner(name, learner, held_out, features, supervision, episodes)
