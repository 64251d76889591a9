"""What a backbone's tokens know about the miniature: measured, never trained on.

Pre-training sees pixels only; here its result meets masks and labels. Four questions:
does the class token attend to the objects (`self_iou`), does a support's class token
find its class in another image (`cross_iou`), do class tokens cluster by class
(`nearest_neighbour`), and does matching patch tokens tell presence before anything is
learnt (`matching_auc`)? Beside each stand the controls that need no learning at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cstlib.backbone_weights import load_vit_weights
from cstlib.backbones import BACKBONES, Backbone, Tokens, load_backbone, mini_vit
from cstlib.data.voc import VOID, VocDataset
from cstlib.probe_controls import colour_histogram, pixel_patches, pixel_tokens
from cstlib.probe_figures import (
    THRESHOLDS,
    auc,
    best_threshold,
    foreground,
    matching_auc,
    matching_scores,
    nearest_neighbour,
    overlap,
    soft_map,
)
from cstlib.pseudo_masks import output_tokens
from cstlib.worlds import World, load_world

__all__ = [
    "THRESHOLDS",
    "ProbeImages",
    "Prober",
    "all_folds",
    "auc",
    "backbone_from",
    "best_threshold",
    "class_pairs",
    "colour_histogram",
    "extract",
    "foreground",
    "load_images",
    "matching_auc",
    "matching_scores",
    "nearest_neighbour",
    "overlap",
    "pixel_patches",
    "pixel_tokens",
    "probe_episodes",
    "report",
    "soft_map",
]

# The same network with weights of another origin.
TWINS = ("supervised-mini", "random-mini")


def backbone_from(state: dict[str, Tensor]) -> Backbone:
    """A frozen miniature backbone around weights in memory."""
    vit = mini_vit()
    load_vit_weights(vit, state, origin="the weights in memory")
    return Backbone("weights in memory", vit, BACKBONES["dino-mini"], 0.4)


@dataclass
class ProbeImages:
    """Some images of one split with what a probe may know about them.

    ``pixels`` B x 3 x H x W in [0, 1], ``masks`` B x H x W with class ids and 255.
    """

    names: list[str]
    pixels: Tensor
    masks: Tensor
    single: Tensor  # B: the class of an image that shows one class, else 0

    def __len__(self) -> int:
        return len(self.names)


def load_images(dataset: VocDataset, count: int | None = None) -> ProbeImages:
    """The first ``count`` images of a dataset's split by name, with their masks."""
    names = dataset.names[:count]
    present = [sorted(dataset.present_classes(name)) for name in names]
    return ProbeImages(
        names,
        torch.stack([dataset.image(name) for name in names]),
        torch.stack([torch.from_numpy(dataset.mask(name)).long() for name in names]),
        torch.tensor([ids[0] if len(ids) == 1 else 0 for ids in present]),
    )


@torch.inference_mode()
def extract(backbone: Backbone, pixels: Tensor, batch: int = 50) -> Tokens:
    """Tokens of all images, B x 3 x S x S, in batches."""
    return Tokens.cat(backbone(part) for part in pixels.split(batch))


def class_pairs(images: ProbeImages, dataset: VocDataset, seed: int = 0):
    """For each (image, listed class) another image of that class as its support.

    Returns:
        Indices of queries, indices of supports, classes: three equally long tensors.
    """
    random = np.random.RandomState(seed)
    place = {name: i for i, name in enumerate(images.names)}
    listed: dict[int, list[int]] = {}
    for name, c in dataset.entries:
        if name in place:
            listed.setdefault(c, []).append(place[name])
    rows = []
    for c, members in sorted(listed.items()):
        for query in members:
            others = [m for m in members if m != query]
            if others:
                rows.append((query, others[random.randint(len(others))], c))
    queries, supports, classes = torch.tensor(rows).T
    return queries, supports, classes


def probe_episodes(world: World, images: ProbeImages, count: int = 1000):
    """1-way 1-shot episodes of every fold's held-out classes.

    Returns:
        One (rows of (query, support, class), presence) pair a fold.
    """
    place = {name: i for i, name in enumerate(images.names)}
    folds = []
    for fold in range(world.n_folds):
        dataset = world.dataset(fold, "val")
        plans = [dataset.plan(index) for index in range(count)]
        rows = [
            (place[p.query], place[p.supports[0][0]], p.support_classes[0])
            for p in plans
        ]
        presence = np.array([dataset.presence(p)[0].item() for p in plans])
        folds.append((rows, presence))
    return folds


class Prober:
    """Holds the images once and measures one backbone after the other.

    Thresholds are chosen on training images and then fixed; figures are of
    validation images. Void pixels count neither way.
    """

    def __init__(
        self, world: World, train: int | None = None, episodes: int = 1000
    ) -> None:
        self.world = world
        self.train_set = all_folds(world, "trn")
        self.val_set = all_folds(world, "val")
        self.train = load_images(self.train_set, train)
        self.val = load_images(self.val_set)
        self.folds = probe_episodes(world, self.val, episodes)

    def measure(self, backbone: Backbone, semantics: bool = True) -> dict:
        """All figures of one backbone; without ``semantics`` localisation alone."""
        train, val = (
            extract(backbone, self.train.pixels),
            extract(backbone, self.val.pixels),
        )
        figures = self.localisation(train, val)
        output = self.localisation(output_tokens(train), output_tokens(val))
        for key in ("self_iou", "cross_iou_at_cross_threshold", "cross_threshold"):
            figures[f"output_{key}"] = output[key]
        if semantics:
            figures["nearest_neighbour"] = nearest_neighbour(
                train.cls[-1], self.train.single, val.cls[-1], self.val.single
            )
            by_block = matching_auc(val.patches, self.val.masks, self.folds)
            figures["matching_auc"] = max(by_block)
            figures["matching_auc_by_block"] = [round(value, 4) for value in by_block]
        return {
            k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()
        }

    def localisation(self, train: Tokens, val: Tokens) -> dict:
        """Pseudo-masks with an image's own class token and with a support's.

        Thresholds are the best ones of the training images. A support's map is cut at
        the one of the own maps and, beside it, at one of its own.
        """
        size = tuple(self.val.masks.shape[-2:])
        goal, counted = foreground(self.train.masks)
        threshold = best_threshold(soft_map(train, train, size), goal, counted)
        goal, counted = foreground(self.val.masks)
        ones = torch.ones_like(goal)
        figures: dict = {
            "threshold": threshold,
            "self_iou": overlap(soft_map(val, val, size) > threshold, goal, counted),
            "self_iou_all_foreground": overlap(ones, goal, counted),
        }
        q, s, c = class_pairs(self.train, self.train_set)
        goal = self.train.masks[q] == c[:, None, None]
        counted = self.train.masks[q] != VOID
        best = best_threshold(soft_map(train[q], train[s], size), goal, counted)
        q, s, c = class_pairs(self.val, self.val_set)
        goal = self.val.masks[q] == c[:, None, None]
        counted = self.val.masks[q] != VOID
        maps = soft_map(val[q], val[s], size)
        return figures | {
            "cross_iou": overlap(maps > threshold, goal, counted),
            "cross_threshold": best,
            "cross_iou_at_cross_threshold": overlap(maps > best, goal, counted),
            "cross_iou_all_foreground": overlap(torch.ones_like(goal), goal, counted),
        }

    def controls(self) -> dict:
        """Colour histograms and raw pixel patches in the tokens' place.

        A mean patch is no class token: it may resemble the objects or the ground, so
        of the map and its negative the one counts that is better on validation images.
        """
        train, val = self.train, self.val
        raw = [
            self.localisation(
                pixel_tokens(train.pixels, sign), pixel_tokens(val.pixels, sign)
            )
            for sign in (1.0, -1.0)
        ]
        colours = nearest_neighbour(
            colour_histogram(train.pixels),
            train.single,
            colour_histogram(val.pixels),
            val.single,
        )
        matched = matching_auc([pixel_patches(val.pixels)], val.masks, self.folds)
        figures = {
            "pixel_self_iou": max(row["self_iou"] for row in raw),
            "pixel_cross_iou": max(row["cross_iou"] for row in raw),
            "colour_nearest_neighbour": colours,
            "pixel_matching_auc": matched[0],
        }
        return {key: round(value, 4) for key, value in figures.items()}


def report(weights: str, rivals: Sequence[str] = TWINS) -> str:
    """Measure a backbone by name or a weights file, with its controls, as a table.

    ``rivals`` are measured beside it.
    """
    prober = Prober(load_world("mini"))
    columns: dict[str, dict] = {}
    if weights in BACKBONES:
        columns[weights] = prober.measure(load_backbone(weights))
    else:
        name = Path(weights).stem
        columns[name] = prober.measure(load_backbone("dino-mini", weights))
    for rival in rivals:
        if rival not in columns:
            columns[rival] = prober.measure(load_backbone(rival))
    controls = prober.controls()
    first = next(iter(columns.values()))
    rows = [
        ("pseudo-mask, own class token, IoU", "self_iou", "self_iou_all_foreground"),
        ("pseudo-mask, support's token, IoU", "cross_iou", "cross_iou_all_foreground"),
        ("nearest neighbour's class, accuracy", "nearest_neighbour", "colour"),
        ("matching tells presence, AUC", "matching_auc", "pixels"),
        ("threshold chosen on training images", "threshold", ""),
    ]
    colour, patches = "colour histogram", "raw patches"
    control = {
        "self_iou_all_foreground": f"{controls['pixel_self_iou']:.3f} ({patches})",
        "cross_iou_all_foreground": f"{controls['pixel_cross_iou']:.3f} ({patches})",
        "colour": f"{controls['colour_nearest_neighbour']:.3f} ({colour})",
        "pixels": f"{controls['pixel_matching_auc']:.3f} ({patches})",
        "": "",
    }
    for key in ("self_iou_all_foreground", "cross_iou_all_foreground"):
        control[key] = f"{first[key]:.3f} (all foreground), {control[key]}"
    lines = [
        "| probe | " + " | ".join(columns) + " | control |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for title, key, against in rows:
        values = " | ".join(f"{figures[key]:.3f}" for figures in columns.values())
        lines.append(f"| {title} | {values} | {control[against]} |")
    return "\n".join(lines)


def all_folds(world: World, split: str) -> VocDataset:
    """A split with every class: a probe measures tokens and holds nothing out."""
    parts = [world.dataset(fold, split) for fold in range(world.n_folds)]
    whole = parts[0]
    whole.entries = sorted({entry for part in parts for entry in part.entries})
    whole.names = sorted({name for name, _ in whole.entries})
    return whole
