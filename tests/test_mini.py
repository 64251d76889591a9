"""The miniature: the same pixels everywhere, and the world that the course promises."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from cstlib.cli import main
from cstlib.data import mini, mini_drawing
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError

# Of decoded pixels, masks included. A change of the drawings changes it: then raise
# RENDERER_VERSION, and the shipped weights no longer belong to this world.
PINNED = "0a3b3b1455ac43f20094c46f19dbb2cc542c6753c1f2cfc786e8c168b7f63e84"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return mini.build_mini(
        tmp_path_factory.mktemp("data") / "mini", 0, 150, 60, workers=1, progress=False
    )


def digest(scenes) -> str:
    found = hashlib.sha256()
    for scene in scenes:
        found.update(scene.image.tobytes())
        found.update(scene.mask.tobytes())
    return found.hexdigest()


def test_pixels_are_pinned():
    scenes = [mini.render(0, i, s) for s in mini_drawing.STREAMS for i in range(12)]
    assert digest(scenes) == PINNED


def test_renders_depend_on_seed_index_and_stream():
    variants = [(0, 0, "trn"), (1, 0, "trn"), (0, 1, "trn"), (0, 0, "val")]
    assert len({digest([mini.render(*v)]) for v in variants}) == 4
    assert digest([mini.render(3, 5, "val")]) == digest([mini.render(3, 5, "val")])


def test_written_files_hold_the_rendered_pixels(small):
    for stream, index in (("trn", 7), ("val", 3)):
        scene = mini.render(0, index, stream)
        name = f"{stream}_{index:06d}.png"
        image = np.asarray(Image.open(small / "JPEGImages" / name))
        mask = np.asarray(Image.open(small / "SegmentationClass" / name))
        assert np.array_equal(image, scene.image) and np.array_equal(mask, scene.mask)


def test_workers_do_not_change_the_pixels():
    alone = digest(mini.scenes(0, 70, "trn", workers=1, progress=False))
    assert alone == digest(mini.scenes(0, 70, "trn", workers=2, progress=False))


def test_labels_and_lists_agree_with_the_masks(small):
    lists = small / "ImageSets" / "FewShot"
    labels = json.loads((lists / "labels.json").read_text(encoding="utf-8"))
    listed = {
        line.split("__")[0] + line.split("__")[1]
        for path in lists.glob("*/fold*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    for name, classes in labels.items():
        mask = np.asarray(Image.open(small / "SegmentationClass" / f"{name}.png"))
        counts = np.bincount(mask.ravel(), minlength=256)
        assert classes == [c for c in range(1, 21) if counts[c]]
        for c in classes:
            assert (f"{name}{c:02d}" in listed) == (counts[c] >= 0.01 * mask.size - 1)


def test_the_world_has_what_makes_it_hard(small):
    """Several objects, clutter and occlusion; void borders; every class and fold."""
    labels = json.loads(
        (small / "ImageSets/FewShot/labels.json").read_text(encoding="utf-8")
    )
    several = np.mean([len(classes) > 1 for classes in labels.values()])
    assert 0.3 < several < 0.6
    masks = [mini.render(0, i, "val").mask for i in range(60)]
    assert all((mask == 255).any() for mask in masks)
    covered = np.mean([np.mean((m > 0) & (m < 255)) for m in masks])
    assert 0.15 < covered < 0.35
    for fold in range(4):
        dataset = VocDataset(small, fold, "val", 96)
        assert set(dataset.images_of_class) == set(range(5 * fold + 1, 5 * fold + 6))


def test_folder_is_not_overwritten_and_nothing_is_left_half_written(tmp_path):
    target = tmp_path / "mini"
    target.mkdir()
    (target / "precious.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CstlibError, match="not empty"):
        mini.build_mini(target, 0, 2, 2, progress=False)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["mini", "precious.txt"]


def test_interrupted_rendering_leaves_no_folder(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(mini, "_write_images", stop)
    with pytest.raises(KeyboardInterrupt):
        mini.build_mini(tmp_path / "mini", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_another_renderer_version_is_drawn_anew_or_refused(tmp_path, monkeypatch):
    old = tmp_path / "mini"
    old.mkdir()
    (old / "meta.json").write_text('{"renderer_version": 0}', encoding="utf-8")
    with pytest.raises(CstlibError, match="version 0.*delete"):
        mini.ensure_mini(old)
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path))
    monkeypatch.setattr(
        mini, "build_mini", lambda root: root.mkdir() or root / "drawn anew"
    )
    assert mini.ensure_mini() == old / "drawn anew"


def test_command_line(tmp_path, capsys, monkeypatch):
    out = tmp_path / "small"
    command = ["data", "mini", "--train", "3", "--val", "2", "--out", str(out)]
    assert main(command) == 0
    assert len(list((out / "JPEGImages").iterdir())) == 5
    assert main(command) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["data", "mini", "--train", "0", "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()


def test_voc_palette_is_the_published_one():
    palette = np.array(mini.voc_palette()).reshape(256, 3)
    assert palette[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]
