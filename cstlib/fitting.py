"""The training loop on frozen features, step by step (section 4 of the CST paper).

A `Run` holds everything that changes while a `TrainConfig` is being trained; `fit`
advances it and yields a small record after each batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib import distributed
from cstlib.baselines import input_channels, make_learner
from cstlib.checkpoints import load_learner_weights
from cstlib.config import TrainConfig
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.evaluation import (
    evaluate,
    forward_pairs,
    pairs_at_once,
    protocol_plans,
)
from cstlib.features import Features, open_features
from cstlib.metrics import Meter, Metrics
from cstlib.supervision import FewMasks, few_masks, make_supervision
from cstlib.worlds import World, load_world

# The running figures forget half of what they saw in about 35 batches.
KEEP = 0.98


@dataclass(frozen=True)
class TrainStep:
    """One optimiser step.

    ``episode`` counts the episodes seen so far. ``loss`` is the whole loss of the
    batch, ``clf`` and ``seg`` its two parts. ``er`` and ``miou`` are running figures
    of recent training batches, ``miou`` against the training targets: against
    pseudo-masks under image-level supervision, and NaN where there is no target.
    ``validation`` holds the held-out figures at the steps that end with a validation.
    """

    episode: int
    loss: float
    clf: float
    seg: float
    er: float
    miou: float
    validation: Metrics | None = None


@dataclass
class Best:
    """The weights that the selecting figure likes best so far, on the CPU."""

    episode: int
    metrics: Metrics
    state: dict[str, Tensor]


class Run:
    """One training run: the parts it is made of and how far it has come.

    Args:
        config: what to train.
        world, features: by default what ``config`` names; features are computed on
            first use (half a minute for the miniature).
        device: by default a GPU if there is one.

    Attributes:
        learner, optimizer, features, world: what the names say.
        train_set, held_out: the fold's datasets "trn" and "val".
        supervision, held_out_supervision: what may be seen of each.
        enhancer: of mixed supervision, trained before the learner; else None.
        position: episodes seen so far. best: a `Best`, or None before a validation.

    Raises:
        CstlibError: data or weights are missing or do not fit each other.
    """

    def __init__(
        self,
        config: TrainConfig,
        world: World | None = None,
        features: Features | None = None,
        device: str | torch.device | None = None,
        progress: bool = True,
    ) -> None:
        self.world = world or load_world(config.data)
        if not config.backbone:
            config = replace(config, backbone=self.world.backbone)
        self.config = config
        # The lists first: a fold that does not exist is a quicker answer than tokens.
        self.train_set = self.world.dataset(config.fold, "trn", config.task)
        self.held_out = self.world.dataset(config.fold, "val", config.task)
        protocol_plans(self.held_out, 1, 1, config.lengths.validation_episodes)
        _check_pairs(self.train_set)
        opened = (self.world, config.backbone, device, progress, config.precision)
        self.features = features or distributed.first_before_others(
            lambda: open_features(*opened)
        )
        few = FewMasks()
        if config.supervision == "mixed":
            enhanced = config.mask_source == "enhanced"
            given = (self.train_set, self.features, config.mask_fraction, enhanced)
            few = few_masks(*given, config.seed)
        self.enhancer = few.enhancer
        kind = (config.supervision, config.mask_source, self.world)
        self.supervision = make_supervision(*kind, self.train_set, self.features, few)
        if config.test_masks:
            kind = ("pixel", "true", self.world)
        self.held_out_supervision = make_supervision(
            *kind, self.held_out, self.features, replace(few, names=())
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            channels = input_channels(config.learner, self.features, config.heads)
            learner = make_learner(config.learner, channels, config.heads)
        # The same numbers on every machine, also where their random numbers differ.
        learner.load_state_dict(distributed.from_first(learner.state_dict))
        self.learner = learner.to(self.features.device)
        assert config.learning_rate is not None  # set by the configuration itself
        self.optimizer = torch.optim.Adam(
            self.learner.parameters(), lr=config.learning_rate
        )
        self.meter = Meter(self.train_set.classes)
        self.position = 0
        self.best: Best | None = None

    def step(self, plans: list) -> TrainStep:
        """One optimiser step on a batch of 1-way 1-shot plans.

        The processes of `torchrun` share the batch out, and each share goes through
        the learner in parts that fit the device. Group norm looks at one episode at a
        time, so the summed gradients are the whole batch's. Masks and tokens of a part
        are asked for together, so that no image needs to go through the backbone twice.
        """
        lam = self.config.lam
        assert lam is not None  # set by the configuration itself
        self.learner.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses = torch.zeros(3, device=self.features.device)
        seen, masked = Meter(self.train_set.classes), True
        mine, size = distributed.share(plans), pairs_at_once(self.features)
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            supports = [plan.supports[0][0] for plan in part]
            if self.learner.pooled_supports:
                self.features.expect(supports)
            presence = self.supervision.presence(part)[:, 0]
            target = self.supervision.target_masks(part)
            logits = forward_pairs(
                self.learner,
                self.features,
                [plan.query for plan in part],
                supports,
                self.supervision.support_masks(part),
                self.config.precision,
            )
            loss = self.learner.losses(*logits, presence, target, lam)
            scaled = torch.stack(loss) * len(part) / len(plans)
            self.features.forget_full()  # the backward pass wants the memory
            scaled[0].backward()
            losses += scaled.detach()
            masked = target is not None
            _update_meter(seen, part, *logits, presence, target)
        distributed.add_up_gradients(self.learner, losses)
        self.optimizer.step()
        self.position += len(plans)
        sums = seen.sums()
        distributed.add_up(sums)
        self.meter.forget(KEEP)
        self.meter.add(sums)
        running = self.meter.metrics()
        whole, clf, seg = losses.tolist()
        return TrainStep(
            episode=self.position,
            loss=whole,
            clf=clf,
            seg=seg,
            er=running.exact_ratio,
            miou=running.miou if masked else math.nan,
        )

    def validate(self) -> Metrics:
        """Measure on the first held-out episodes, and keep the weights if they win."""
        metrics = evaluate(
            self.learner,
            self.held_out,
            self.features,
            self.held_out_supervision,
            episodes=self.config.lengths.validation_episodes,
            precision=self.config.precision,
        )
        if self.best is None or self._wins(metrics, self.best.metrics):
            state = {k: v.cpu().clone() for k, v in self.learner.state_dict().items()}
            self.best = Best(self.position, metrics, state)
        return metrics

    def _wins(self, new: Metrics, old: Metrics) -> bool:
        figure = {"miou": "miou", "er": "exact_ratio"}.get(self.config.select_by)
        return figure is None or getattr(new, figure) > getattr(old, figure)

    def state_dict(self) -> dict[str, Any]:
        """All that the run's future depends on: tensors and plain values."""
        best = self.best and {
            "episode": self.best.episode,
            "metrics": self.best.metrics.as_dict(),
            "state": self.best.state,
        }
        return {
            "config": asdict(self.config),
            "in_channels": self.learner.in_channels,
            "position": self.position,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meter": self.meter.state_dict(),
            "rng": torch.get_rng_state(),
            "best": best,
            "enhancer": self.enhancer.state_dict() if self.enhancer else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, to the same numbers."""
        load_learner_weights(self.learner, state["learner"], "the run's last state")
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.meter.load_state_dict(state["meter"])
        torch.set_rng_state(state["rng"].cpu())
        if self.enhancer and (weights := state.get("enhancer")):
            self.enhancer.load_state_dict(weights)
        self.position = state["position"]
        if best := state["best"]:
            metrics = Metrics.from_dict(best["metrics"])
            self.best = Best(best["episode"], metrics, best["state"])


def fit(run: Run) -> Iterator[TrainStep]:
    """Train until ``run.config.episodes``, yielding a `TrainStep` after each batch.

    Stop early by leaving the loop; go on later with another ``fit(run)``. Every
    ``validate_every`` episodes, and at the end, the step carries a validation.

    >>> for step in fit(run):
    ...     print(step.episode, step.loss)
    """
    config = run.config
    episodes, validate_every, _ = config.lengths
    plans = run.train_set.training_plans(episodes, config.seed, run.position)
    while batch := list(islice(plans, config.batch_size)):
        before = run.position // validate_every
        step = run.step(batch)
        done = run.position >= episodes
        if done or run.position // validate_every > before:
            step = replace(step, validation=run.validate())
        yield step


@torch.no_grad()
def _update_meter(meter, plans, class_logits, mask_logits, presence, targets) -> None:
    """Count what the learner said of a training batch, for the running ER and mIoU."""
    if targets is None:
        shape = (len(plans), 1, 1)
        labels = truths = torch.zeros(shape, dtype=torch.uint8)
    else:
        full = F.interpolate(
            mask_logits, targets.shape[1:], mode="bilinear", align_corners=True
        )
        labels = (full[:, 1] > full[:, 0]).cpu()
        truths = targets.cpu()
    present = (class_logits[:, 1] > class_logits[:, 0]).cpu()
    for i, plan in enumerate(plans):
        meter.update(
            labels[i],
            present[i : i + 1],
            truths[i],
            presence[i : i + 1],
            plan.support_classes,
        )


def _check_pairs(dataset: VocDataset) -> None:
    """Raise CstlibError if a class could not give a query and its support image."""
    for c, names in dataset.images_of_class.items():
        if len(set(names)) < 2:
            raise CstlibError(
                f"Class {c} ({dataset.class_names[c]}) has {len(set(names))} training "
                "images where a query and its support need 2: add images of the class "
                "to its list."
            )
