"""What `bench` measures: the same work done by our path and by the naive one.

Both see the same images, episodes and random weights. Images come from memory, so
that no disk is measured; each step sees images that it has not seen before.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cstlib.backbone_specs import BackboneSpec
from cstlib.backbone_weights import load_vit_weights, random_weights
from cstlib.backbones import Backbone
from cstlib.config import TrainConfig
from cstlib.cst import CST, combine, cst_loss
from cstlib.data.episode import EpisodePlan
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.evaluation import predict
from cstlib.features import Features, pick_device
from cstlib.fitting import Run
from cstlib.learner import Prediction
from cstlib.naive_path import (
    plain_correlation,
    plain_learner,
    plain_pseudo_mask,
    plain_tokens,
)
from cstlib.recent_tokens import RecentTokens
from cstlib.worlds import World

IMAGES = 4  # different ones in memory; names give them out in turn
PATCH = 8


@dataclass(frozen=True)
class Setting:
    """What is done: by default the paper's shapes, one episode at a time.

    Attributes:
        path: "ours", "cached" (ours, with the features of all images in memory) or
            "naive".
        precision: of ours; the naive path is always float32.
        image_size, width, depth, heads: of the images, and of the ViT on 8 x 8 patches.
        batch: of a training step. way, shot: of an evaluated episode.
    """

    path: str = "ours"
    precision: str = "fp32"
    image_size: int = 400
    width: int = 384
    depth: int = 12
    heads: int = 6
    batch: int = 1
    way: int = 1
    shot: int = 1
    learner: str = "cst"
    device: str | None = None


def make_backbone(setting: Setting) -> Backbone:
    """A ViT of the setting's shapes with random weights.

    Raises:
        CstlibError: the shapes do not go together.
    """
    if setting.image_size % PATCH or setting.width % setting.heads:
        raise CstlibError(
            f"A ViT of {setting.image_size} pixels, {setting.width} channels and "
            f"{setting.heads} heads is not possible: give a multiple of {PATCH} pixels "
            "and as many channels as the heads can share."
        )
    with torch.device("meta"):
        vit = VisionTransformer(
            img_size=setting.image_size,
            patch_size=PATCH,
            embed_dim=setting.width,
            depth=setting.depth,
            num_heads=setting.heads,
            num_classes=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
    load_vit_weights(vit, random_weights(vit), "the seed")
    spec = BackboneSpec("seed", "made", setting.image_size)
    return Backbone("made", vit, spec, spec.threshold)


class MadeDataset:
    """Images from memory and episodes without end, in place of a `VocDataset`."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.classes = tuple(range(1, 6))
        self.class_names = {c: f"class {c}" for c in self.classes}
        self.images_of_class = {c: ["a", "b"] for c in self.classes}
        shape = (IMAGES, 3, image_size, image_size)
        self._images = torch.rand(shape, generator=torch.Generator().manual_seed(0))

    def image(self, name: str) -> Tensor:
        """3 x S x S in [0, 1], the same for the same name."""
        return self._images[zlib.crc32(name.encode()) % IMAGES]

    def plan(self, index: int, way: int = 1, shot: int = 1) -> EpisodePlan:
        """An episode whose images no other episode names."""
        supports = tuple(
            tuple(f"support {index} {n} {k}" for k in range(shot)) for n in range(way)
        )
        classes = tuple(range(1, way + 1))
        return EpisodePlan(index, f"query {index}", 1, classes, supports)

    def presence(self, plan: EpisodePlan) -> Tensor:
        """N bool: every other class is there."""
        return torch.tensor([(plan.index + n) % 2 == 0 for n in range(plan.way)])

    def original_size(self, name: str) -> tuple[int, int]:
        """(H, W): images are made at the size they are looked at."""
        return self.image_size, self.image_size


class MadeWorld(World):
    """A world of one `MadeDataset`."""

    def dataset(self, fold: int, split: str, task: str = "fs-cs") -> VocDataset:
        return cast(VocDataset, MadeDataset(self.image_size))


class AllTokens(RecentTokens):
    """Remembers every image: what a run has in memory that has seen them all."""

    def forget_full(self) -> None:
        """Never."""


class OurPath:
    """The package's own training step and prediction, on live or cached features."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.device = pick_device(setting.device)
        world = MadeWorld("made", Path(), setting.image_size, "made", ())
        self.dataset = world.dataset(0, "trn")
        image = self.dataset.image
        self.features = Features(
            make_backbone(setting), image, self.device, setting.precision
        )
        if setting.path == "cached":
            self.features.recent = AllTokens(
                self.features._compute, at_once=1, full=10**6, small=10**15
            )
        config = TrainConfig(
            precision=setting.precision, backbone="made", learner=setting.learner
        )
        self.run = Run(config, world, self.features, self.device, progress=False)
        self.run.learner.eval()

    def prepare(self, index: int) -> None:
        """With cached features, put those of the next step into the cache."""
        if self.setting.path == "cached":
            for plan in [*self._batch(index), self._episode(index)]:
                self.features.tokens([plan.query])
                self.features.support_tokens([s for row in plan.supports for s in row])

    def train_step(self, index: int) -> float:
        """One optimiser step on ``batch`` pairs; the loss."""
        return self.run.step(self._batch(index)).loss

    def evaluate(self, index: int) -> Prediction:
        """Classify and segment one episode's query."""
        return predict(
            self.run.learner.eval(),
            self.dataset,
            self.features,
            self.run.supervision,
            [self._episode(index)],
            self.setting.precision,
        )[0]

    def backbone(self, index: int) -> None:
        """Tokens of ``batch`` images."""
        names = [plan.query for plan in self._batch(index)]
        self.features._compute(names)

    def _batch(self, index: int) -> list[EpisodePlan]:
        first = index * self.setting.batch
        return [self.dataset.plan(first + i) for i in range(self.setting.batch)]

    def _episode(self, index: int) -> EpisodePlan:
        return self.dataset.plan(10**6 + index, self.setting.way, self.setting.shot)


class NaivePath(OurPath):
    """The same steps as in `cstlib.naive_path`, with the same weights."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.learner = cast(CST, self.run.learner)
        self.net = self.features.backbone
        self.size = (setting.image_size,) * 2

    def train_step(self, index: int) -> float:
        plans = self._batch(index)
        run = self.run
        present = torch.cat([self.dataset.presence(plan) for plan in plans])
        present = present.to(self.device)
        query = self._tokens([plan.query for plan in plans])
        support = self._tokens([plan.supports[0][0] for plan in plans])
        target = plain_pseudo_mask(query, support, self.size, self.net.threshold)
        mask = plain_pseudo_mask(support, support, self.size, self.net.threshold)
        run.optimizer.zero_grad(set_to_none=True)
        logits = plain_learner(
            self.learner, plain_correlation(query, support), mask, query.grid
        )
        target = target & present[:, None, None]
        lam = run.config.lam
        assert lam is not None  # set by the configuration itself
        loss, _, _ = cst_loss(*logits, present, target, lam)
        loss.backward()
        run.optimizer.step()
        return float(loss.detach())

    @torch.inference_mode()
    def evaluate(self, index: int) -> Prediction:
        plan = self._episode(index)
        class_prob, fg_prob = [], []
        for name in (name for row in plan.supports for name in row):
            query, support = self._tokens([plan.query]), self._tokens([name])
            mask = plain_pseudo_mask(support, support, self.size, self.net.threshold)
            correlation = plain_correlation(query, support)
            class_logits, maps = plain_learner(
                self.learner, correlation, mask, query.grid
            )
            full = F.interpolate(maps, self.size, mode="bilinear", align_corners=True)
            class_prob.append(class_logits.softmax(1)[:, 1])
            fg_prob.append(full.softmax(1)[:, 1])
        shape = (plan.way, plan.shot)
        return combine(
            torch.cat(class_prob).view(shape),
            torch.cat(fg_prob).view(*shape, *self.size),
        )

    def backbone(self, index: int) -> None:
        self._tokens([plan.query for plan in self._batch(index)])

    def _tokens(self, names: list[str]):
        images = torch.stack([self.dataset.image(name) for name in names])
        return plain_tokens(self.net, images.to(self.device))


def make_path(setting: Setting) -> OurPath:
    """The path that a setting names, with its weights made anew from the seed."""
    return (NaivePath if setting.path == "naive" else OurPath)(setting)
