"""Frozen features: the backbone never changes, so no token need be computed twice.

What is kept on disk depends on the room that it may take: all tokens of all images, or
the pooled supports and the keys, or nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import sys

import torch

from cstlib.backbones import Backbone
from cstlib.errors import CstlibError
from cstlib.feature_files import backbone_for, listed_images, numbers
from cstlib.feature_store import FeatureStore
from cstlib.live_features import PAIRS, PAIRS_ELSEWHERE, Features, pick_device
from cstlib.pooled_store import PooledStore, key_shapes, pooled_shapes
from cstlib.worlds import World

__all__ = [
    "PAIRS",
    "PAIRS_ELSEWHERE",
    "FeatureStore",
    "Features",
    "PooledStore",
    "add_cache_option",
    "cache_budget",
    "listed_images",
    "open_features",
    "pick_device",
]

BUDGET = "CSTLIB_CACHE_GB"
DEFAULT_GB = 8.0


def open_features(
    world: World,
    backbone: str | Backbone,
    device: str | torch.device | None = None,
    progress: bool = True,
    precision: str = "fp32",
    layers: bool = True,
) -> Features:
    """The features of a world, with as much of them on disk as `cache_budget` allows.

    In this order, whichever fits first: a `FeatureStore` of all tokens; a `PooledStore`
    of pooled supports and keys; one of pooled supports alone; live `Features`. ViT-S/8
    at 400 x 400 pixels makes 25 MB, 3.3 MB and 1.3 MB an image in the first three: for
    the 12,000 of Pascal 300, 39 and 16 GB. Without layers, a `FeatureStore` or live.

    Args:
        backbone: a name or a module. Without layers, as a control that only attends,
            random weights by name come at the world's image size (`at_size`).
        progress: show the making of the table, or say what is kept.
        precision: of the backbone where it runs live; all tokens are made in fp32.
        layers: as for `FeatureStore`.

    Raises:
        CstlibError: backbone and world do not fit, or the cache cannot be written.
    """
    backbone = backbone_for(world, backbone, stand_in=not layers)
    image_of = listed_images(world)
    live = Features(backbone, lambda name: image_of[name](name), device, precision)
    kept = live.row_shapes if layers else key_shapes(live)
    every = 2 * numbers(kept) * len(image_of)
    pooled = 2 * numbers(pooled_shapes(live)) * len(image_of)
    keys = 2 * numbers(key_shapes(live)) * len(image_of)
    budget = cache_budget()
    if every <= budget:
        return FeatureStore(world, backbone, device, progress, layers)
    if not layers:
        _say(
            progress,
            f"no keys of {live.name} are kept on disk, for they need {_gb(every)}: "
            f"--cache-gb or {BUDGET} allows it.",
        )
        return live
    if pooled > budget:
        _say(
            progress,
            f"no features are kept on disk, for pooled supports need {_gb(pooled)} and "
            f"keys {_gb(keys)} more: --cache-gb or {BUDGET} allows it.",
        )
        return live
    both = pooled + keys <= budget
    what, room = ("supports and keys", pooled + keys) if both else ("supports", pooled)
    store = PooledStore(world, backbone, device, precision, keys=both)
    _say(progress, f"pooled {what} are kept in {store.path}, up to {_gb(room)}.")
    return store


def cache_budget() -> float:
    """Bytes that the features of a world and backbone may take on disk.

    ``CSTLIB_CACHE_GB`` if set (10^9 bytes; 0 keeps nothing), else 8 GB.

    Raises:
        CstlibError: the variable is no such number.
    """
    text = os.environ.get(BUDGET) or DEFAULT_GB
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not gigabytes >= 0:
        raise CstlibError(
            f"{BUDGET} is {text!r}, not a number of gigabytes: give 0 or more, like 40."
        )
    return 1e9 * gigabytes


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """The option ``--cache-gb`` of the commands that use features."""
    parser.add_argument(
        "--cache-gb",
        action=_SetBudget,
        default=argparse.SUPPRESS,
        metavar="GB",
        help=f"disk that features may take ({BUDGET}, else {DEFAULT_GB:g}; 0: none)",
    )


class _SetBudget(argparse.Action):
    """Set the variable: it reaches everything that opens features in this process."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        os.environ[BUDGET] = values


def _say(progress: bool, sentence: str) -> None:
    if progress:
        print(f"cstlib: note: {sentence}", file=sys.stderr)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
