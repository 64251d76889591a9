"""The weights that come with the package: whole, small, and of this miniature."""

from __future__ import annotations

import json

from cstlib import files
from cstlib.backbones import load_backbone
from cstlib.data.mini import RENDERER_VERSION
from cstlib.paths import WEIGHTS


def test_dino_mini_is_whole_and_belongs_to_this_world():
    path = WEIGHTS / "dino-mini.safetensors"
    notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert files.sha256(path) == notes["sha256"]
    assert path.stat().st_size < 12e6
    assert notes["renderer_version"] == RENDERER_VERSION
    assert notes["command"].startswith("python -m cstlib pretrain ")
    assert load_backbone("dino-mini").threshold == notes["threshold"]


def test_dino_mini_knows_classes():
    """Far above chance (5%) and above what colour tells (about a third)."""
    notes = json.loads((WEIGHTS / "dino-mini.json").read_text(encoding="utf-8"))
    assert notes["probe"][-1]["nearest_neighbour"] > 0.6
    assert notes["probe"][-1]["matching_auc"] > 0.8
