"""The miniature as COCO JSON: the same drawings, COCO's folds and queries."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cstlib.cli import main
from cstlib.data import mini, mini_coco
from cstlib.errors import CstlibError
from cstlib.worlds import load_world

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
TRAIN, VAL = 80, 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data home with a small miniature in COCO's layout, by the command."""
    home = tmp_path_factory.mktemp("home")
    command = ["data", "mini", "--layout", "coco", "--train", str(TRAIN)]
    assert main([*command, "--val", str(VAL), "--out", str(home / "mini-coco")]) == 0
    return home


@pytest.fixture(autouse=True)
def in_home(home, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(home))


# pycocotools has yet to learn NumPy 2's __array__; its own annToMask says so.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_json_is_cocos_own_format(home):
    from pycocotools.coco import COCO

    root = home / "mini-coco"
    for stream, part, count in (("trn", "train", TRAIN), ("val", "val", VAL)):
        coco = COCO(root / "annotations" / f"instances_{part}.json")
        assert len(coco.getImgIds()) == count and len(coco.getCatIds()) == 20
        for index in (0, 7, 31):
            scene = mini.render(0, index, stream)
            image = coco.loadImgs(index + 1)[0]
            assert (root / "images" / image["file_name"]).is_file()
            found = coco.loadAnns(coco.getAnnIds(imgIds=index + 1))
            assert [a["category_id"] for a in found] == list(scene.classes)
            for a in found:
                region = scene.mask == a["category_id"]
                assert np.array_equal(coco.annToMask(a), region)
                assert a["area"] == region.sum() and len(a["bbox"]) == 4


def test_the_world_is_the_miniature_with_cocos_folds(home):
    world = load_world("mini-coco")
    assert (world.protocol, world.n_folds, world.name) == ("coco", 4, "mini-coco")
    assert (world.image_size, world.backbone) == (96, "dino-mini")
    assert world.class_names == tuple(mini.CLASS_NAMES)
    entries = {}
    for fold in range(4):
        dataset = world.dataset(fold, "val")
        assert dataset.classes == [fold + 4 * v + 1 for v in range(5)]
        entries[fold] = dataset.entries
    # Listed as in the miniature itself: from 1% of the image on, rounded down.
    for index in range(VAL):
        scene = mini.render(0, index, "val")
        name = f"val_{index:06d}"
        listed = {c for found in entries.values() for n, c in found if n == name}
        pixels = np.bincount(scene.mask.ravel(), minlength=256)
        assert listed == {c for c in scene.classes if pixels[c] >= 92}
        expected = np.where(scene.mask == 255, 0, scene.mask)
        assert np.array_equal(dataset.mask(name), expected)
        assert dataset.present_classes(name) == set(scene.classes)


def test_queries_are_drawn_not_walked(home):
    dataset = load_world("mini-coco").dataset(0, "val")
    plans = [dataset.plan(index) for index in range(20)]
    assert [p.query for p in plans] != [dataset.entries[i][0] for i in range(20)]
    random = np.random.RandomState(3)
    c = random.choice(dataset.classes, replace=False)
    images = dataset.images_of_class[c]
    assert plans[3].query_class == c
    assert plans[3].query == random.choice(images, replace=False)
    episode = dataset.episode(3)
    assert episode.query_image.shape == (3, 96, 96) and episode.support_masks.any()


def test_it_is_drawn_on_first_use_and_not_again(home, monkeypatch, tmp_path):
    drawn = []

    def build(root):
        drawn.append(root)
        root.mkdir(parents=True)
        return root

    monkeypatch.setattr(mini_coco, "build_mini_coco", build)
    assert mini_coco.ensure_mini_coco() == home / "mini-coco" and drawn == []
    old = tmp_path / "mini-coco"
    old.mkdir()
    (old / "world.json").write_text('{"renderer_version": 0}', encoding="utf-8")
    assert mini_coco.ensure_mini_coco(old) == old and drawn == [old]


def test_what_cannot_be_drawn(home, tmp_path, capsys):
    command = ["data", "mini", "--layout", "coco", "--train", "0"]
    assert main([*command, "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
    with pytest.raises(CstlibError, match="not empty"):
        mini_coco.build_mini_coco(home / "mini-coco")
    world = json.loads((home / "mini-coco" / "world.json").read_text(encoding="utf-8"))
    assert world["renderer_version"] == mini.RENDERER_VERSION
