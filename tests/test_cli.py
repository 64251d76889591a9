"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE, made_home

from cstlib.baselines import make_learner
from cstlib.checkpoints import save_checkpoint, to_authors_names
from cstlib.cli import COMMANDS, build_parser, main
from cstlib.cst import CST
from cstlib.data.mini import CLASS_NAMES
from cstlib.errors import CstlibError
from cstlib.records import metrics_table, read_records, run_name, write_record

QUICK = ["--episodes", "6", "--batch-size", "3", "--validation-episodes", "3"]
TRAIN = ["train", "--data", "mini", "--backbone", BACKBONE, *QUICK]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run: ``train`` typed as a user would, in a data home of its own."""
    home = tmp_path_factory.mktemp("home")
    with made_home(home) as world:
        out = home / "runs" / "first"
        code = main([*TRAIN, "--test-episodes", "4", "--record", "--out", str(out)])
        assert code == 0
        yield SimpleNamespace(home=home, out=out, world=world)


def refused(capsys, *argv):
    """The one sentence that a command ends with, after checking that it is one."""
    assert main([str(word) for word in argv]) == 2
    captured = capsys.readouterr()
    # A progress bar may stand before it.
    line = captured.err.splitlines()[-1]
    assert line.startswith("cstlib: ") and captured.out == ""
    assert is_one_sentence(line.removeprefix("cstlib: "))
    return line


def test_help_is_quick_and_lists_all_commands():
    code = (
        "import sys, cstlib.cli as c; c.build_parser(); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
    text = build_parser().format_help()
    assert all(command in text for command in COMMANDS)
    for command in ("train", "evaluate"):
        with pytest.raises(SystemExit) as leaving:
            main([command, "--help"])
        assert leaving.value.code == 0


def test_own_runs_stay_out_of_the_recorded_ones(trained):
    """Or the stored notebooks and the README would no longer agree with the folder."""
    before = read_records()
    out = trained.home / "runs" / "own"
    assert main([*TRAIN, "--test-episodes", "0", "--out", str(out)]) == 0
    assert (out / "record.json").is_file()
    assert read_records() == before


def test_train_writes_a_run_and_its_record(trained):
    name = "mini-fold0-image-dino-random-mini"
    name += "-batchsize3-validationepisodes3-6ep-seed0"
    record = read_records(kind="train", fold=0)[0]
    assert record["name"] == name
    assert record == json.loads(
        (trained.out / "record.json").read_text(encoding="utf-8")
    )
    assert record["command"].startswith("python -m cstlib train --data mini")
    assert record["config"]["episodes"] == 6 and record["config"]["lam"] == 0.1
    for key in ("device", "versions", "duration_s", "selection", "metrics"):
        assert record[key]
    assert read_records(fold=3) == []


def test_train_follows_the_chosen_world(trained, monkeypatch, capsys):
    monkeypatch.setenv("CSTLIB_WORLD", "nowhere")
    assert "nowhere" in refused(capsys, "train")
    # What is said outright counts more, and so does what a run was begun with.
    line = refused(capsys, *TRAIN, "--out", trained.out)
    assert "already holds a run" in line
    line = refused(capsys, "train", "--out", trained.out, "--resume", "--seed", 1)
    assert "--seed 0, not 1" in line


def test_resume_takes_the_settings_from_the_run(trained, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(trained.out, out)
    resume = ["train", "--out", str(out), "--resume", "--test-episodes", "0"]
    assert main([*resume, "--episodes", "9"]) == 0
    log = (out / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in log] == ["episode", "3", "6", "9"]
    assert "Trained 9 episodes" in capsys.readouterr().out
    line = refused(capsys, *resume, "--seed", 1)
    assert "--seed 0, not 1" in line
    line = refused(capsys, *resume, "--supervision", "pixel")
    assert "--supervision image, not pixel" in line


def test_evaluate_prints_a_table_and_writes_json(trained, tmp_path, capsys):
    best = trained.out / "best.pt"
    figures = tmp_path / "deep" / "figures.json"
    argv = ["evaluate", "--checkpoint", best, "--way", 2, "--shot", 1]
    argv += ["--episodes", 5, "--json", figures]
    assert main([str(word) for word in argv]) == 0
    captured = capsys.readouterr()
    assert "fold 0, 2-way 1-shot, 5 episodes, supervision image" in captured.out
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert set(content["metrics"]) == {"background", "ignore"}
    found = content["metrics"]["background"]
    assert set(found["class_iou"]) == {"1", "2", "3", "4", "5"}
    assert found["episodes"] == 5 and content["way"] == 2
    # The miniature's own names: that is what the world is called here.
    assert all(name in captured.out for name in CLASS_NAMES[:5])
    assert f"{100 * found['exact_ratio']:.1f}" in captured.out

    other = ["evaluate", "--checkpoint", best, "--fold", 1, "--episodes", 2]
    assert main([str(word) for word in other]) == 0
    assert "are not new to this learner" in capsys.readouterr().err


def test_evaluate_reads_the_authors_layout(trained, tmp_path, capsys):
    torch.manual_seed(0)
    path = tmp_path / "theirs.ckpt"
    torch.save({"state_dict": to_authors_names(CST().state_dict())}, path)
    argv = ["evaluate", "--checkpoint", path, "--backbone", BACKBONE, "--fold", 1]
    assert main([str(w) for w in [*argv, "--data", "mini", "--episodes", 2]]) == 0
    assert "supervision image (dino masks)" in capsys.readouterr().out


def test_what_the_user_can_put_right_ends_in_one_sentence(trained, tmp_path, capsys):
    new = tmp_path / "new"
    train = [*TRAIN, "--out", new]
    best = trained.out / "best.pt"
    evaluate = ["evaluate", "--checkpoint", best]
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    (tmp_path / "broken.pt").write_bytes(best.read_bytes()[:1000])
    narrow = make_learner("cst", 12)
    config = {"backbone": BACKBONE}
    save_checkpoint(
        tmp_path / "narrow.pt",
        learner=narrow.state_dict(),
        in_channels=12,
        config=config,
    )
    save_checkpoint(tmp_path / "empty.pt", config=config)
    below_a_file = tmp_path / "file" / "below"
    for argv, word in (
        ([*train, "--fold", 7], "no fold 7"),
        ([*train, "--episodes", 0], "--episodes 0"),
        ([*train, "--batch-size", -3], "--batch-size -3"),
        ([*train, "--lr", 0], "--lr 0.0"),
        ([*train, "--test-episodes", -1], "-1 episodes"),
        ([*train, "--data", "moon"], "no world 'moon'"),
        ([*train, "--backbone", "resnet9"], "resnet9"),
        ([*train, "--learner", "gpt"], "no learner 'gpt'"),
        ([*train, "--device", "abacus"], "abacus"),
        ([*train, "--resume"], "no run to resume"),
        ([*train, "--supervision", "pixel", "--mask-source", "none"], "'none'"),
        ([*TRAIN, "--out", below_a_file], "Cannot write"),
        ([*TRAIN, "--out", trained.out], "already holds a run"),
        ([*evaluate, "--episodes", 0], "0 episodes"),
        ([*evaluate, "--way", 6], "6 ways"),
        ([*evaluate, "--shot", 99], "99 shots"),
        ([*evaluate, "--fold", 9], "no fold 9"),
        ([*evaluate, "--supervision", "pixel", "--mask-source", "dino"], "'dino'"),
        ([*evaluate, "--json", below_a_file / "x.json"], "Cannot write"),
        (["evaluate", "--checkpoint", tmp_path / "none.pt"], "none.pt"),
        (["evaluate", "--checkpoint", tmp_path / "broken.pt"], "broken.pt"),
        (["evaluate", "--checkpoint", tmp_path / "narrow.pt"], "takes 12"),
        (["evaluate", "--checkpoint", tmp_path / "empty.pt"], "no in_channels"),
    ):
        assert word in refused(capsys, *argv), argv
    assert not new.exists()
    assert not list(tmp_path.rglob("*.json"))
    assert not list(trained.home.rglob(".building-*"))


def test_a_class_outside_the_fold_ends_in_one_sentence(tmp_path, capsys):
    with made_home(tmp_path, images=20) as world:
        path = world.root / "ImageSets" / "FewShot" / "trn" / "fold1.txt"
        path.write_text(
            path.read_text(encoding="utf-8") + "trn_0000__01\n", encoding="utf-8"
        )
        argv = ["--episodes", 3, "--out", tmp_path / "run"]
        assert "outside the fold" in refused(capsys, "train", *argv)
        assert not (tmp_path / "run").exists()


def test_a_class_with_one_image_ends_in_one_sentence(tmp_path, capsys):
    with made_home(tmp_path) as world:
        path = world.root / "ImageSets" / "FewShot" / "trn" / "fold1.txt"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        alone = next(line for line in lines if line.endswith("__06\n"))
        others = [line for line in lines if not line.endswith("__06\n")]
        path.write_text("".join([alone, *others]), encoding="utf-8")
        line = refused(capsys, "train", "--episodes", 3, "--out", tmp_path / "run")
        assert "Class 6" in line and "need 2" in line
        assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_python_m_cstlib_exits_with_2(trained):
    command = [sys.executable, "-m", "cstlib", *TRAIN, "--fold", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "cstlib: There is no fold 9: choose one of 0 to 3.\n"


def test_interrupting_exits_with_130(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("cstlib.train_command.load_world", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "cstlib: interrupted.\n"


def test_records_are_found_by_what_they_say(tmp_path):
    write_record({"kind": "train", "config": {"fold": 1}}, "one", tmp_path)
    write_record({"name": "two", "kind": "other", "config": {}}, folder=tmp_path)
    assert [r["name"] for r in read_records(tmp_path)] == ["one", "two"]
    assert [r["name"] for r in read_records(tmp_path, fold=1)] == ["one"]
    assert read_records(tmp_path / "nowhere") == []
    with pytest.raises(CstlibError, match="needs a name"):
        write_record({}, folder=tmp_path)
    (tmp_path / "half.json").write_text('{"kind":', encoding="utf-8")
    with pytest.raises(CstlibError, match="half.json") as error:
        read_records(tmp_path)
    assert is_one_sentence(error.value)
    assert run_name("mini", "", "fold 0", None, 3) == "mini-fold_0-3"


def test_the_table_shows_percentages():
    figures = {"exact_ratio": 0.5, "miou": 0.25, "fb_iou": 1.0, "class_iou": {"2": 0.1}}
    table = metrics_table({"background": figures}, ["star", "mug"])
    words = [line.split() for line in table.splitlines()]
    assert words == [
        ["void:", "background"],
        ["ER", "50.0"],
        ["mIoU", "25.0"],
        ["FB-IoU", "100.0"],
        ["mug", "10.0"],
    ]
