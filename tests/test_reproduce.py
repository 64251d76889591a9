"""Tables as configurations: run once, recorded, resumed, set beside the paper."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
from made import is_one_sentence
from made_world import BACKBONE, made_home

from cstlib import train_command
from cstlib.cli import main
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.experiment_rows import Row
from cstlib.experiments import TABLES, Table, configuration, find_table
from cstlib.paper import paper_rows
from cstlib.records import read_records
from cstlib.reproduce import jobs, recorded, run_job
from cstlib.result_tables import as_text, results

QUICK = {
    "backbone": BACKBONE,
    "episodes": 6,
    "batch_size": 3,
    "validation_episodes": 3,
}
SMALL = Table(
    "1",
    "made for this test",
    (
        Row("DINO", control="dino", paper={"method": "DINO"}),
        Row(
            "CST",
            {"supervision": "image"},
            paper={"method": "CST", "pseudo_masks": True},
        ),
        Row("ours", {"supervision": "pixel"}),
    ),
    ((1, 1), (2, 1)),
)
ALL_ROWS = [(t, row) for t in TABLES.values() for row in t.rows]


def ids(pair):
    return f"{pair[0].number}-{pair[1].name}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with made_home(tmp_path_factory.mktemp("home")) as world:
        yield world


@pytest.fixture(scope="module")
def done(world):
    todo = jobs(SMALL, world, [0, 1], [0], test_episodes=4, **QUICK)
    for job in todo:
        run_job(job, world)
    return todo


@pytest.mark.parametrize("pair", ALL_ROWS, ids=ids)
def test_each_row_is_a_run_that_its_own_command_repeats(pair):
    config = configuration(pair[1], "mini", 2, 1, episodes=60)
    parser = argparse.ArgumentParser()
    train_command.add_parser(parser.add_subparsers())
    args = vars(parser.parse_args(["train", *config.options()]))
    given = {k: v for k, v in args.items() if k in TrainConfig.field_names()}
    assert TrainConfig.from_dict(given) == config
    assert (config.fold, config.seed, config.episodes) == (2, 1, 60)


@pytest.mark.parametrize("pair", ALL_ROWS, ids=ids)
def test_each_row_finds_its_line_of_the_paper(pair):
    table, row = pair
    number = table.beside or table.number
    if row.paper is None or not paper_rows(table=number):
        pytest.skip("not in the paper")
    for way, shot in table.measures:
        found = paper_rows(table=number, way=way, shot=shot, **row.paper)
        assert len(found) == 1, (row.paper, way, shot)


def test_no_two_rows_share_a_run_name_but_not_a_configuration():
    runs = {}
    for _, row in ALL_ROWS:
        if not row.control:
            job = jobs(Table("x", "", (row,)), World(), [0], [0])[0]
            assert runs.setdefault(job.run, job.config) == job.config


class World:
    name, data, backbone = "mini", "mini", "dino-mini"


def test_a_job_a_fold_a_seed_and_controls_only_once(world):
    todo = jobs(SMALL, world, [0, 3], [0, 1], **QUICK)
    assert len(todo) == 2 * (2 * 2 + 1)
    controls = [job for job in todo if job.row.control]
    assert [(j.config.fold, j.config.seed) for j in controls] == [(0, 0), (3, 0)]
    assert len({job.run for job in todo}) == len(todo)


def test_every_test_is_recorded_with_its_command(done):
    names = {record["name"]: record for record in read_records()}
    assert len(names) == 2 * 3 * 2
    own = names[done[1].record_name((1, 1))]
    assert own["kind"] == "train" and own["test_episodes"] == 4
    assert own["command"].startswith("python -m cstlib train --data mini --fold 0")
    two = names[done[1].record_name((2, 1))]
    assert (two["kind"], two["way"], two["shot"]) == ("evaluate", 2, 1)
    assert two["command"].startswith("python -m cstlib reproduce 1 --data mini")
    for record in names.values():
        assert record["command"].endswith("--test-episodes 4")
    control = names[done[0].record_name((1, 1))]
    assert control["control"] == "dino" and control["metrics"]["background"]["episodes"]


def test_what_is_recorded_is_not_run_again(done, world, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("it ran again")

    monkeypatch.setattr("cstlib.reproduce.open_features", refuse)
    for job in done:
        assert job.missing(recorded()) == []
        run_job(job, world)
    with pytest.raises(AssertionError, match="ran again"):
        run_job(replace(done[1], config=replace(done[1].config, seed=5)), world)


def test_a_test_of_fewer_episodes_does_not_stand_for_a_longer_one(done):
    have = recorded()
    longer = [replace(job, test_episodes=5) for job in done]
    assert all(job.missing(have) == list(SMALL.measures) for job in longer)
    assert results(longer, have)["CST", (1, 1), "miou"].runs == 0
    shorter = replace(done[1], test_episodes=3)
    assert shorter.missing(have) == []


def test_an_extra_test_needs_no_second_training(done, world, monkeypatch):
    more = replace(SMALL, measures=((1, 1), (3, 1)))
    job = replace(done[1], table=more)
    monkeypatch.setattr("cstlib.reproduce.train", None)
    run_job(job, world)
    record = recorded()[job.record_name((3, 1))]
    assert (record["way"], record["shot"]) == (3, 1)


def test_figures_are_means_over_folds_beside_the_papers(done):
    have = recorded()
    cell = results(done, have)["CST", (1, 1), "miou"]
    values = [
        100 * have[job.run]["metrics"]["background"]["miou"]
        for job in done
        if job.row.name == "CST"
    ]
    assert cell.runs == 2 and cell.value == pytest.approx(sum(values) / 2)
    assert cell.spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert cell.paper == 33.2
    assert results(done, have)["ours", (1, 1), "miou"].paper is None
    nothing = results(done, {})["CST", (2, 1), "er"]
    assert nothing.value is None and str(nothing) == "-" and nothing.paper == 64.6
    text = as_text(done, have)
    assert "2-way 1-shot" in text and "33.2" in text and f"{cell.value:.1f} ±" in text


def test_the_command_lists_shows_and_refuses(world, capsys):
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{number}  " in listed for number in TABLES)
    assert all(t.rows or (t.needs and t.instead) for t in TABLES.values())
    assert listed.count("not in miniature:") == 6
    assert "python -m cstlib bench" in listed and "--backbone resnet50" in listed
    assert main(["reproduce", "--claims"]) == 0
    said = capsys.readouterr().out
    assert "pseudo-masks beat no masks" in said and "too few runs (0)" in said
    assert main(["reproduce", "3", "--show"]) == 0
    assert "(b) 5.0%" in capsys.readouterr().out
    for argv, word in (
        (["reproduce"], "which table"),
        (["reproduce", "99"], "no table '99'"),
        (["reproduce", "a.4"], "not in miniature"),
        (["reproduce", "3", "--folds", "7", "--episodes", "6"], "no fold 7"),
    ):
        assert main(argv) == 2
        line = capsys.readouterr().err.splitlines()[-1].removeprefix("cstlib: ")
        assert word in line and is_one_sentence(line)
    with pytest.raises(CstlibError, match="no table"):
        find_table("b.1")
