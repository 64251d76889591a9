"""``python -m cstlib check --workshop`` on machines that lack something."""

from __future__ import annotations

import re
import time

import pytest
from made_world import made_home

from cstlib import check, cli, notebooks, workshop
from cstlib import room as room_module
from cstlib.check import Finding
from cstlib.features import FeatureStore
from cstlib.room import Missing, Room
from cstlib.workshop import NEEDS, Needs


class Ready(Room):
    """A machine on which nothing is missing."""

    packages = kernel = world = backbone = features = random_attention = True
    free_memory = 8.0


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every notebook's needs, without its computation."""
    for name, needs in list(NEEDS.items()):
        still = Needs(memory=needs.memory, kept=needs.kept)
        monkeypatch.setitem(NEEDS, name, still)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with made_home(tmp_path_factory.mktemp("data"), images=60) as world:
        yield world


@pytest.fixture(scope="module")
def room(home):
    """The made world with features, and the checks of packages done."""
    FeatureStore(home, "dino-mini", progress=False)
    FeatureStore(home, "random-mini", progress=False, layers=False)
    one = Room()
    one.packages = one.kernel = True
    one.free_memory = 8.0
    return one


def test_every_notebook_is_known():
    assert list(NEEDS) == workshop.lessons(notebooks.FOLDER)
    assert len(NEEDS) >= 9


def test_a_clone_without_notebooks_is_checked_for_those_that_are_known(tmp_path):
    assert workshop.lessons(tmp_path) == list(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_a_ready_machine_runs_the_central_computation(room, name):
    assert workshop.look(room, name) == ""


@pytest.mark.parametrize("name", NEEDS)
def test_a_computation_that_fails_is_told(name, monkeypatch):
    def broken(room):
        raise RuntimeError("no kernel image\nis available.")

    needs = NEEDS[name]
    monkeypatch.setitem(NEEDS, name, Needs(broken, needs.memory, needs.kept))
    lacks = workshop.look(Ready(), name)
    assert "(RuntimeError: is available)" in lacks and check.INSTALL in lacks


def test_a_computation_without_sense_is_told(monkeypatch):
    monkeypatch.setitem(NEEDS, "04_cst", Needs(lambda room: False))
    assert "a sensible result" in workshop.look(Ready(), "04_cst")


def test_little_memory_stops_only_who_needs_more(no_work):
    small = Ready()
    small.free_memory = 1.5
    assert workshop.look(small, "00_the_task") == ""
    assert "memory (1.5 GB free, 2 wanted)" in workshop.look(
        small, "07_full_supervision"
    )


def test_the_miniature_is_not_drawn_by_looking(tmp_path, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(tmp_path))
    with pytest.raises(Missing, match="images: .* --prepare"):
        Room().need("world")
    assert not list(tmp_path.iterdir())


def test_features_are_not_computed_by_looking(tmp_path):
    with made_home(tmp_path, images=60) as world:
        fresh = Room()
        with pytest.raises(Missing, match="features of dino-mini: .* --prepare"):
            fresh.need("features")
        with pytest.raises(Missing, match="features of random-mini"):
            fresh.need("random_attention")
        assert not list(tmp_path.rglob("tokens.npy"))
        FeatureStore(world, "dino-mini", progress=False)
        assert Room().need("features").name == "dino-mini"


def test_preparing_makes_what_is_missing(tmp_path, capsys, no_work):
    with made_home(tmp_path, images=60):
        workshop.prepare_room()
        one = Room()
        one.packages = one.kernel = True
        one.free_memory = 8.0
        assert workshop.look(one, "05_image_level_training") == ""
    assert len(list(tmp_path.rglob("tokens.npy"))) == 2


def test_packages_that_block_are_named_with_what_to_do(monkeypatch):
    bad = Finding("timm", "missing, needed is >=1", check.INSTALL, blocks=True)
    monkeypatch.setattr(room_module, "look_at_packages", lambda: iter([bad]))
    lacks = workshop.look(Room(), "00_the_task")
    assert lacks == f"timm (missing, needed is >=1): {check.INSTALL}"


def test_weights_that_are_not_there_are_told(room, monkeypatch, tmp_path):
    monkeypatch.setattr("cstlib.backbone_weights.WEIGHTS", tmp_path)
    fresh = Room()
    with pytest.raises(Missing, match="weights .*dino-mini"):
        fresh.need("backbone")


def test_what_failed_once_is_not_tried_again():
    class Slow(Room):
        tries = 0

        @property
        def world(self):
            type(self).tries += 1
            raise OSError("disk\nread error.")

    slow = Slow()
    for _ in range(3):
        with pytest.raises(
            Missing, match=r"a world that works \(OSError: read error\)"
        ):
            slow.need("world")
    assert Slow.tries == 1


def test_kernels_that_import_another_copy_are_told(monkeypatch):
    def elsewhere(notebook, path, timeout):
        notebook.cells[0].outputs = [{"text": "/else/where/cstlib/__init__.py\n"}]

    monkeypatch.setattr("cstlib.notebook_kernel.execute", elsewhere)
    with pytest.raises(Missing, match="kernels import .*cstlib"):
        Room().need("kernel")


def test_one_line_a_notebook_and_the_exit_code(monkeypatch, capsys, no_work):
    monkeypatch.setattr(workshop, "Room", Ready)
    assert workshop.check_room(["00_the_task", "05_image_level_training"]) == 0
    first, second, _, last = capsys.readouterr().out.splitlines()
    assert (first, second) == (
        "ok       00_the_task",
        "ok       05_image_level_training",
    )
    assert last.startswith("Ready: all 2 notebooks can run here")

    monkeypatch.setattr(Ready, "free_memory", 1.2)
    assert workshop.check_room(["00_the_task", "05_image_level_training"]) == 1
    said = capsys.readouterr().out
    assert re.search(
        r"^missing  05_image_level_training  memory \(1.2 GB", said, re.MULTILINE
    )
    assert "Not ready: 1 of 2 notebooks" in said
    assert "\x1b" not in said


def test_a_terminal_gets_colours_and_the_same_words(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert workshop._coloured("ok  a", workshop.GREEN) == "\x1b[32mok  a\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert workshop._coloured("ok  a", workshop.GREEN) == "ok  a"


def test_the_command_line_leads_here(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        workshop,
        "check_room",
        lambda names, prepare: asked.append((names, prepare)) or 1,
    )
    assert cli.main(["check", "--workshop", "--prepare"]) == 1
    assert asked == [(workshop.lessons(notebooks.FOLDER), True)]
    assert cli.main(["check", "--prepare"]) == 2
    assert "give both" in capsys.readouterr().err


def test_a_kernel_of_this_course_starts_in_seconds():
    start = time.monotonic()
    assert Room().need("kernel") is True
    assert time.monotonic() - start < 60  # 3 s where nothing else runs
