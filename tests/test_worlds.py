"""The switch of worlds, and COCO's protocol in the same layout."""

from __future__ import annotations

import json
import shutil

import pytest
from made import CLASS_NAMES, is_one_sentence, made_voc

import cstlib.data.mini
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.training import TrainConfig, run_name
from cstlib.worlds import COCO_CLASSES, WORLDS, World, load_world, name_in_files

S = 32


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Made data that no test changes."""
    return made_voc(tmp_path_factory.mktemp("data") / "made", 60, S)


def test_the_coco_protocol_in_the_same_layout(tmp_path):
    lists = tmp_path / "ImageSets" / "FewShot"
    labels = {}
    for fold in range(4):
        lines = []
        for c in range(fold + 1, 81, 4):
            for k in range(3):
                labels[f"val2014/{c}_{k}"] = [c]
                lines.append(f"val2014/{c}_{k}__{c:02d}\n")
        (lists / "val").mkdir(parents=True, exist_ok=True)
        (lists / "val" / f"fold{fold}.txt").write_text("".join(lines), encoding="utf-8")
    (lists / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    dataset = VocDataset(tmp_path, 2, "val", S, COCO_CLASSES, "coco")
    assert dataset.classes == list(range(3, 81, 4))
    assert dataset.class_names[80] == "toothbrush"
    plan = dataset.plan(0, way=2)
    assert plan.query != dataset.entries[0][0]
    assert dataset.presence(plan).tolist() == [
        c == plan.query_class for c in plan.support_classes
    ]


def test_worlds(root, tmp_path, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path))
    monkeypatch.setattr(cstlib.data.mini, "ensure_mini", lambda root=None: tmp_path)
    monkeypatch.delenv("CSTLIB_WORLD", raising=False)
    mini = load_world()
    assert (mini.name, mini.image_size, mini.backbone) == ("mini", 96, "dino-mini")
    assert (mini.root, mini.n_folds, mini.protocol) == (tmp_path, 4, "pascal")
    assert len(mini.class_names) == 20

    for name in ("pascal", "coco", "mars"):
        with pytest.raises(CstlibError, match=name) as caught:
            load_world(name)
        assert is_one_sentence(caught.value)

    shutil.copytree(root, tmp_path / "pascal")
    monkeypatch.setenv("CSTLIB_WORLD", "pascal")
    pascal = load_world()
    assert (pascal.image_size, pascal.backbone) == (400, "dino-vits8")
    dataset = pascal.dataset(3, "val")
    assert dataset.class_names[20] == "tvmonitor"
    assert dataset.image(dataset.names[0]).shape == (3, 400, 400)
    assert load_world("mini") == mini

    (tmp_path / "coco").mkdir()
    coco = load_world("coco")
    assert coco.protocol == "coco" and len(set(coco.class_names)) == 80


def test_a_world_can_be_made_of_any_folder(root):
    world = World("made", root, S, "random-mini", tuple(CLASS_NAMES))
    episode = world.dataset(0, "val").episode(0)
    assert episode.query_image.shape == (3, S, S)


def test_runs_on_data_of_ones_own_are_named_after_the_folder(root, tmp_path):
    assert [name_in_files(name) for name in (*WORLDS, "mars")] == [*WORLDS, "mars"]
    places = [tmp_path / "a" / "My birds", tmp_path / "b" / "My birds"]
    names = []
    for place in places:
        place.mkdir(parents=True)
        names.append(name_in_files(str(place)))
        assert name_in_files(f"{place}/") == names[-1]  # it is the same folder
        assert run_name(TrainConfig(data=str(place))).startswith(names[-1] + "-fold0")
    assert all(name.startswith("My_birds-") and len(name) == 17 for name in names)
    assert names[0] != names[1]
    assert name_in_files(str(places[0] / "notes.json")).startswith("notes-")
    assert name_in_files(str(places[0] / "world.json")).startswith("My_birds-")
    own = load_world(str(root))
    assert own.data == str(root) and load_world("mini").data == "mini"
