"""Every kind of bad data ends in one sentence that names the file."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from made import is_one_sentence, made_voc
from PIL import Image

from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError

S = 32
H, W = 40, 56


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Made data that no test changes; images are not square and not S wide."""
    return made_voc(tmp_path_factory.mktemp("data") / "made", 60, (H, W))


@pytest.fixture
def own(root, tmp_path):
    """A copy for tests that break something."""
    shutil.copytree(root, tmp_path / "made")
    return tmp_path / "made"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncate_jpeg(path):
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    truncate(path.with_suffix(".jpg"))


@pytest.mark.parametrize(
    "damage, words",
    [
        (truncate, "image .* is truncated"),
        (truncate_jpeg, "image .*jpg is truncated"),
        (
            lambda path: path.write_text("not an image", encoding="utf-8"),
            "image .* is truncated or not",
        ),
        (lambda path: path.write_bytes(b""), "image .* is truncated or not"),
        (lambda path: path.unlink(), "neither a .png nor a .jpg"),
    ],
)
def test_a_bad_image(own, damage, words):
    dataset = VocDataset(own, 0, "val", S)
    plan = dataset.plan(0)
    damage(own / "JPEGImages" / f"{plan.query}.png")
    with pytest.raises(CstlibError, match=words) as caught:
        dataset.load(plan)
    assert is_one_sentence(caught.value) and plan.query in str(caught.value)


def save(array):
    return lambda path: Image.fromarray(array).save(path)


@pytest.mark.parametrize(
    "damage, words",
    [
        (truncate, "mask .* is truncated"),
        (
            lambda path: path.write_text("not a mask", encoding="utf-8"),
            "mask .* is truncated or not",
        ),
        (lambda path: path.unlink(), "mask .* is missing"),
        (save(np.zeros((W, H), np.uint8)), "mask .* is 40x56 pixels but .* 56x40"),
        (save(np.zeros((H, W, 3), np.uint8)), "mask .* holds colours"),
        (save(np.full((H, W), 21, np.uint8)), "mask .* holds the value 21"),
    ],
)
def test_a_bad_mask(own, damage, words):
    dataset = VocDataset(own, 0, "val", S)
    plan = dataset.plan(0)
    damage(own / "SegmentationClass" / f"{plan.query}.png")
    with pytest.raises(CstlibError, match=words) as caught:
        dataset.load(plan)
    assert is_one_sentence(caught.value) and plan.query in str(caught.value)
    assert dataset.load(plan, masks=False).query_mask is None


def relabel(text):
    return lambda root: (root / LABELS).write_text(text, encoding="utf-8")


def forget_an_image(root):
    labels = json.loads((root / LABELS).read_text(encoding="utf-8"))
    del labels["val_0000"]
    (root / LABELS).write_text(json.dumps(labels), encoding="utf-8")


LABELS = "ImageSets/FewShot/labels.json"
LIST = "ImageSets/FewShot/val/fold0.txt"


@pytest.mark.parametrize(
    "damage, words",
    [
        (shutil.rmtree, "no data folder"),
        (lambda root: (root / LIST).unlink(), "fold0.txt is missing"),
        (
            lambda root: (root / LIST).write_text("val_0000_01\n", encoding="utf-8"),
            "Line 1 of",
        ),
        (
            lambda root: (root / LIST).write_text("val_0000__06\n", encoding="utf-8"),
            "class 6, outside",
        ),
        (
            lambda root: (root / LIST).write_text("val_0000__99\n", encoding="utf-8"),
            "class 99, outside",
        ),
        (
            lambda root: (root / LIST).write_text("val_0000__02\n", encoding="utf-8"),
            "does not give it",
        ),
        (lambda root: (root / LABELS).unlink(), "labels.json is missing"),
        (relabel("{"), "labels.json cannot be read"),
        (relabel("[1, 2]"), "does not map names to class ids"),
        (relabel('{"val_0000": ["star"]}'), "does not map names to class ids"),
        (forget_an_image, "val_0000 .* does not give it"),
        (
            lambda root: (root / "meta.json").write_text("{", encoding="utf-8"),
            "meta.json cannot be read",
        ),
    ],
)
def test_bad_lists_and_labels(own, damage, words):
    damage(own)
    with pytest.raises(CstlibError, match=words) as caught:
        VocDataset(own, 0, "val", S)
    assert is_one_sentence(caught.value)


def test_bad_arguments(root):
    for arguments, words in [
        ((4, "val"), "no fold 4"),
        ((-1, "val"), "no fold -1"),
        ((0, "test"), "no split 'test'"),
    ]:
        with pytest.raises(CstlibError, match=words) as caught:
            VocDataset(root, *arguments, S)
        assert is_one_sentence(caught.value)
    dataset = VocDataset(root, 0, "val", S)
    for ask, words in [
        (lambda: dataset.episode(0, way=6), "6 ways .* 5 classes"),
        (lambda: dataset.episode(0, shot=40), "40 shots and a query need 41"),
        (lambda: dataset.present_classes("nobody"), "nobody is not in"),
    ]:
        with pytest.raises(CstlibError, match=words) as caught:
            ask()
        assert is_one_sentence(caught.value)
