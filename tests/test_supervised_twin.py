"""The class-supervised twin: it learns labels, and its file loads by its name."""

from __future__ import annotations

import json

import torch

from cstlib import supervised_twin as twin
from cstlib.backbones import load_backbone
from cstlib.data.mini import CLASS_NAMES, render
from cstlib.pretraining import PretrainConfig


def test_labels_are_those_of_the_same_drawings():
    labels = twin.image_labels(3, seed=0)
    assert labels.shape == (3, len(CLASS_NAMES))
    for index, row in enumerate(labels):
        drawn = render(0, index, "pretrain").classes
        assert (row.nonzero().flatten() + 1).tolist() == list(drawn)


def test_twin_trains_and_ships_like_the_others(tmp_path, monkeypatch):
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8, 3, 96, 96), generator=random).byte()
    labels = torch.zeros(8, 20)
    labels[:, 4] = 1
    figures = {
        "threshold": 0.3,
        "cross_threshold": 0.47,
        "output_cross_threshold": 0.6,
    }

    class Measures:
        def __init__(self, world) -> None: ...

        def measure(self, backbone) -> dict:
            return figures

    monkeypatch.setattr(twin, "pretraining_images", lambda *_: pixels)
    monkeypatch.setattr(twin, "image_labels", lambda *_: labels)
    monkeypatch.setattr(twin, "Prober", Measures)
    monkeypatch.setattr(twin, "load_world", lambda _: None)
    config = PretrainConfig(images=8, steps=3, batch=4, lr=1e-3)
    path = twin.train_twin(config, tmp_path, "python -m cstlib pretrain --supervised")
    notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert path.name == "supervised-mini.safetensors" and notes["images_seen"] == 12
    backbone = load_backbone("supervised-mini", path)
    assert (backbone.threshold, backbone.output_threshold) == (0.47, 0.6)
    again = twin.train_twin(config, tmp_path / "again", "")
    assert path.read_bytes() == again.read_bytes()
