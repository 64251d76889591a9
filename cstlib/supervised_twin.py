"""The class-supervised twin of DINO-mini, a control for Table 6 of the CST paper.

The same network learns, from the same images, which of the twenty classes each one
shows. As ImageNet's labels include Pascal's classes, these labels include the ones
that the few-shot folds hold out: the twin is a control, not a competitor.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from timm.layers import set_fused_attn
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

from cstlib.backbones import mini_vit
from cstlib.data import mini
from cstlib.pretraining import PretrainConfig, normalised, pretraining_images
from cstlib.pretraining_run import export
from cstlib.probes import Prober, backbone_from
from cstlib.records import describe_device, versions
from cstlib.views import ViewSpec, make_view
from cstlib.worlds import load_world

# Large crops: a label speaks of the whole image, a small crop may miss the object.
VIEW = ViewSpec(size=64, area=(0.6, 1.0), blur=0.2)


def image_labels(count: int, seed: int) -> Tensor:
    """Which classes the pre-training images show: count x 20 float, 0 or 1."""
    labels = torch.zeros(count, len(mini.CLASS_NAMES))
    drawn = mini.scenes(seed, count, "pretrain", what="labels of the same images")
    for index, scene in enumerate(drawn):
        labels[index, [c - 1 for c in scene.classes]] = 1
    return labels


def train_twin(config: PretrainConfig, out: Path, command: str) -> Path:
    """Train the twin with binary cross-entropy on the class token; returns its file.

    Uses the images, seed, steps, batch, learning rate and precision of ``config``.
    """
    set_fused_attn(False)
    images = pretraining_images(config.images, config.seed)
    labels = image_labels(config.images, config.seed)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        vit = mini_vit(multi_size=True)
        head = nn.Linear(vit.num_features, labels.shape[1])
    optimiser = torch.optim.AdamW(
        [*vit.parameters(), *head.parameters()], weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.lr, total_steps=config.steps, pct_start=0.15
    )
    began = time.monotonic()
    bar = tqdm(
        range(config.steps), desc="supervised twin", unit="step", file=sys.stderr
    )
    for step in bar:
        random = Generator().manual_seed(config.seed * 1_000_003 + step)
        chosen = torch.randint(len(images), (config.batch,), generator=random)
        view = normalised(make_view(images[chosen].float() / 255, VIEW, random))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            scores = head(vit(view))
        loss = F.binary_cross_entropy_with_logits(scores.float(), labels[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vit.parameters(), 3.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix_str(f"loss {loss.item():.3f}")
    figures = Prober(load_world("mini")).measure(backbone_from(vit.state_dict()))
    seen = config.steps * config.batch
    notes = {
        "method": "binary cross-entropy on the labels of all twenty classes",
        "threshold": figures["cross_threshold"],
        "output_threshold": figures["output_cross_threshold"],
        "renderer_version": mini.RENDERER_VERSION,
        "command": command,
        "seed": config.seed,
        "images_seen": seen,
        "duration_s": round(time.monotonic() - began),
        "device": describe_device("cpu"),
        "versions": versions(),
        "config": asdict(config),
        "probe": [{"step": config.steps, "images_seen": seen, **figures}],
    }
    weights = out / "supervised-mini.safetensors"
    export(vit, weights, notes)
    return weights
