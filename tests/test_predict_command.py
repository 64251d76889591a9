"""``python -m cstlib predict`` as typed: what it writes, says and survives."""

from __future__ import annotations

import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from made import is_one_sentence
from made_support import made_learner, made_picture, made_support
from PIL import Image

from cstlib import predict_command, shipped_learners
from cstlib.backbones import Backbone
from cstlib.cli import main
from cstlib.predictor import Predictor


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Supports, a learner, and a folder with two photographs."""
    folder = tmp_path_factory.mktemp("predict")
    photos = folder / "photos"
    photos.mkdir()
    made_picture(1, (70, 110)).save(photos / "one.jpg")
    made_picture(2).save(photos / "two.png")
    return SimpleNamespace(
        folder=folder,
        support=made_support(folder / "support"),
        learner=made_learner(folder / "best.pt"),
        photos=photos,
    )


@pytest.fixture
def predict(home, capsys):
    """Run the command; returns the exit code and what was printed."""

    def run(*words, support=home.support, checkpoint=home.learner):
        argv = ["predict", "--support", support, "--device", "cpu", *words]
        argv += ["--checkpoint", checkpoint] if checkpoint else []
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


def files_in(folder):
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


def summary_of(out):
    return json.loads((out / "predictions.json").read_text(encoding="utf-8"))


def test_what_is_written_and_said(home, predict, tmp_path):
    out = tmp_path / "deep" / "out"
    done = predict("--query", home.photos, "--out", out)
    assert done.code == 0
    assert files_in(out) == [
        "json/one.json",
        "json/two.json",
        "labels/one.png",
        "labels/two.png",
        "overlays/one.jpg",
        "overlays/two.jpg",
        "predictions.json",
        "support.jpg",
    ]
    summary = summary_of(out)
    assert summary["command"].startswith("python -m cstlib predict --support")
    assert [c["name"] for c in summary["classes"]] == ["key", "mug"]
    assert summary["classes"][0]["colour"] == "#009e73"
    assert [s["mask"] for s in summary["support"]] == ["pseudo-mask"] * 2
    assert all(0 <= s["marked"] <= 1 for s in summary["support"])
    assert summary["failures"] == [] and summary["interrupted"] is False
    for said in summary["predictions"]:
        assert json.loads((out / said["json"]).read_text(encoding="utf-8")) == said
        with Image.open(out / said["labels"]) as labels:
            assert labels.size == (said["width"], said["height"])
            counts = np.bincount(np.asarray(labels).ravel(), minlength=3)[1:]
        assert counts.tolist() == [c["pixels"] for c in said["classes"]]
        assert said["query"] in done.out
    assert f"Folder: {out}" in done.out
    assert "dino-vits8" in done.err and "2/2" in done.err  # the note, and the bar


def test_python_and_the_command_say_the_same(home, predict, tmp_path):
    predict("--query", home.photos / "one.jpg", "--out", tmp_path / "out")
    found = Predictor(home.support, checkpoint=home.learner, device="cpu")(
        home.photos / "one.jpg"
    )
    (said,) = summary_of(tmp_path / "out")["predictions"]
    for c in said["classes"]:
        assert c["probability"] == round(found.presence_prob[c["name"]], 4)


def test_bad_queries_are_listed_and_the_others_done(home, predict, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    whole = (home.photos / "one.jpg").read_bytes()
    (bad / "zero.jpg").write_bytes(b"")
    (bad / "cut.jpg").write_bytes(whole[:-2000])
    (bad / "text.png").write_text("no picture", encoding="utf-8")
    (bad / "renamed.png").write_bytes(whole)  # fine
    Image.new("RGB", (1, 1)).save(bad / "pixel.bmp")  # fine
    (tmp_path / "empty").mkdir()
    queries = [bad, tmp_path / "none.jpg", tmp_path / "empty", home.photos]
    done = predict("--query", *queries, "--out", tmp_path / "out")
    assert done.code == 1
    summary = summary_of(tmp_path / "out")
    names = [os.path.basename(f["query"]) for f in summary["failures"]]
    assert names == ["cut.jpg", "text.png", "zero.jpg", "none.jpg", "empty"]
    said = [os.path.basename(p["query"]) for p in summary["predictions"]]
    assert said == ["pixel.bmp", "renamed.png", "one.jpg", "two.png"]
    assert "cstlib: 5 of the queries failed:" in done.err
    for failure in summary["failures"]:
        assert is_one_sentence(failure["why"]) and failure["why"] in done.err
    assert "Traceback" not in done.err


def test_names_that_trick_and_names_that_meet(home, predict, tmp_path):
    """Nothing is written but below the output folder, and nothing is lost."""
    photos = tmp_path / "photos"
    names = [
        "a b.jpg",
        "Küche 台所.jpg",
        "-x.jpg",
        "..jpg",
        "$(echo) ;#'.jpg",
        "x.y.jpg",
    ]
    names += [
        "a\nb.jpg",
        "CON.jpg",
        "a" * 200 + ".jpg",
        "\\..\\..\\up.jpg",
        "%s{0}.jpg",
    ]
    if os.name == "nt":
        names = ["a b.jpg", "Küche 台所.jpg", "-x.jpg", "x.y.jpg", "%s{0}.jpg"]
    elif sys.platform == "linux":
        names.append("caf\udce9.jpg")  # Latin-1, not UTF-8
    for folder in ("1", "2"):
        (photos / folder).mkdir(parents=True)
        for index, name in enumerate(names):
            made_picture(index).save(photos / folder / name, "JPEG")
    before = files_in(tmp_path)
    out = tmp_path / "out"
    queries = [photos / f / name for f in ("1", "2") for name in names]
    queries.append(photos / "2" / ".." / "1" / "a b.jpg")
    done = predict("--query", *queries, "--out", out)
    assert done.code == 0
    after = files_in(tmp_path)
    assert [name for name in after if not name.startswith("out/")] == before
    said = summary_of(out)["predictions"]
    assert len(said) == len(queries)
    for kind in ("labels", "overlays", "json"):
        assert sorted(s[kind] for s in said) == [
            name for name in files_in(out) if name.startswith(kind)
        ]
    assert all(line.isprintable() for line in done.out.splitlines())


def test_a_query_that_is_named_twice_is_done_once(home, predict, tmp_path):
    one = home.photos / "one.jpg"
    predict("--query", one, home.photos, one, "--out", tmp_path / "out")
    assert len(summary_of(tmp_path / "out")["predictions"]) == 2


def test_a_terminal_that_knows_few_letters(home, predict, tmp_path, monkeypatch):
    photo = tmp_path / "台所.png"
    made_picture(1).save(photo)
    said = []
    terminal = SimpleNamespace(
        encoding="ascii", write=lambda text: said.append(text.encode("ascii"))
    )
    terminal.flush = lambda: None
    monkeypatch.setattr(sys, "stdout", terminal)
    assert predict("--query", photo, "--out", tmp_path / "out").code == 0
    assert b"\\u53f0" in b"".join(said)


def test_what_is_there_is_not_overwritten_unasked(home, predict, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    argv = ["--query", home.photos / "one.jpg", "--out", out]
    done = predict(*argv)
    assert done.code == 2 and "--overwrite" in done.err
    assert files_in(out) == ["mine.txt"]
    assert predict(*argv, "--overwrite").code == 0
    assert predict(*argv, "--overwrite").code == 0
    assert (out / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert len(summary_of(out)["predictions"]) == 1


def test_bad_arguments_and_supports_end_in_one_sentence(
    home, predict, tmp_path, monkeypatch
):
    photo, out = home.photos / "one.jpg", tmp_path / "new"
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("in the way", encoding="utf-8")
    broken = tmp_path / "broken"
    shutil.copytree(home.support, broken)
    (broken / "mug" / "0.jpg").write_bytes(b"nothing")
    query, to_new = ["--query", photo], ["--out", out]
    usual = [*query, *to_new]
    monkeypatch.setattr(shipped_learners, "WEIGHTS", empty)
    for argv, options, word in (
        (usual, {"support": empty}, "is empty"),
        (usual, {"support": tmp_path / "none"}, "Cannot read"),
        (usual, {"support": broken}, "mug/0.jpg is damaged".replace("/", os.sep)),
        (usual, {"checkpoint": None}, "No trained learner"),
        (usual, {"checkpoint": "cst-pixel-mini"}, "is not in"),
        (usual, {"checkpoint": file}, "Cannot read the checkpoint"),
        ([*usual, "--threshold", 1.5], {}, "threshold of 1.5"),
        ([*usual, "--threshold", "nan"], {}, "threshold of nan"),
        ([*usual, "--backbone", "eyes"], {}, "No backbone 'eyes'"),
        ([*usual, "--device", "abacus"], {}, "abacus"),
        ([*query, "--out", file], {}, "is not a folder"),
        ([*query, "--out", file / "below"], {}, "Cannot write"),
        ([*query, "--out", home.support / "key" / "out"], {}, "in the support folder"),
        ([*query, "--out", home.support], {}, "in the support folder"),
    ):
        done = predict(*argv, **options)
        line = done.err.splitlines()[-1]
        assert done.code == 2 and done.out == "", argv
        assert word in line, line
        assert is_one_sentence(line.removeprefix("cstlib: ")), line
    assert not out.exists()
    assert files_in(home.support) == ["key/0.jpg", "mug/0.jpg"]


@pytest.mark.parametrize("option", ["--query", "--out", "--support"])
def test_an_unset_variable_is_not_the_current_folder(home, option, capsys):
    words = {"--support": home.support, "--query": home.photos, "--out": "out"}
    words[option] = ""
    with pytest.raises(SystemExit) as leaving:
        main(["predict", *(str(word) for pair in words.items() for word in pair)])
    assert leaving.value.code == 2 and "path is empty" in capsys.readouterr().err


def test_an_interrupted_run_keeps_what_is_done(home, predict, tmp_path, monkeypatch):
    forward, calls = Backbone.forward, []

    def interrupted(self, images):
        calls.append(1)
        if len(calls) == 4:  # two supports and a query are done
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", interrupted)
    done = predict("--query", home.photos, "--out", tmp_path / "out")
    assert done.code == 130
    summary = summary_of(tmp_path / "out")
    assert summary["interrupted"] is True and len(summary["predictions"]) == 1
    assert not [p for p in files_in(tmp_path / "out") if "/." in p or p[0] == "."]


def test_a_disk_that_is_full(home, predict, tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict_command, "draw_support", lambda rows: full())
    done = predict("--query", home.photos, "--out", tmp_path / "out")
    assert done.code == 2 and "No space left" in done.err
    assert files_in(tmp_path) == []
