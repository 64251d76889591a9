"""The loader of VOC-layout folders and its episodes, against the made drawings."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from made import CLASS_NAMES, is_one_sentence, made_image, made_voc
from numpy.random import RandomState
from PIL import Image

import cstlib.data.mini
from cstlib.data import voc
from cstlib.data.sampler import draw_pascal_episode
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.worlds import PASCAL_CLASSES

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


def index_of(name: str) -> int:
    """The number that `made_image` drew the image from."""
    split, number = name.split("_")
    return int(number) + (10_000 if split == "val" else 0)


def drawn_mask(name: str) -> np.ndarray:
    return made_image(index_of(name), (H, W))[1]


def nearest(array: np.ndarray, size: int) -> np.ndarray:
    """Nearest neighbour, pixel by pixel: the source index is rounded down."""
    h, w = array.shape
    return np.array(
        [
            [array[y * h // size, x * w // size] for x in range(size)]
            for y in range(size)
        ]
    )


# Lists and folds.


@pytest.mark.parametrize("fold", range(4))
def test_folds_and_splits_hold_the_right_classes(root, fold):
    held_out = list(range(5 * fold + 1, 5 * fold + 6))
    val = VocDataset(root, fold, "val", S)
    trn = VocDataset(root, fold, "trn", S)
    assert val.classes == held_out
    assert trn.classes == [c for c in range(1, 21) if c not in held_out]
    for dataset in (val, trn):
        assert list(dataset.images_of_class) == dataset.classes
        assert {c for _, c in dataset.entries} == set(dataset.classes)
        assert dataset.names == sorted({name for name, _ in dataset.entries})
        assert all(name.startswith(dataset.split) for name in dataset.names)
    assert val.entries == sorted(val.entries)
    assert trn.entries == sorted(trn.entries, key=lambda entry: (entry[1], entry[0]))
    # An image that also shows a held-out class stays in training.
    assert any(trn.present_classes(name) & set(held_out) for name in trn.names)


def test_plans_are_the_samplers(root):
    dataset = VocDataset(root, 2, "val", S)
    for index in (0, 5, 999):
        expected = draw_pascal_episode(
            dataset.entries, dataset.images_of_class, index, 2, 2
        )
        assert dataset.plan(index, way=2, shot=2) == expected
    training = VocDataset(root, 2, "trn", S)
    plans = list(training.training_plans(40, seed=1))
    assert list(training.training_plans(40, seed=1, start=33)) == plans[33:]
    assert {p.query_class for p in plans} <= set(training.classes)


def test_names_of_classes(root, own):
    expected = dict(enumerate(CLASS_NAMES, start=1))
    assert VocDataset(root, 0, "val", S).class_names == expected
    given = VocDataset(root, 0, "val", S, PASCAL_CLASSES).class_names
    assert (given[1], given[20]) == ("aeroplane", "tvmonitor")
    (own / "meta.json").unlink()
    assert VocDataset(own, 0, "val", S).class_names[7] == "class 7"
    with pytest.raises(CstlibError, match="3 class names .* 20 classes") as caught:
        VocDataset(root, 0, "val", S, ["a", "b", "c"])
    assert is_one_sentence(caught.value)


# Pixels.


def test_images_are_resized_bilinearly(root):
    dataset = VocDataset(root, 0, "val", S)
    name = dataset.names[0]
    pixels = made_image(index_of(name), (H, W))[0]
    assert np.array_equal(np.asarray(dataset.pil_image(name)), pixels)
    assert dataset.original_size(name) == (H, W)
    small = Image.fromarray(pixels).resize((S, S), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
    image = dataset.image(name)
    assert image.shape == (3, S, S) and image.dtype == torch.float32
    assert torch.equal(image, expected)
    # A caller may change what it got; the next one gets the image all the same.
    image.zero_()
    assert torch.equal(dataset.image(name), expected)


def test_images_of_the_right_size_are_left_alone(tmp_path):
    dataset = VocDataset(made_voc(tmp_path / "made", 60, S), 0, "trn", S)
    name = dataset.names[3]
    expected = made_image(index_of(name), (S, S))[0]
    image = (dataset.image(name) * 255).round().byte().permute(1, 2, 0)
    assert np.array_equal(image.numpy(), expected)


def test_the_cache_is_used_and_bounded(own, monkeypatch):
    monkeypatch.setattr(voc, "CACHE_BYTES", 3 * S * S * 3)
    dataset = VocDataset(own, 0, "val", S)
    first, *others = dataset.names[:4]
    before = dataset.image(first)
    path = own / "JPEGImages" / f"{first}.png"
    kept = path.read_bytes()
    path.unlink()
    assert torch.equal(dataset.image(first), before)
    for name in others:
        dataset.image(name)
    with pytest.raises(CstlibError):
        dataset.image(first)
    path.write_bytes(kept)
    assert torch.equal(dataset.image(first), before)


def test_jpegs_and_the_augmented_masks_come_first(own):
    dataset = VocDataset(own, 0, "val", S)
    name = dataset.names[0]
    path = own / "JPEGImages" / f"{name}.png"
    Image.open(path).save(path.with_suffix(".jpg"), quality=95)
    path.unlink()
    with Image.open(path.with_suffix(".jpg")) as file:
        expected = np.asarray(file)
    assert np.array_equal(np.asarray(dataset.pil_image(name)), expected)
    (own / "SegmentationClassAug").mkdir()
    palette = Image.fromarray(np.full((H, W), 3, dtype=np.uint8))
    palette.putpalette(cstlib.data.mini.voc_palette())
    palette.save(own / "SegmentationClassAug" / f"{name}.png")
    assert np.all(dataset.mask(name) == 3)


# Episodes.


@pytest.mark.parametrize("way, shot", [(1, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_an_episode_against_the_drawings(root, way, shot, training):
    dataset = VocDataset(root, 1, "val", S)
    for index in range(6):
        plan = dataset.plan(index, way, shot)
        episode = dataset.load(plan, training=training)
        assert (episode.way, episode.shot) == (way, shot)
        assert episode.query_name == plan.query
        assert episode.support_names == plan.supports
        assert episode.support_classes == plan.support_classes
        assert episode.original_size == (H, W)
        assert torch.equal(episode.query_image, dataset.image(plan.query))
        assert episode.support_images.shape == (way, shot, 3, S, S)
        assert torch.equal(
            episode.support_images[-1, -1], dataset.image(plan.supports[-1][-1])
        )

        truth = drawn_mask(plan.query)
        present = [bool((truth == c).any()) for c in plan.support_classes]
        assert episode.presence.dtype == torch.bool
        assert episode.presence.tolist() == present

        labels = np.where(truth == 255, 255, 0)
        for n, c in enumerate(plan.support_classes):
            labels[truth == c] = n + 1
            for k, name in enumerate(plan.supports[n]):
                shown = nearest(drawn_mask(name), S) == c
                assert shown.any()
                assert np.array_equal(episode.support_masks[n, k].numpy(), shown)
        if training:
            labels = nearest(labels, S)
        assert episode.query_mask.dtype == torch.int64
        assert np.array_equal(episode.query_mask.numpy(), labels)
        assert episode.support_masks.dtype == torch.bool


def test_presence_counts_any_pixel_even_where_resizing_loses_it(own):
    dataset = VocDataset(own, 0, "val", S)
    name = next(n for n in dataset.names if index_of(n) % 5 == 0)
    tiny = drawn_mask(name)[0, 0]
    assert (drawn_mask(name) == tiny).sum() == 1
    assert tiny in dataset.present_classes(name)
    # Move the pixel to where 40 x 56 -> 32 x 32 skips it: no label file changes.
    path = own / "SegmentationClass" / f"{name}.png"
    mask = drawn_mask(name)
    mask[0, 0], mask[4, 0] = 0, tiny
    Image.fromarray(mask).save(path)
    assert tiny not in nearest(mask, S)
    assert tiny in dataset.present_classes(name)


def test_image_level_training_never_reads_a_mask(own):
    """Garble half of the training masks and delete the others: nothing is missed."""
    names = [path.stem for path in (own / "JPEGImages").glob("trn_*")]
    assert len(names) == 60
    for number, name in enumerate(names):
        path = own / "SegmentationClass" / f"{name}.png"
        path.write_bytes(b"no mask") if number % 2 else path.unlink()
    dataset = VocDataset(own, 0, "trn", S)
    seen = []
    for plan in dataset.training_plans(120, seed=0):
        episode = dataset.load(plan, masks=False, training=True)
        assert episode.query_mask is None and episode.support_masks is None
        assert episode.original_size == (H, W)
        truth = (drawn_mask(plan.query) == plan.support_classes[0]).any()
        assert episode.presence.tolist() == [truth]
        seen.append(bool(truth))
    assert 0.3 < np.mean(seen) < 0.8
    with pytest.raises(CstlibError, match="mask"):
        dataset.load(plan, training=True)


def test_test_episodes_without_masks(root):
    dataset = VocDataset(root, 3, "val", S)
    episode = dataset.episode(4, way=2, shot=2, masks=False)
    assert episode.query_mask is None and episode.support_masks is None
    assert torch.equal(episode.presence, dataset.episode(4, 2, 2).presence)


def test_data_know_nothing_of_models():
    code = (
        "import sys, cstlib.data.voc, cstlib.data.mini, cstlib.data.coco;"
        "print(sorted(m for m in sys.modules if m.startswith('cstlib.')"
        " and not m.startswith('cstlib.data')), 'timm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    names = "['cstlib.errors', 'cstlib.files', 'cstlib.paths'] False"
    assert done.stdout.strip() == names


def test_a_random_generator_is_not_touched(root):
    dataset = VocDataset(root, 0, "val", S)
    np.random.seed(5)
    torch.manual_seed(5)
    dataset.episode(1, way=2)
    assert np.random.randint(1000) == RandomState(5).randint(1000)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.rand(1), expected)
