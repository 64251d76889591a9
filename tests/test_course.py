"""The first cell of a notebook: budgets, claims, banner, look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib import pyplot

from cstlib import course
from cstlib.course import Course
from cstlib.errors import CstlibError
from cstlib.worlds import World

WORLD = World("mini", Path("nowhere"), 96, "dino-mini", ("cup", "key"))


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "load_world", lambda name: WORLD)
    monkeypatch.delenv("CSTLIB_BUDGET", raising=False)
    monkeypatch.delenv("CSTLIB_BACKBONE", raising=False)


@pytest.mark.parametrize(
    "value, budget, episodes",
    [(None, "walkthrough", 600), ("", "walkthrough", 600), ("test", "test", 12)],
)
def test_the_budget_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str | None,
    budget: str,
    episodes: int,
) -> None:
    if value is not None:
        monkeypatch.setenv("CSTLIB_BUDGET", value)
    here = course.setup()
    assert here.budget == budget
    assert here.episodes(walkthrough=600, test=12) == episodes
    banner = capsys.readouterr().out
    assert banner.count("\n") == 1
    for part in ("World mini: 2 classes", "96x96", "dino-mini", f"Budget: {budget}"):
        assert part in banner


def test_an_unknown_budget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSTLIB_BUDGET", "lavish")
    with pytest.raises(CstlibError, match="set it to walkthrough or test"):
        course.setup()


def test_a_claim_is_printed_only_if_it_holds(capsys: pytest.CaptureFixture) -> None:
    here = Course(WORLD, "test")
    here.claim(True, "two is more than one")
    with pytest.raises(AssertionError, match="one is more than two"):
        here.claim(False, "one is more than two")
    assert capsys.readouterr().out == "Holds: two is more than one\n"


def test_elsewhere_a_claim_that_fails_is_a_finding(capsys) -> None:
    for other in (replace(WORLD, name="pascal"), replace(WORLD, backbone="dino-vits8")):
        Course(other, "test").claim(False, "one is more than two")
        said = capsys.readouterr().out
        assert said.startswith(f"Does not hold here ({other.name}, {other.backbone}):")
        assert said.endswith(": one is more than two\n")


def test_another_backbone_brings_its_image_size(monkeypatch, capsys) -> None:
    monkeypatch.setenv("CSTLIB_BACKBONE", "dino-vits8-300ep")
    world = course.setup().world
    assert (world.name, world.image_size) == ("mini", 400)
    assert "400x400 pixels. Backbone: dino-vits8-300ep." in capsys.readouterr().out
    monkeypatch.setenv("CSTLIB_BACKBONE", "dino-huge")
    with pytest.raises(CstlibError, match="no backbone 'dino-huge': choose one of"):
        course.setup()


def test_what_was_recorded_of_one_backbone_is_skipped_with_others(capsys) -> None:
    assert Course(WORLD, "test").shows("dino-mini", "attention")
    assert capsys.readouterr().out == ""
    other = replace(WORLD, backbone="dino-vits8")
    assert not Course(other, "test").shows("dino-mini", "attention")
    said = capsys.readouterr().out
    assert said == "Skipped with dino-vits8: attention of dino-mini.\n"


def test_figures_are_white_whatever_the_reader_prefers() -> None:
    with pyplot.rc_context():
        pyplot.style.use("dark_background")
        course.set_look()
        assert pyplot.rcParams["figure.facecolor"] == "white"
        assert pyplot.rcParams["text.color"] == "black"
