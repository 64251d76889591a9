"""Predicting on one's own pictures, in Python: what is computed, and how often."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made import is_one_sentence
from made_support import BACKBONE, made_picture, made_support, made_user
from PIL import Image

from cstlib.backbones import Backbone, load_backbone
from cstlib.baselines import load_learner
from cstlib.correlation import correlate
from cstlib.cst import combine
from cstlib.errors import CstlibError
from cstlib.predicted import KINDS
from cstlib.predictor import Predictor
from cstlib.pseudo_masks import pseudo_mask
from cstlib.user_images import read_picture
from cstlib.user_masks import read_mask


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return made_user(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def plain(world):
    """A predictor that makes pseudo-masks."""
    return Predictor(world.plain, checkpoint=world.learner, device="cpu")


@pytest.fixture(scope="module")
def marked(world):
    """A predictor that was given masks."""
    return Predictor(world.marked, checkpoint=world.learner, device="cpu")


def by_hand(world, support, given_masks):
    """Equation 8 step by step, from the published parts: a prediction."""
    backbone, learner = load_backbone(BACKBONE), load_learner(world.learner).learner
    picture = read_picture(world.query)
    query = backbone(picture.tensor(96)[None])
    class_prob, fg_prob = torch.zeros(2, 2), torch.zeros(2, 2, *picture.size)
    with torch.no_grad():
        for n, name in enumerate(("key", "mug")):
            for k in range(2):
                path = support / name / f"{k}.jpg"
                shot = read_picture(path)
                tokens = backbone(shot.tensor(96)[None])
                if given_masks:
                    mask = read_mask(path.with_suffix(".png"), shot.size)
                    mask = torch.from_numpy(mask)[None]
                else:
                    mask = pseudo_mask(tokens, tokens, (96, 96), backbone.threshold)
                clf, seg = learner(correlate(query, tokens), mask)
                seg = F.interpolate(
                    seg, picture.size, mode="bilinear", align_corners=True
                )
                class_prob[n, k] = clf.softmax(1)[0, 1]
                fg_prob[n, k] = seg.softmax(1)[0, 1]
    return combine(class_prob, fg_prob), fg_prob.mean(1)


@pytest.mark.parametrize("masks", [False, True])
def test_it_is_equation_8(world, plain, marked, masks):
    support = world.marked if masks else world.plain
    found = (marked if masks else plain)(world.query)
    wanted, fg_prob = by_hand(world, support, masks)
    assert list(found.presence_prob) == ["key", "mug"]
    assert torch.allclose(
        torch.tensor([*found.presence_prob.values()]), wanted.presence_prob, atol=1e-4
    )
    assert list(found.presence.values()) == wanted.presence.tolist()
    assert found.labels.shape == (70, 110) and found.labels.dtype == np.uint8
    # Where two answers are as good as equal, rounding may decide.
    best = fg_prob.amax(0)
    clear = ((best - 0.5).abs() > 1e-4) & ((fg_prob[0] - fg_prob[1]).abs() > 1e-4)
    assert clear.float().mean() > 0.5
    assert np.array_equal(found.labels[clear], wanted.label[clear].numpy())


def test_evidence_is_what_equation_8_joins(world, marked):
    prob, maps = marked.evidence(world.query)
    found = marked(world.query)
    assert prob.shape == (4,) and maps.shape[0] == 4 and maps.ndim == 3
    fg = F.interpolate(maps[None], (70, 110), mode="bilinear", align_corners=True)
    fg = fg.sigmoid().view(2, 2, 70, 110)
    wanted = combine(prob.view(2, 2), fg)
    said = torch.tensor([*found.presence_prob.values()])
    assert torch.allclose(said, wanted.presence_prob, atol=1e-5)
    assert (found.labels == wanted.label.numpy()).mean() > 0.999
    with Image.open(world.query) as image:
        assert torch.equal(marked.evidence(image)[0], prob)
    with pytest.raises(CstlibError, match="There is no file"):
        marked.evidence(world.query.with_name("missing.png"))


def test_masks_are_what_the_learner_is_given(world, plain, marked):
    for image in marked.support:
        wanted = read_mask(image.path.with_suffix(".png"), (96, 96))
        assert np.array_equal(image.mask.numpy(), wanted)
    assert all(image.mask_path is None for image in plain.support)
    assert not torch.equal(plain._masks, marked._masks)
    assert plain(world.query).presence_prob != marked(world.query).presence_prob


def test_supports_are_encoded_once(world, monkeypatch):
    images = []
    forward = Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self, x: images.append(len(x)) or forward(self, x)
    )
    predictor = Predictor(world.plain, checkpoint=world.learner, device="cpu")
    assert sum(images) == 4
    queries = [made_picture(index) for index in range(3)]
    assert len(list(predictor.predict(queries))) == 3
    assert len(list(predictor.predict(queries))) == 3
    assert sum(images) == 4 + 6


def test_queries_stream(plain):
    """The first answer comes before the second picture is opened."""
    opened = []

    def queries():
        for index in range(3):
            opened.append(index)
            yield made_picture(index)

    answers = plain.predict(queries())
    assert not opened
    next(answers)
    assert opened == [0]


def test_classes_may_have_different_numbers_of_images(world, plain, tmp_path):
    """Each class is the mean over its own: fewer mugs change nothing about keys."""
    support = made_support(tmp_path / "s", shots=2)
    (support / "mug" / "1.jpg").unlink()
    both = Predictor(support, checkpoint=world.learner, device="cpu")
    assert both.shots == [2, 1] and plain.shots == [2, 2]
    found, other = both(world.query).presence_prob, plain(world.query).presence_prob
    assert found["key"] == pytest.approx(other["key"], abs=1e-5)
    assert found["mug"] != pytest.approx(other["mug"], abs=1e-5)


def test_the_threshold_decides(world):
    def at(threshold):
        options = {"checkpoint": world.learner, "device": "cpu"}
        return Predictor(world.plain, threshold=threshold, **options)(world.query)

    low, high = at(0.001), at(0.999)
    assert low.presence_prob == high.presence_prob
    assert low.present == ["key", "mug"] and high.present == []
    assert (low.labels > 0).all() and (high.labels == 0).all()
    for threshold in (0, 1, -1, float("nan")):
        with pytest.raises(CstlibError, match="threshold"):
            at(threshold)


def test_bf16_runs_and_is_near(world, plain):
    options = {"checkpoint": world.learner, "device": "cpu"}
    exact = plain(world.query)
    rough = Predictor(world.plain, precision="bf16", **options)(world.query)
    for name, probability in exact.presence_prob.items():
        assert rough.presence_prob[name] == pytest.approx(probability, abs=0.05)
    assert rough.presence_prob != exact.presence_prob
    with pytest.raises(CstlibError, match="precision"):
        Predictor(world.plain, precision="fp8", **options)


def test_one_bad_query_does_not_lose_the_others(world, plain, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    queries = [tmp_path / "bad.jpg", world.query, tmp_path / "none.jpg"]
    failures = []
    found = list(plain.predict(queries, failures))
    assert [one.name for one in found] == ["query"]
    assert [one["query"] for one in failures] == [str(queries[0]), str(queries[2])]
    with pytest.raises(CstlibError, match="bad.jpg"):
        list(plain.predict(queries))


def test_what_is_saved(world, plain, tmp_path):
    found = plain(world.query)
    content = found.save(tmp_path / "out")
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    assert written == ["out/json/query.json", "out/labels/query.png"] + [
        "out/overlays/query.jpg"
    ]
    assert (
        json.loads((tmp_path / "out/json/query.json").read_text(encoding="utf-8"))
        == content
    )
    with Image.open(tmp_path / "out/labels/query.png") as labels:
        assert labels.mode == "P" and labels.size == (110, 70)
        assert np.array_equal(np.asarray(labels), found.labels)
        palette = np.reshape(labels.getpalette(), (-1, 3))[:3].tolist()
    assert palette == [[0, 0, 0], [0, 158, 115], [230, 159, 0]]  # Okabe and Ito's
    assert (content["width"], content["height"]) == (110, 70)
    for label, c in enumerate(content["classes"], start=1):
        assert c["label"] == label
        assert c["pixels"] == (found.labels == label).sum()
        assert c["present"] == (c["probability"] > 0.5)


def test_nothing_is_written_through_a_link(world, plain, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    try:
        (tmp_path / "out" / "labels").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("this system lets nobody make links")
    with pytest.raises(CstlibError, match="link") as error:
        plain(world.query).save(tmp_path / "out")
    assert is_one_sentence(error.value)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_unreadable_folder_is_a_query_that_failed(
    world, plain, tmp_path, monkeypatch
):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    failures = []
    found = list(plain.predict([tmp_path, world.query], failures))
    assert len(found) == 1 and failures[0]["query"] == str(tmp_path)
    assert "Permission denied" in failures[0]["why"]


def test_notes_say_what_the_weights_are_for(world, plain):
    (note,) = plain.notes
    assert "dino-vits8" in note and is_one_sentence(note)
    notes = Predictor(world.plain, "dino-mini", world.learner).notes
    assert len(notes) == 2 and "trained with random-mini" in notes[1]
    assert set(KINDS) == {"labels", "overlays", "json"}
