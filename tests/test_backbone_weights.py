"""Weights of backbones from files: how they may be wrapped, and what is no such file."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from numpy.random import RandomState
from safetensors.torch import save_file

from cstlib.backbone_weights import interpolate_position_embedding, random_weights
from cstlib.backbones import BACKBONES, BackboneSpec, load_backbone
from cstlib.errors import CstlibError


@pytest.fixture
def tiny(monkeypatch):
    """An entry like dino-vits8's, but of timm's smallest ViT, at 15 x 15 patches."""
    spec = BackboneSpec("hub", "vit_tiny_patch16_224", 240)
    monkeypatch.setitem(BACKBONES, "tiny", spec)
    with torch.device("meta"):
        vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    return random_weights(vit, 9)


def test_every_way_to_wrap_weights_gives_the_same(tiny, tmp_path):
    images = torch.rand(1, 3, 240, 240)
    with_head = {**tiny, "head.weight": torch.zeros(10, 192)}
    save_file(with_head, tmp_path / "timm.safetensors")
    torch.save(tiny, tmp_path / "dino.pth")
    prefixed = {f"module.backbone.{name}": x for name, x in tiny.items()}
    prefixed["module.head.mlp.0.weight"] = torch.zeros(3, 3)
    torch.save({"teacher": prefixed, "epoch": 300}, tmp_path / "full.pth")
    lightning = {f"backbone.{name}": x for name, x in tiny.items()}
    lightning["learner.linear.0.bias"] = torch.zeros(128)
    torch.save({"state_dict": lightning}, tmp_path / "authors.ckpt")
    first = None
    for name in ("timm.safetensors", "dino.pth", "full.pth", "authors.ckpt"):
        tokens = load_backbone("tiny", tmp_path / name)(images)
        first = first or tokens
        assert torch.equal(tokens.patches[-1], first.patches[-1])
    assert first.grids[0] == (15, 15) and first.attn_k.shape == (1, 3, 226, 64)


def test_a_file_of_another_network_ends_in_one_sentence(tiny, tmp_path):
    path = tmp_path / "tiny.pth"
    torch.save(tiny, path)
    with pytest.raises(CstlibError, match="weights of another network"):
        load_backbone("dino-vits8", path)
    del tiny["norm.bias"]
    torch.save(tiny, path)
    with pytest.raises(CstlibError, match="weights of another network"):
        load_backbone("tiny", path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"certainly no weights"])
def test_a_damaged_file_ends_in_one_sentence(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CstlibError, match="Cannot read weights"):
        load_backbone("dino-vits8", tmp_path / name)


def test_a_missing_file_and_an_unknown_name():
    with pytest.raises(CstlibError, match="no weights file"):
        load_backbone("dino-vits8", "nowhere.pth")
    with pytest.raises(CstlibError, match="No backbone 'dino': choose among dino-mini"):
        load_backbone("dino")


def cubic(t: float) -> float:
    """Keys' kernel with a = -0.75, torch's choice."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def test_position_embeddings_as_dinos_own_code_interpolates_them():
    """Bicubic, no antialiasing, steps of n / (h + 0.1): from the definition."""
    side, h, w = 4, 7, 3
    embedding = torch.from_numpy(RandomState(0).standard_normal((1, 17, 2))).float()
    found = interpolate_position_embedding(embedding, (h, w))
    assert found.shape == (1, 1 + h * w, 2)
    assert torch.equal(found[:, 0], embedding[:, 0])

    def weights(new: int) -> np.ndarray:
        matrix = np.zeros((new, side))
        for i in range(new):
            at = (i + 0.5) * side / (new + 0.1) - 0.5
            for tap in range(math.floor(at) - 1, math.floor(at) + 3):
                matrix[i, min(max(tap, 0), side - 1)] += cubic(at - tap)
        return matrix

    grid = embedding[0, 1:].view(side, side, 2).numpy()
    wanted = np.einsum("ij,kl,jlc->ikc", weights(h), weights(w), grid)
    np.testing.assert_allclose(found[0, 1:].view(h, w, 2), wanted, atol=1e-5)
    assert interpolate_position_embedding(embedding, (4, 4)) is embedding
