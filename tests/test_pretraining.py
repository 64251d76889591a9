"""Self-distillation: its parts, that it learns, and that a run can be repeated."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from cstlib import pretraining_run, snapshots
from cstlib.cli import main
from cstlib.data.mini import CLASS_NAMES, build_mini
from cstlib.dino import DinoHead, dino_loss, sinkhorn_knopp
from cstlib.errors import CstlibError
from cstlib.pretraining import PretrainConfig, Pretraining, pretraining_images
from cstlib.pretraining_run import pretrain
from cstlib.probes import Prober
from cstlib.views import ViewSpec, crop, make_view
from cstlib.worlds import World

TINY = PretrainConfig(images=16, steps=4, batch=4, prototypes=8, warmup=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("CSTLIB_DATA", str(tmp_path_factory.mktemp("data")))
    yield pretraining_images(16, 0, progress=False)
    patch.undo()


def test_images_are_pixels_of_their_own_stream(images):
    from cstlib.data.mini import render

    assert images.shape == (16, 3, 96, 96) and images.dtype == torch.uint8
    drawn = render(0, 5, "pretrain").image
    assert (images[5].permute(1, 2, 0).numpy() == drawn).all()
    assert (drawn != render(0, 5, "trn").image).any()


def test_sinkhorn_spreads_images_evenly():
    scores = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)) / 8
    scores[:, 0] += 0.2  # a prototype that all images like best
    plan = sinkhorn_knopp(scores, 0.05, rounds=30)
    torch.testing.assert_close(plan.sum(1), torch.ones(32))
    torch.testing.assert_close(plan.sum(0), torch.full((8,), 4.0), rtol=0.05, atol=0)
    assert (scores / 0.05).softmax(1).sum(0)[0] > 3 * plan.sum(0)[0]


def test_loss_leaves_out_a_view_matched_with_itself():
    random = torch.Generator().manual_seed(1)
    student = [torch.randn(3, 5, generator=random) for _ in range(3)]
    teacher = [torch.randn(3, 5, generator=random).softmax(1) for _ in range(2)]
    pairs = [(0, 1), (0, 2), (1, 0), (1, 2)]
    slow = 0.0
    for j, i in pairs:
        for row in range(3):
            log_p = F.log_softmax(student[i][row] / 0.1, dim=0)
            slow -= sum(teacher[j][row][k] * log_p[k] for k in range(5)) / 3
    loss = dino_loss(student, teacher, 0.1)
    torch.testing.assert_close(loss, slow / len(pairs))


def test_head_scores_are_cosines():
    head = DinoHead(96, 8).eval()
    scores = head(torch.randn(4, 96))
    assert scores.shape == (4, 8) and scores.abs().max() <= 1 + 1e-5


def test_views_are_random_images_of_the_size_asked_for(images):
    batch = images[:4].float() / 255
    spec = ViewSpec(32, (0.2, 0.5), blur=0.5, solarise=0.5)
    one = make_view(batch, spec, torch.Generator().manual_seed(3))
    again = make_view(batch, spec, torch.Generator().manual_seed(3))
    other = make_view(batch, spec, torch.Generator().manual_seed(4))
    assert one.shape == (4, 3, 32, 32) and 0 <= one.min() and one.max() <= 1
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_crops_show_as_much_of_the_image_as_asked_for():
    """On a ramp from left to right, a crop's contrast is the width that it covers."""
    ramp = torch.linspace(0, 1, 96).expand(64, 3, 96, 96)
    for area in (0.15, 0.4):
        spec = ViewSpec(32, (area, area), blur=0.0)
        view = crop(ramp, spec, torch.Generator().manual_seed(0))
        spread = view[:, 0].flatten(1)
        width = spread.amax(1) - spread.amin(1)
        # Ratio, turn and border change a single view, and even out over many.
        assert 0.9 * area**0.5 < width.median() < 1.35 * area**0.5


def test_learns_to_match_views(images):
    """On 16 images the loss falls within a few steps, well below its start."""
    config = PretrainConfig(
        images=16, steps=40, batch=16, prototypes=16, warmup=2, lr=1e-3
    )
    run = Pretraining(config, images)
    losses = [run.advance().loss for _ in range(14)]
    assert sum(losses[-4:]) / 4 < sum(losses[:2]) / 2 - 0.15


def test_teacher_follows_the_student_and_momentum_rises(images):
    run = Pretraining(TINY, images)
    before = run.teacher.blocks[0].mlp.fc1.weight.clone()
    rates = []
    for _ in range(4):
        rates.append(run.momentum())
        run.advance()
    assert rates[0] == pytest.approx(TINY.momentum) and rates == sorted(rates)
    run.step = TINY.steps
    assert run.momentum() == pytest.approx(1.0)
    moved = run.teacher.blocks[0].mlp.fc1.weight - before
    to_student = run.student.blocks[0].mlp.fc1.weight - before
    assert 0 < moved.norm() < to_student.norm()
    assert all(not p.requires_grad for p in run.teacher.parameters())


def test_learning_rate_warms_up_and_falls(images):
    run = Pretraining(PretrainConfig(steps=100, warmup=10), images)
    rates = []
    for run.step in range(101):
        rates.append(run.learning_rate())
    assert rates[0] == pytest.approx(3e-4) and max(rates) == pytest.approx(3e-3)
    assert rates[-1] == pytest.approx(3e-5) and math.isclose(rates[9], 3e-3)


def test_interrupted_run_ends_in_the_same_weights(tmp_path, images, monkeypatch):
    monkeypatch.setattr(pretraining_run, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(pretraining_run, "pretraining_images", lambda *args: images)
    whole = pretrain(TINY, tmp_path / "whole", probe_every=0, progress=False)

    advance, calls = Pretraining.advance, []

    def stopping(self):
        calls.append(self.step)
        if self.step == 3 and calls.count(3) == 1:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Pretraining, "advance", stopping)
    out = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        pretrain(TINY, out, probe_every=0, progress=False)
    with pytest.raises(CstlibError, match="--resume"):
        pretrain(TINY, out, probe_every=0, progress=False)
    parts = pretrain(TINY, out, True, probe_every=0, progress=False)
    assert calls == [0, 1, 2, 3, 2, 3]
    one, two = load_file(whole), load_file(parts)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    notes = json.loads(parts.with_suffix(".json").read_text(encoding="utf-8"))
    assert notes["images_seen"] == 16 and notes["renderer_version"] == 1
    with pytest.raises(CstlibError, match="other settings"):
        other = PretrainConfig(images=16, steps=5, batch=4, prototypes=8, warmup=2)
        pretrain(other, out, True, probe_every=0, progress=False)


def test_maps_are_kept_from_the_start_and_not_twice(tmp_path, images, monkeypatch):
    root = build_mini(tmp_path / "mini", train=80, val=160, progress=False)
    world = World("mini", root, 96, "random-mini", tuple(CLASS_NAMES))
    monkeypatch.setattr(pretraining_run, "load_world", lambda name: world)
    monkeypatch.setattr(pretraining_run, "Prober", partial(Prober, episodes=5))
    monkeypatch.setattr(pretraining_run, "pretraining_images", lambda *args: images)
    weights = pretrain(TINY, tmp_path / "run", probe_every=3, progress=False)
    path = weights.with_name("dino-mini-maps.safetensors")
    kept = snapshots.load(path)
    assert list(kept) == [0, 3, 4] and kept[0].shape == (6, 6, 12, 12)
    assert not torch.equal(kept[0], kept[4]) and kept[4].abs().max() <= 1
    notes = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert [row["step"] for row in notes["probe"]] == [3, 4]
    # A run that was cut off and goes on from step 2 takes the later maps' place.
    snapshots.keep(path, 2, kept[0])
    assert list(snapshots.load(path)) == [0, 2]
    path.write_bytes(b"half")
    with pytest.raises(CstlibError, match="damaged"):
        snapshots.load(path)


def test_bad_calls_end_in_one_sentence(tmp_path, capsys):
    assert main(["pretrain"]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["pretrain", "--out", str(tmp_path), "--resume"]) == 2
    assert "no " in capsys.readouterr().err
    assert main(["pretrain", "--out", str(tmp_path), "--steps", "0"]) == 2
    assert "above 0" in capsys.readouterr().err
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    assert main(["pretrain", "--out", str(tmp_path), "--resume", "--images", "4"]) == 2
    assert "damaged" in capsys.readouterr().err
