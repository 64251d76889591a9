"""The measured path does what the naive one does, and the command measures both."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from made import is_one_sentence

from cstlib import bench_measure
from cstlib.baselines import LEARNERS
from cstlib.bench_measure import peak_memory, time_in_turns
from cstlib.bench_paths import MadeDataset, Setting, make_path
from cstlib.cli import main
from cstlib.complexity import Complexity, backbone_complexity, learner_complexity
from cstlib.cst import CST
from cstlib.evaluation import forward_pairs
from cstlib.naive_path import plain_learner

SMALL = Setting(image_size=48, width=24, depth=3, heads=2, batch=2)


def test_all_paths_train_to_the_same_losses():
    settings = [replace(SMALL, path=path) for path in ("ours", "cached", "naive")]
    paths = [make_path(setting) for setting in settings]
    losses = torch.zeros(3, 4)
    for step in range(4):
        for i, path in enumerate(paths):
            path.prepare(step)
            losses[i, step] = path.train_step(step)
    assert losses[2].std() > 1e-3, "the steps must differ from each other"
    for ours in losses[:2]:
        torch.testing.assert_close(ours, losses[2], atol=2e-5, rtol=1e-4)


def test_all_paths_predict_the_same():
    settings = [
        replace(SMALL, path=path, way=2, shot=3) for path in ("ours", "cached", "naive")
    ]
    for step in range(2):
        found = []
        for setting in settings:
            path = make_path(setting)
            path.prepare(step)
            found.append(path.evaluate(step))
        for ours in found[:2]:
            torch.testing.assert_close(
                ours.presence_prob, found[2].presence_prob, atol=1e-5, rtol=1e-4
            )
            assert (ours.label == found[2].label).float().mean() > 0.999


def test_bf16_is_close():
    full, half = (make_path(replace(SMALL, precision=p)) for p in ("fp32", "bf16"))
    names = ["a"]
    a, b = full.features.tokens(names), half.features.tokens(names)
    assert b.patches[-1].dtype == torch.float32
    difference = (a.patches[-1] - b.patches[-1]).abs().max()
    assert 0 < difference < 0.2
    assert abs(full.train_step(0) - half.train_step(0)) < 0.05


def test_no_image_goes_through_the_backbone_twice():
    """A query once, whatever N and K; in training two images a pair."""
    path = make_path(replace(SMALL, way=3, shot=4))
    path.evaluate(0)
    assert path.features.recent.computed == 1 + 3 * 4
    path.train_step(0)
    assert path.features.recent.computed == 13 + 2 * SMALL.batch


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_sees_the_supports_that_it_needs(name):
    """Live features pool supports early; no learner may notice."""
    setting = replace(SMALL, image_size=128, depth=12, heads=6, learner=name)
    path = make_path(setting)
    names = ["query"], ["support"]
    masks = torch.rand(1, 128, 128) > 0.5
    learner = path.run.learner
    with torch.no_grad():
        found = forward_pairs(learner, path.features, *names, masks)
        compared = learner.compare(*(path.features.tokens(n) for n in names))
        wanted = learner(compared, masks, path.features.grid)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_what_is_remembered_has_a_limit():
    path = make_path(SMALL)
    features, images = path.features, MadeDataset(48)
    most = features.recent._full_images
    names = [f"image {i}" for i in range(most + 3)]
    found = features.tokens(names)
    assert found.batch_size == len(names)
    assert len(features.recent._full) == most
    features.tokens(names[-most:])
    assert features.recent.computed == len(names)
    features.tokens(names[:1])
    assert features.recent.computed == len(names) + 1
    alone = features.backbone(images.image(names[0])[None])
    torch.testing.assert_close(found.patches[-1][:1], alone.patches[-1])


def test_gradients_of_the_learner_are_the_naive_ones():
    torch.manual_seed(0)
    learner = CST(12)
    correlation = torch.rand(2, 12, 36, 145) * 2 - 1
    mask = torch.rand(2, 40, 40) > 0.7
    grads = []
    for run in (learner, lambda *args: plain_learner(learner, *args)):
        class_logits, maps = run(correlation, mask, (6, 6))
        loss = class_logits.square().sum() + maps.square().mean()
        grads.append(torch.autograd.grad(loss, list(learner.parameters())))
    for (name, _), a, b in zip(learner.named_parameters(), *grads):
        scale = b.abs().max() + 1e-6
        assert (a - b).abs().max() < 1e-3 * scale + 1e-6, name


def test_the_published_complexities():
    """Table a.2 and section A.2 of the paper, to its digits."""
    vit, resnet = (backbone_complexity(n) for n in ("dino-vits8", "resnet50"))
    assert vit.parameters == 21_670_272 and resnet.parameters == 23_508_032
    assert round(vit.macs / 1e9, 2) == 53.29
    assert round(vit.all_macs / 1e9, 2) == 110.94
    assert round(resnet.macs / 1e9, 2) == 13.22
    cst = learner_complexity("cst", 72, (50, 50))
    assert cst.parameters == 366_004
    assert round(cst.macs / 1e9, 2) == 3.67 and round(cst.all_macs / 1e9, 2) == 3.79
    here = learner_complexity("cst", 72, (50, 50), published=False)
    assert isinstance(here, Complexity) and here.all_macs < cst.all_macs


def test_steps_are_taken_in_turns():
    class Path:
        def __init__(self, name):
            self.name = name

        def prepare(self, index):
            pass

        def evaluate(self, index):
            calls.append((self.name, index))

    calls = []
    found = time_in_turns({n: Path(n) for n in ("a", "naive")}, "evaluate", 2)
    assert calls == [(n, i) for i in range(3) for n in ("a", "naive")]
    assert len(found["a"].seconds) == len(found["a"].ratios) == 2
    wanted = [x / y for x, y in zip(found["naive"].seconds, found["a"].seconds)]
    assert found["a"].ratios == wanted
    assert found["naive"].speedup is None


def test_memory_is_that_of_a_process_of_its_own():
    holding = torch.ones(300_000_000 // 4)
    small = peak_memory(SMALL, "train", steps=1)
    large = peak_memory(replace(SMALL, path="naive", image_size=128), "train", steps=1)
    assert holding[-1] == 1
    assert 50e6 < small["before"] < small["peak"]
    # The naive path writes 2 x 8 x 256 x 10 x 145 similarities, several times.
    assert large["peak"] > small["peak"] + 50e6


def test_the_command_prints_and_writes(tmp_path, capsys):
    path = tmp_path / "bench.json"
    argv = ["--image-size", 48, "--width", 24, "--depth", 2, "--heads", 2]
    argv += ["--rounds", 1, "--ways", 2, "--shots", 2, "--batches", 2, "--sizes", 64]
    argv += ["--no-memory", "--device", "cpu", "--json", path]
    assert main(["bench", *map(str, argv)]) == 0
    text = capsys.readouterr().out
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["command"].startswith("python -m cstlib bench --image-size 48")
    assert all(rate > 1e8 for rate in found["flops"].values())
    rows = found["rows"]
    keys = ("task", "path", "precision", "image_size", "batch", "way", "shot")
    seen = {tuple(row[key] for key in keys) for row in rows}
    assert len(seen) == len(rows)
    for wanted in (
        ("train", "ours", "bf16", 48, 1, 1, 1),
        ("train", "cached", "fp32", 48, 1, 1, 1),
        ("train", "naive", "fp32", 48, 2, 1, 1),
        ("evaluate", "naive", "fp32", 48, 1, 2, 1),
        ("evaluate", "ours", "fp32", 48, 1, 1, 2),
        ("backbone", "naive", "fp32", 64, 1, 1, 1),
    ):
        assert wanted in seen
    for row in rows:
        assert row["median_s"] > 0 and row["limit_s"] >= 0
        assert (row["speedup"] is None) == (row["path"] == "naive")
    table = found["table_a2"]
    assert {row["learner"] for row in table} == set(LEARNERS) - {"panet"}
    assert "53.29 (110.94)" in text and "3.67 (3.79)" in text


def test_the_limit_counts_each_image_once():
    from cstlib.bench import _macs

    base = Setting()
    image, learner = 110_942_000_000, 3_789_000_000
    for task, change, wanted in (
        ("backbone", {"batch": 3}, 3 * image),
        ("train", {}, 2 * image + 3 * learner),
        ("train", {"path": "cached"}, 3 * learner),
        ("evaluate", {"way": 2, "shot": 5}, 11 * image + 10 * learner),
    ):
        found = _macs(task, replace(base, **change))
        assert found == pytest.approx(wanted, rel=1e-3)


def test_what_cannot_be_measured_ends_in_one_sentence(capsys, monkeypatch):
    for argv in (
        ["--rounds", "0"],
        ["--ways", "6"],
        ["--device", "abacus"],
        ["--image-size", "50"],
        ["--width", "25"],
    ):
        assert main(["bench", "--no-growth", "--no-memory", *argv]) == 2
        captured = capsys.readouterr()
        line = captured.err.splitlines()[-1].removeprefix("cstlib: ")
        assert is_one_sentence(line) and captured.out == ""
    monkeypatch.setattr(bench_measure.sys, "executable", "false")
    with pytest.raises(Exception, match="--no-memory") as caught:
        peak_memory(SMALL, "train")
    assert is_one_sentence(caught.value)


def test_an_evaluated_support_leaves_little_behind():
    """Of a query all layers are kept while its pairs are at work, of a support never."""
    path = make_path(replace(SMALL, way=2, shot=2))
    recent = path.features.recent
    held = []
    forward = path.run.learner.forward

    def watched(*given):
        held.append(list(recent._full))
        return forward(*given)

    path.run.learner.forward = watched
    path.evaluate(0)
    assert {tuple(names) for names in held} == {(path._episode(0).query,)}
    assert not recent._full and len(recent._small) == 5
    # Whoever asks for a support again, in whatever form of a support, has it.
    supports = [name for row in path._episode(0).supports for name in row]
    path.features.attention(supports)
    assert recent.computed == 5


def test_a_remembered_support_holds_no_more_memory_than_it_counts():
    path = make_path(replace(SMALL, image_size=128))
    recent = path.features.recent
    recent.pooled(["a"])
    recent.forget_full()
    tokens = [
        x for t in recent._small["a"] for x in (*t.cls, *t.patches, t.attn_q, t.attn_k)
    ]
    held = {x.untyped_storage().data_ptr(): x.untyped_storage() for x in tokens}
    assert sum(x.nbytes() for x in held.values()) <= recent._bytes_each


def test_room_is_made_before_it_is_needed():
    path = make_path(SMALL)
    recent = path.features.recent
    most, seen, compute = recent._full_images, [], recent._compute

    def watched(names):
        seen.append(len(recent._full) + len(names))
        return compute(names)

    recent._compute = watched
    for i in range(most + 3):
        path.features.tokens([f"image {i}"])
    assert max(seen) == most
