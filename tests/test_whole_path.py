"""From images to predictions on given weights, against a second, plain spelling."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from made import CLASS_NAMES, made_voc
from plain_cst import made_weights
from plain_vit import made_vit, plain_correlation, plain_mask, plain_prediction
from plain_vit import plain_vit as plain_tokens

from cstlib import files
from cstlib.backbones import BACKBONES, BackboneSpec
from cstlib.checkpoints import load_authors_checkpoint
from cstlib.cli import main
from cstlib.correlation import correlate
from cstlib.data.mini import RENDERER_VERSION
from cstlib.evaluation import forward_pairs, predict
from cstlib.features import Features
from cstlib.pseudo_masks import pseudo_mask
from cstlib.supervision import PseudoMasks
from cstlib.worlds import World

# ViT-Tiny/16, trained at 224 pixels (14 x 14 patches), looking at 96 (6 x 6).
ARCHITECTURE, WIDTH, DEPTH, HEADS = "vit_tiny_patch16_224", 192, 12, 3
SIZE, GRID, THRESHOLD = 96, 6, 0.545
NAME = "tiny-given"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Weights as files, in DINO's and the authors' layouts, and a small world."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSTLIB_DATA", str(home))
        spec = BackboneSpec("hub", ARCHITECTURE, SIZE, THRESHOLD)
        patch.setitem(BACKBONES, NAME, spec)
        vit = made_vit(31, WIDTH, DEPTH, 16, 14)
        (home / "weights").mkdir()
        torch.save(vit, home / "weights" / f"{NAME}.pth")
        learner = made_weights(32, DEPTH * HEADS)
        # Random heads answer alike everywhere: sharper ones make a real test.
        for name in ("decoder2_seg.2", "decoder2_cls.2"):
            learner[f"{name}.weight"] *= 3
        state = {f"learner.{name}": tensor for name, tensor in learner.items()}
        state |= {f"backbone.{name}": tensor for name, tensor in vit.items()}
        checkpoint = home / "fold0.ckpt"
        torch.save({"epoch": 3, "state_dict": state, "callbacks": {}}, checkpoint)
        # Images of another size and shape than the backbone's.
        root = made_voc(home / "mini", 60, (70, 110))
        meta = json.loads((root / "meta.json").read_text(encoding="utf-8"))
        meta["renderer_version"] = RENDERER_VERSION
        files.write_json(root / "meta.json", meta)
        world = World("mini", root, SIZE, NAME, tuple(CLASS_NAMES))
        held_out = world.dataset(0, "val")
        yield SimpleNamespace(
            vit=vit,
            learner=learner,
            checkpoint=checkpoint,
            held_out=held_out,
            features=Features(NAME, held_out.image, "cpu"),
        )


def close(found, wanted):
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=0)


def test_tokens_masks_and_correlations(given):
    plan = given.held_out.plan(3)
    names = plan.query, plan.supports[0][0]
    tokens = [given.features.tokens([name]) for name in names]
    plain = [
        plain_tokens(given.vit, given.held_out.image(name), HEADS) for name in names
    ]
    for found, (layers, _, keys) in zip(tokens, plain):
        for layer in range(DEPTH):
            close(found.cls[layer][0], layers[layer][0])
            close(found.patches[layer][0], layers[layer][1:])
        close(found.attn_k[0], keys)
    close(correlate(*tokens)[0], plain_correlation(*plain, GRID, HEADS))
    shares = []
    for image, asks in ((0, 1), (1, 1), (0, 0), (1, 0)):  # cross- and self-attention
        mask = pseudo_mask(tokens[image], tokens[asks], (SIZE, SIZE), THRESHOLD)
        wanted = plain_mask(plain[image], plain[asks], GRID, SIZE, THRESHOLD)
        assert (mask[0] != wanted).sum() <= 2  # pixels on the threshold itself
        shares.append(wanted.double().mean())
    assert sum(0.02 < share < 0.98 for share in shares) >= 1


@pytest.mark.parametrize("way, shot", [(1, 1), (2, 2)])
def test_the_whole_path(given, way, shot):
    """Backbone, correlation, learner, pseudo-mask, N-way K-shot inference."""
    learner = load_authors_checkpoint(given.checkpoint, DEPTH * HEADS)
    supervision = PseudoMasks(given.held_out, given.features)
    for index in range(2):
        plan = given.held_out.plan(index, way, shot)
        found = predict(learner, given.held_out, given.features, supervision, [plan])[0]
        presence, foreground = plain(given, plan)
        close(found.presence_prob, presence)
        best = foreground.max(0)
        wanted = torch.where(best.values < 0.5, 0, best.indices + 1)
        # Where two answers are as good as each other, either may be given.
        ranked = torch.cat([foreground, torch.full_like(foreground[:1], 0.5)])
        first, second = ranked.topk(2, dim=0).values
        clear = first - second > 2e-4
        assert clear.double().mean() > 0.99
        assert torch.equal(found.label[clear], wanted[clear])
        assert 0.01 < (wanted > 0).double().mean() < 0.99


def test_logits_of_a_pair(given):
    learner = load_authors_checkpoint(given.checkpoint)
    plan = given.held_out.plan(1)
    masks = PseudoMasks(given.held_out, given.features).support_masks([plan])
    with torch.no_grad():
        _, maps = forward_pairs(
            learner, given.features, [plan.query], [plan.supports[0][0]], masks
        )
    _, foreground = plain(given, plan)
    size = given.held_out.original_size(plan.query)
    full = torch.nn.functional.interpolate(
        maps, size, mode="bilinear", align_corners=True
    )
    close(full.softmax(1)[0, 1], foreground[0])


def test_evaluate_takes_the_authors_checkpoint(given, tmp_path, capsys):
    """ER and mIoU of the command, from predictions of the plain spelling."""
    path = tmp_path / "figures.json"
    argv = ["evaluate", "--checkpoint", given.checkpoint, "--backbone", NAME]
    argv += ["--data", "mini", "--fold", 0, "--episodes", 6, "--json", path]
    assert main([str(word) for word in argv]) == 0
    assert "6 episodes, supervision image (dino masks)" in capsys.readouterr().out
    found = json.loads(path.read_text(encoding="utf-8"))["metrics"]["background"]
    right, inter, union = (
        0,
        dict.fromkeys(range(1, 6), 0),
        dict.fromkeys(range(1, 6), 0),
    )
    for index in range(6):
        plan = given.held_out.plan(index)
        presence, foreground = plain(given, plan)
        c = plan.support_classes[0]
        right += (presence[0] > 0.5) == given.held_out.presence(plan)[0]
        truth = torch.from_numpy(given.held_out.mask(plan.query) == c)
        said = foreground[0] >= 0.5
        inter[c] += int((truth & said).sum())
        union[c] += int((truth | said).sum())
    assert found["exact_ratio"] == pytest.approx(float(right) / 6)
    ious = [inter[c] / max(union[c], 1) for c in inter]
    assert 0.005 < sum(ious) / 5 < 0.9
    assert found["miou"] == pytest.approx(sum(ious) / 5, abs=2e-3)


def plain(given, plan):
    """Presence and foreground of an episode, all of it spelled out."""
    image = given.held_out.image
    return plain_prediction(
        given.vit,
        given.learner,
        image(plan.query),
        [[image(name) for name in names] for names in plan.supports],
        given.held_out.original_size(plan.query),
        *(GRID, HEADS, THRESHOLD),
    )
