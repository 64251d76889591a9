"""COCO-20i from a made COCO 2014 in the real layout."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
from made import is_one_sentence
from made_benchmarks import COCO_IDS, annotation, box, made_coco
from PIL import Image

from cstlib.cli import main
from cstlib.data import coco, published
from cstlib.data.lists import fold_classes, read_list
from cstlib.data.pixels import read_class_ids
from cstlib.errors import CstlibError
from cstlib.worlds import load_world

# pycocotools 2.0.11 has not caught up with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A made COCO 2014 that no test changes."""
    return made_coco(tmp_path_factory.mktemp("coco") / "original", per_class=2)


@pytest.fixture(scope="module")
def prepared(original, tmp_path_factory):
    out = tmp_path_factory.mktemp("coco") / "prepared"
    coco.prepare_coco(original, out, progress=False)
    return out


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path, offline):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "home"))


def name_of(part, number):
    return f"{part}/COCO_{part}_{number:012d}"


def test_masks_hold_the_index_of_the_sorted_ids_plus_one(original, prepared):
    for c in (1, 12, 26, 80):
        mask = read_class_ids(
            prepared / "SegmentationClass" / f"{name_of('train2014', c)}.png"
        )
        expected = np.zeros((100, 120), np.uint8)
        expected[5:55, 5:55] = c
        expected[80:90, 80:90] = 1 + c % 80
        assert np.array_equal(mask, expected)
    # Class 12 is not category 12, which does not exist.
    assert COCO_IDS[11] == 13


def test_lists_hold_what_is_large_enough_and_labels_all(prepared):
    lists = prepared / "ImageSets" / "FewShot"
    for fold in range(4):
        for split, part, first in (
            ("trn", "train2014", 1),
            ("val", "val2014", 100_001),
        ):
            expected = [
                (name_of(part, first + c - 1 + 80 * k), c)
                for k in range(2)
                for c in fold_classes(fold, "coco")
            ]
            if split == "trn":
                expected.sort(key=lambda entry: (entry[1], entry[0]))
            assert read_list(lists / split / f"fold{fold}.txt") == expected
    labels = json.loads((lists / "labels.json").read_text(encoding="utf-8"))
    assert len(labels) == 320
    assert labels[name_of("train2014", 5)] == [5, 6]
    assert labels[name_of("val2014", 100_080)] == [1, 80]


def test_the_world_draws_by_cocos_protocol(prepared):
    world = load_world(str(prepared))
    assert (world.protocol, world.name, world.n_folds) == ("coco", "coco", 4)
    dataset = world.dataset(2, "val")
    assert dataset.classes == list(range(3, 81, 4))
    episode = dataset.episode(0, way=2)
    # COCO's queries are drawn, not walked.
    assert episode.plan.query != dataset.entries[0][0]
    assert episode.query_mask.shape == (100, 120)
    for c, masks in zip(
        episode.plan.support_classes, episode.support_masks, strict=True
    ):
        assert masks.any() and c in fold_classes(2, "coco")


def test_the_command_and_its_places(original, tmp_path, capsys):
    for place in ("COCO2014", "coco/images"):
        root = tmp_path / place.replace("/", "-")
        images = root / place
        images.mkdir(parents=True)
        for part in ("train2014", "val2014"):
            shutil.copytree(original / part, images / part)
        base = images.parent if place.endswith("images") else images
        shutil.copytree(original / "annotations", base / "annotations")
        out = tmp_path / "out" / place
        command = ["data", "coco", "--root", str(root), "--out", str(out)]
        assert main(command) == 0
        assert "training on fold 0: 120 lines (-95356)" in capsys.readouterr().out
        assert main([*command, "--verify"]) == 1
        said = capsys.readouterr().out
        assert "train2014: 160 images, published are 82783" in said
        assert "320 listed images: each has its label and mask" in said
    assert main(["data", "coco", "--root", str(tmp_path / "no"), "--verify"]) == 2
    captured = capsys.readouterr()
    assert "no train2014" in captured.out and is_one_sentence(captured.err.strip())


def test_the_benchmarks_counts_are_recognised(original, prepared, monkeypatch, capsys):
    known = {("trn", f): (120, 120) for f in range(4)}
    known |= {("val", f): (40, 40) for f in range(4)}
    monkeypatch.setattr(
        coco, "compare_coco", partial(published.compare_coco, published=known)
    )
    command = ["data", "coco", "--root", str(original), "--out", str(prepared)]
    assert main([*command, "--verify"]) == 0
    assert "all 8 counts as in the benchmark" in capsys.readouterr().out


def test_ready_masks_need_no_annotations(original, prepared, tmp_path):
    root = tmp_path / "COCO2014"
    shutil.copytree(prepared / "SegmentationClass", root / "annotations")
    for part in ("train2014", "val2014"):
        shutil.copytree(original / part, root / part)
    out = tmp_path / "out"
    coco.prepare_coco(tmp_path, out, progress=False)
    for path in (prepared / "ImageSets").rglob("*.*"):
        other = out / path.relative_to(prepared)
        assert other.read_bytes() == path.read_bytes()
    assert not (out / "SegmentationClass").exists()


def test_the_pickled_lists_in_circulation(original, prepared, tmp_path):
    given = tmp_path / "lists"
    for split in ("trn", "val"):
        (given / split).mkdir(parents=True)
        for fold in range(4):
            lists = {}
            for other in range(4):
                if (other == fold) != (split == "val"):
                    continue
                path = prepared / f"ImageSets/FewShot/{split}/fold{other}.txt"
                for name, c in reversed(read_list(path)):
                    lists.setdefault(c - 1, []).append(f"{name}.jpg")
            (given / split / f"fold{fold}.pkl").write_bytes(pickle.dumps(lists))
    out = tmp_path / "out"
    coco.prepare_coco(original, out, given, progress=False)
    dataset = load_world(str(out)).dataset(0, "val")
    assert dataset.images_of_class[5] == [
        name_of("val2014", 100_085),
        name_of("val2014", 100_005),
    ]
    assert len(load_world(str(out)).dataset(0, "trn").entries) == 120


def test_an_interrupted_run_keeps_the_masks_that_are_done(
    original, tmp_path, monkeypatch
):
    drawn = []
    class_mask = coco.class_mask

    def counted(*args):
        if len(drawn) == 100:
            raise KeyboardInterrupt
        drawn.append(args)
        return class_mask(*args)

    monkeypatch.setattr(coco, "class_mask", counted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        coco.prepare_coco(original, out, progress=False)
    assert len([*out.rglob("*.png")]) == 100 and not (out / "meta.json").exists()
    drawn.clear()
    monkeypatch.setattr(
        coco, "class_mask", lambda *a: drawn.append(a) or class_mask(*a)
    )
    coco.prepare_coco(original, out, progress=False)
    assert len(drawn) == 220


def test_a_full_disk_while_masks_are_drawn(original, tmp_path, monkeypatch):
    save = Image.Image.save

    def full(self, path, *args):
        save(self, path, *args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(CstlibError, match="free some disk space") as caught:
        coco.prepare_coco(original, tmp_path / "out", progress=False)
    assert is_one_sentence(caught.value)
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


def test_many_masks_are_drawn_by_several_processes(tmp_path):
    """The same as by one; and what is wrong in a process still is one sentence."""
    regions = [box(1, 1, 9, 9), box(5, 5, 3, 3)]
    images = {f"i{n:04d}": (20, 30) for n in range(1200)}
    of_image = {
        name: [
            {**annotation(n, n, 1, region), "class": k + 1, "crowd": False}
            for k, region in enumerate(regions)
        ]
        for n, name in enumerate(images)
    }
    file = coco.CocoFile(tmp_path / "a.json", ("a", "b"), images, {}, of_image)
    shown = coco.draw_masks(file, tmp_path / "masks", progress=False)
    assert len(shown) == 1200 and {s.pixels[2] for s in shown.values()} == {9}
    assert {s.pixels[1] for s in shown.values()} == {81 - 9}
    of_image["i1100"][0]["segmentation"] = None
    with pytest.raises(CstlibError, match="Annotation 1100 has no valid"):
        coco.draw_masks(file, tmp_path / "again", progress=False)


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            lambda r: (r / f"{name_of('val2014', 100_002)}.jpg").unlink(),
            "lacks 1 of the",
        ),
        (
            lambda r: (r / "annotations/instances_val2014.json").write_text(
                "{", encoding="utf-8"
            ),
            "is not JSON",
        ),
        (
            lambda r: (r / "annotations/instances_train2014.json").write_text(
                '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
                encoding="utf-8",
            ),
            "other categories than COCO's 80",
        ),
    ],
)
def test_what_is_missing_or_damaged_is_one_sentence(original, tmp_path, damage, words):
    root = tmp_path / "root"
    shutil.copytree(original, root)
    damage(root)
    with pytest.raises(CstlibError, match=words) as caught:
        coco.prepare_coco(root, tmp_path / "out", progress=False)
    assert is_one_sentence(caught.value)
    assert not (tmp_path / "out" / "meta.json").exists()
