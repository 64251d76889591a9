"""Pascal-5i from made originals in the real layouts."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial

import numpy as np
import pytest
from made import is_one_sentence
from made_benchmarks import (
    LISTS,
    SBD_MASKS,
    SBD_OWN,
    TRAIN,
    VAL,
    VOC_MASKS,
    lists_of,
    made_pascal,
    made_sbd,
    made_voc2012,
    mat_bytes,
)
from PIL import Image

from cstlib.cli import main
from cstlib.data import pascal, published
from cstlib.data.published import PublishedList
from cstlib.errors import CstlibError
from cstlib.worlds import load_world


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def prepare(root, out, *more):
    return main(["data", "pascal", "--root", str(root), "--out", str(out), *more])


def as_published(out):
    """The lists in ``out`` as if they were the benchmark's."""
    known = {}
    for (split, fold), real in published.PASCAL.items():
        path = out / "ImageSets" / "FewShot" / split / f"fold{fold}.txt"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        known[split, fold] = PublishedList(1, real.per_class, digest)
    return known


def test_from_the_originals_to_episodes(tmp_path, home, offline, capsys):
    root = made_pascal(tmp_path / "originals")
    before = sorted(root.rglob("*"))
    assert main(["data", "pascal", "--root", str(root)]) == 0
    out = home / "pascal"
    assert lists_of(out) == LISTS
    assert sorted(root.rglob("*")) == before
    printed = capsys.readouterr().out
    assert "val/fold0.txt: 2 lines of 1 images" in printed
    assert "--data pascal" in printed

    masks = {p.stem: np.array(Image.open(p)) for p in out.glob("*Aug/*.png")}
    assert sorted(masks) == sorted([*TRAIN, *VAL, *SBD_OWN])
    for name, mask in {**SBD_MASKS, **VOC_MASKS}.items():
        assert np.array_equal(masks[name], mask), name
    assert Image.open(out / "SegmentationClassAug" / f"{SBD_OWN[0]}.png").mode == "P"

    labels = json.loads(
        (out / "ImageSets/FewShot/labels.json").read_text(encoding="utf-8")
    )
    # Whatever has a pixel counts, listed or not; void does not.
    assert labels[TRAIN[0]] == [1, 7] and labels[TRAIN[1]] == [1, 20]
    assert labels[SBD_OWN[2]] == [19] and len(labels) == 9

    world = load_world("pascal")
    dataset = world.dataset(0, "val")
    assert dataset.entries == [(VAL[0], 2), (VAL[0], 3)]
    assert np.array_equal(dataset.mask(VAL[0]), VOC_MASKS[VAL[0]])
    assert dataset.image(VAL[0]).shape == (3, 400, 400)
    assert world.dataset(0, "trn").names == sorted(
        [TRAIN[0], TRAIN[1], TRAIN[2], SBD_OWN[1]]
    )
    # A path to the prepared folder means the same.
    assert load_world(str(out)).dataset(0, "val").entries == dataset.entries


@pytest.mark.parametrize("voc", ["", "VOC2012", "VOCdevkit/VOC2012"])
@pytest.mark.parametrize("sbd", ["sbd", "dataset", "benchmark_RELEASE/dataset"])
def test_the_usual_places(tmp_path, offline, voc, sbd):
    made_voc2012(tmp_path / "root" / voc)
    made_sbd(tmp_path / "root" / sbd)
    pascal.prepare_pascal(tmp_path / "root", tmp_path / "out", progress=False)
    assert lists_of(tmp_path / "out") == LISTS


def test_ready_masks_need_no_sbd(tmp_path, offline):
    pascal.prepare_pascal(
        made_pascal(tmp_path / "first"), tmp_path / "out", progress=False
    )
    voc = made_voc2012(tmp_path / "second" / "VOC2012")
    masks = voc / "SegmentationClassAug"
    shutil.copytree(tmp_path / "out" / "SegmentationClassAug", masks)
    shutil.rmtree(voc / "SegmentationClass")
    other = tmp_path / "other"
    pascal.prepare_pascal(tmp_path / "second", other, progress=False)
    assert lists_of(other) == LISTS
    assert not (other / "SegmentationClassAug").exists()
    assert json.loads((other / "meta.json").read_text(encoding="utf-8"))[
        "masks"
    ] == str(masks)

    (masks / f"{VAL[1]}.png").unlink()
    with pytest.raises(CstlibError, match="lacks 1 of the 3 validation") as caught:
        pascal.prepare_pascal(tmp_path / "second", other, progress=False)
    assert is_one_sentence(caught.value)


def test_everything_in_one_folder(tmp_path, home, offline):
    """Originals where the prepared folder is: the default without --root."""
    made_pascal(home / "pascal")
    assert main(["data", "pascal"]) == 0
    meta = json.loads((home / "pascal" / "meta.json").read_text(encoding="utf-8"))
    assert meta["images"] == "VOCdevkit/VOC2012/JPEGImages"
    moved = home.with_name("moved")
    home.rename(moved)
    dataset = load_world(str(moved / "pascal")).dataset(2, "val")
    assert dataset.image(VAL[1]).shape == (3, 400, 400)
    assert np.array_equal(dataset.mask(VAL[1]), VOC_MASKS[VAL[1]])


def test_verify_says_what_is_there_and_changes_nothing(
    tmp_path, offline, capsys, monkeypatch
):
    root, out = made_pascal(tmp_path / "root"), tmp_path / "out"

    def verify():
        before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
        code = prepare(root, out, "--verify")
        assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
        return code, capsys.readouterr()

    code, said = verify()
    assert code == 2 and "is not prepared yet" in said.out
    assert is_one_sentence(said.err.strip())
    prepare(root, out)
    capsys.readouterr()
    code, said = verify()
    assert code == 1 and "0 of 8 identical" in said.out
    assert "8 listed images: each has its label and mask" in said.out
    known = as_published(out)
    monkeypatch.setattr(
        pascal, "compare_pascal", partial(published.compare_pascal, published=known)
    )
    code, said = verify()
    assert code == 0 and "all 8 identical to the benchmark" in said.out

    # A mask of another size, a missing image, a damaged archive.
    small = Image.fromarray(np.zeros((5, 5), np.uint8))
    small.save(out / "SegmentationClassAug" / f"{VAL[0]}.png")
    (root / "VOCdevkit/VOC2012/JPEGImages" / f"{SBD_OWN[0]}.jpg").unlink()
    (root / pascal.SBD.name).write_bytes(b"not it")
    code, said = verify()
    assert code == 2 and "(3 of the checks failed)" in said.err
    assert f"mask of {VAL[0]} is of another size" in said.out
    assert f"image {SBD_OWN[0]} is neither" in said.out
    assert "MD5 differs" in said.out

    shutil.rmtree(root)
    code, said = verify()
    assert code == 2 and f"VOC2012: not in {root}" in said.out


def test_given_lists_are_taken_as_they_are(tmp_path, offline, capsys):
    root, out = made_pascal(tmp_path / "root"), tmp_path / "out"
    prepare(root, out)
    own = tmp_path / "own"
    shutil.copytree(out / "ImageSets" / "FewShot", own)
    # Below the rule, and in another order.
    (own / "trn/fold0.txt").write_text(
        f"{SBD_OWN[0]}__01\n{TRAIN[1]}__01\n{TRAIN[0]}__01\n", encoding="utf-8"
    )
    (own / "val/fold0.txt").write_text(
        f"{VAL[0]}__03\n{VAL[0]}__02\n", encoding="utf-8"
    )
    assert prepare(root, out, "--lists", str(own)) == 2  # many classes are on no list
    assert "have no image of class" in capsys.readouterr().err
    assert lists_of(out) == LISTS

    for split, name in (("trn", TRAIN[0]), ("val", VAL[2])):
        mask = np.arange(100 * 120).reshape(100, 120) % 20 + 1
        path = root / "VOCdevkit/VOC2012/SegmentationClass" / f"{name}.png"
        Image.fromarray(mask.astype(np.uint8)).save(path)
        for fold in range(4):
            lines = [f"{name}__{c:02d}\n" for c in range(5 * fold + 5, 5 * fold, -1)]
            (own / split / f"fold{fold}.txt").write_text(
                "".join(lines), encoding="utf-8"
            )
    shutil.rmtree(out)
    assert prepare(root, out, "--lists", str(own)) == 0
    for name in LISTS:
        given = (own / name).read_text(encoding="utf-8")
        assert lists_of(out)[name] == given
    assert prepare(root, out, "--lists", str(tmp_path / "none")) == 2
    assert prepare(root, out, "--lists", str(own), "--verify") == 2


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda r: (r / f"VOCdevkit/VOC2012/JPEGImages/{VAL[0]}.jpg").unlink(), VAL[0]),
        (
            lambda r: (r / f"VOCdevkit/VOC2012/JPEGImages/{SBD_OWN[1]}.jpg").unlink(),
            "lacks 1 images that have a mask",
        ),
        (
            lambda r: (
                r / f"VOCdevkit/VOC2012/SegmentationClass/{TRAIN[1]}.png"
            ).unlink(),
            "lacks 1 of the 3 files of train.txt",
        ),
        (
            lambda r: (r / f"benchmark_RELEASE/dataset/cls/{SBD_OWN[0]}.mat").unlink(),
            "lacks 1 of SBD's class masks",
        ),
        (
            lambda r: (
                r / f"benchmark_RELEASE/dataset/cls/{SBD_OWN[0]}.mat"
            ).write_bytes(mat_bytes(SBD_MASKS[SBD_OWN[0]], False)[:700]),
            "damaged or not a MATLAB 5 file",
        ),
        (
            lambda r: (
                r / f"benchmark_RELEASE/dataset/cls/{SBD_OWN[0]}.mat"
            ).write_bytes(mat_bytes(SBD_MASKS[SBD_OWN[0]] * 30, True)),
            "holds the value 30",
        ),
        (
            lambda r: (
                r / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
            ).unlink(),
            "train.txt cannot be read",
        ),
    ],
)
def test_what_is_missing_or_damaged_is_one_sentence(tmp_path, offline, damage, words):
    root = made_pascal(tmp_path / "root")
    damage(root)
    with pytest.raises(CstlibError, match=words) as caught:
        pascal.prepare_pascal(root, tmp_path / "out", progress=False)
    assert is_one_sentence(caught.value)
    assert not (tmp_path / "out" / "ImageSets").exists()


def test_interrupted_masks_leave_nothing_behind(tmp_path, offline, monkeypatch):
    root = made_pascal(tmp_path / "root")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pascal, "read_struct_field", stop)
    with pytest.raises(KeyboardInterrupt):
        pascal.prepare_pascal(root, tmp_path / "out", progress=False)
    assert [*(tmp_path / "out").iterdir()] == []
    monkeypatch.undo()
    pascal.prepare_pascal(root, tmp_path / "out", progress=False)
    assert lists_of(tmp_path / "out") == LISTS
